"""Prometheus' dockerswarm discovery against the socket in DOCKER_HOST: it finds nodes, services and tasks and
scrapes the tasks. `PROMETHEUS` names the program."""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

import docker
from docker.types import EndpointSpec, ServiceMode

PORT = 19090
PAGE = "printf 'answer 42\\n' > /tmp/metrics; exec httpd -f -p 18083 -h /tmp"
CONFIG = """
global: {scrape_interval: 1s}
scrape_configs:
%s
"""
JOB = """
- job_name: %(role)s
  dockerswarm_sd_configs: [{host: "%(host)s", role: %(role)s, port: 80, refresh_interval: 1s}]
"""
# The tasks' addresses on the network of their service answer; discovery takes the published port for theirs.
KEEP = """
  relabel_configs:
  - {action: keep, source_labels: [__meta_dockerswarm_task_desired_state], regex: running}
  - {action: keep, source_labels: [__meta_dockerswarm_network_name], regex: watched}
"""


def ask(path):
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/api/v1/{path}", timeout=5) as answer:
        return json.load(answer)["data"]


def targets():
    by_role = {}
    for target in ask("targets")["activeTargets"]:
        by_role.setdefault(target["scrapePool"], []).append(target)
    return by_role


def labels(found, name):
    return sorted(target["discoveredLabels"].get("__meta_dockerswarm_" + name, "") for target in found)


def found_all(node):
    roles = targets()
    tasks = roles.get("tasks", [])
    if len(tasks) != 3 or any(task["health"] != "up" for task in tasks):
        return False
    if labels(tasks, "task_state") != ["running"] * 3:
        return False
    assert labels(tasks, "task_slot") == ["1", "2", "3"], tasks
    assert set(labels(tasks, "service_name")) == {"page"}
    assert set(labels(tasks, "service_label_of")) == {"prometheus"}
    assert set(labels(tasks, "node_id")) == {node}
    assert labels(roles["nodes"], "node_id") == [node], roles["nodes"]
    assert labels(roles["nodes"], "node_status") == ["ready"]
    assert labels(roles["nodes"], "node_role") == ["manager"]
    services = roles["services"]
    assert set(labels(services, "service_name")) == {"page"}
    assert set(labels(services, "service_mode")) == {"replicated"}
    assert {target["discoveredLabels"]["__address__"].split(":")[-1] for target in services} == {"18083"}, services
    # The service's virtual address answers as well, for one of its tasks.
    answers = ask("query?query=" + urllib.parse.quote('sum(answer{job="tasks"})'))["result"]
    return bool(answers) and answers[0]["value"][1] == "126"


def wait(what, probe, process, seconds=60):
    end = time.monotonic() + seconds
    while True:
        assert process.poll() is None, "prometheus ended"
        try:
            if probe():
                return
        except (OSError, KeyError):
            pass
        assert time.monotonic() < end, (f"waited in vain for {what}", safe_targets())
        time.sleep(0.2)


def safe_targets():
    try:
        return targets()
    except OSError as error:
        return error


def main():
    client = docker.from_env()
    node = client.swarm.init(advertise_addr=sys.argv[1])
    network = client.networks.create("watched", driver="overlay")
    service = client.services.create(
        "busybox", ["sh", "-c", PAGE], name="page", labels={"of": "prometheus"}, networks=[network.id],
        mode=ServiceMode("replicated", replicas=2), stop_grace_period=0, endpoint_spec=EndpointSpec(ports={18083: 18083}),
    )
    host = os.environ["DOCKER_HOST"]
    jobs = "".join(JOB % {"role": role, "host": host} for role in ("nodes", "services", "tasks")) + KEEP
    with tempfile.TemporaryDirectory() as folder:
        config = os.path.join(folder, "prometheus.yml")
        with open(config, "w") as file:
            file.write(CONFIG % jobs)
        command = [os.environ.get("PROMETHEUS", "prometheus"), f"--config.file={config}",
                   f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{PORT}",
                   "--log.level=warn"]
        process = subprocess.Popen(command, cwd=folder)
        try:
            # A task that comes later is found too.
            wait("the first scrape", lambda: len(targets().get("tasks", [])) == 2, process)
            service.reload()
            service.scale(3)
            wait("nodes, services and tasks", lambda: found_all(node), process)
        finally:
            process.terminate()
            process.wait(20)
    service.remove()
    client.swarm.leave(force=True)


main()
