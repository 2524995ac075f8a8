//! The compose stack that tests deploy: a web server in three copies with health check, secret,
//! config, limits, published port and update policy, and a client beside it.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use skep_integration::Docker;

const SOON: Duration = Duration::from_secs(90);

const COMPOSE: &str = r#"
version: "3.8"
services:
  web:
    image: busybox:latest
    hostname: "web-{{.Task.Slot}}"
    command:
      - sh
      - -c
      - |
        mkdir -p /www && echo "page $$PAGE from $$(hostname)" >/www/index.html
        echo "ready $$PAGE"
        exec httpd -f -p 80 -h /www
    environment: { PAGE: one }
    stop_signal: SIGKILL
    networks: [inner]
    ports: ["18080:80"]
    secrets:
      - { source: token, target: token, mode: 0400 }
    configs:
      - { source: settings, target: /etc/settings }
    healthcheck:
      test: ["CMD", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1/"]
      interval: 1s
      timeout: 2s
      retries: 10
    deploy:
      replicas: 3
      labels: { tier: front }
      resources: { limits: { memory: 32M, cpus: "0.5" } }
      update_config: { parallelism: 1, delay: 0s, order: start-first, monitor: 1s }
  client:
    image: busybox:latest
    command: ["tail", "-f", "/dev/null"]
    stop_signal: SIGKILL
    networks: [inner]
networks:
  inner: {}
secrets:
  token: { file: ./token }
configs:
  settings: { file: ./settings }
"#;

/// Writes the stack's files and deploys it as `app`.
pub fn deploy(docker: &Docker, folder: &Path) -> Result<()> {
    std::fs::write(folder.join("token"), "open sesame")?;
    std::fs::write(folder.join("settings"), "colour=blue\n")?;
    let file = folder.join("compose.yml");
    std::fs::write(&file, COMPOSE)?;
    let file = file.to_string_lossy();
    docker.ok(&["stack", "deploy", "--resolve-image", "never", "-c", &file, "app"])?;
    docker.converged(SOON)
}
