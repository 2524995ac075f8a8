# skep as an image: built from source on Debian's Rust image, run on plain Debian. The container needs the host's
# network and the engine's socket:
#   docker run -d --name skep --network host --privileged -v /var/run/docker.sock:/var/run/docker.sock \
#     -v /run/skep:/run/skep:rshared -v /var/lib/skep:/var/lib/skep:rshared skep
FROM rust:1-bookworm AS build
WORKDIR /source
COPY . .
RUN cargo build --release --locked --bin skep

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends nftables iproute2 \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /source/target/release/skep /usr/local/bin/skep
VOLUME /var/lib/skep
ENTRYPOINT ["/usr/local/bin/skep"]
CMD ["daemon"]
