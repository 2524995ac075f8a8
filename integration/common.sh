# Shared by the scripts of this folder: messages, packages, waiting. Sourced, not run.
# shellcheck shell=bash

# With colours only on a terminal; a step says what happens now and how long it took so far.
say() { printf '%s[%3ds] %s%s\n' "${bold}" "$SECONDS" "$*" "${plain}"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

bold='' plain=''
if [[ -t 1 ]]; then bold=$'\e[1m' plain=$'\e[0m'; fi

export DEBIAN_FRONTEND=noninteractive

# need COMMAND=PACKAGE...: installs the packages whose command is missing.
need() {
  local pair missing=()
  for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null || [[ " ${missing[*]} " == *" ${pair#*=} "* ]] || missing+=("${pair#*=}")
  done
  [[ ${#missing[@]} -gt 0 ]] || return 0
  command -v apt-get >/dev/null || die "missing ${missing[*]}, and this is no Debian: install them by hand"
  say "installing ${missing[*]}"
  refresh_lists
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null </dev/null ||
    die "cannot install ${missing[*]}"
}

# Package lists are fetched once a run, and only by what needs a package.
refresh_lists() {
  [[ -n ${lists_fresh:-} ]] || apt-get update -qq </dev/null || say "package lists may be old"
  lists_fresh=1
}

# need_docker: engine, runtime and what they and the tests call.
need_docker() {
  [[ $(id -u) -eq 0 ]] || die "needs root"
  export PATH=$PATH:/usr/sbin:/sbin
  need dockerd=docker.io docker=docker.io runc=runc containerd=containerd iptables=iptables \
    busybox=busybox-static nft=nftables ip=iproute2 nsenter=util-linux script=bsdutils
  # Without systemd nobody else may have mounted the cgroups.
  mountpoint -q /sys/fs/cgroup || need cgroupfs-mount=cgroupfs-mount
  # A dynamic busybox would not run alone in an image.
  if ! busybox_is_static; then
    refresh_lists
    apt-get install -y -qq busybox-static >/dev/null </dev/null || die "cannot install busybox-static"
  fi
}

# need_faketime: what sets the clock of a single process.
need_faketime() {
  if ! compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null; then
    refresh_lists
    apt-get install -y -qq libfaketime >/dev/null </dev/null || die "cannot install libfaketime"
  fi
}

busybox_is_static() { ! ldd "$(command -v busybox)" >/dev/null 2>&1; }

need_rust() {
  PATH=$PATH:$HOME/.cargo/bin
  command -v cargo >/dev/null || die "no cargo: Debian's is too old for skep; install Rust 1.95 or newer
  as https://rustup.rs says, then run this again"
  need cc=build-essential
}

# wait_until SECONDS WHAT COMMAND...: polls until the command succeeds; says what it waits for once.
wait_until() {
  local deadline=$((SECONDS + $1)) what=$2 told=
  shift 2
  until "$@" >/dev/null 2>&1; do
    if ((SECONDS >= deadline)); then return 1; fi
    [[ $told ]] || { say "waiting for $what"; told=1; }
    sleep 0.3
  done
}

answers() { docker -H "$1" version --format '{{.Server.Version}}' </dev/null; }
