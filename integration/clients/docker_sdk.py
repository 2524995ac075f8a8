"""docker-py against the socket in DOCKER_HOST: swarm, services, secrets, configs, networks, nodes, tasks, events."""

import os
import sys
import threading
import time

import docker
from docker.types import (
    ConfigReference, EndpointSpec, Healthcheck, Resources, RestartPolicy, RollbackConfig, SecretReference,
    ServiceMode, UpdateConfig,
)

ADDRESS = sys.argv[1]


def wait(what, probe, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if probe():
            return
        time.sleep(0.1)
    raise AssertionError(f"waited in vain for {what}")


def expect_error(status, call, *args, **options):
    try:
        call(*args, **options)
    except docker.errors.APIError as error:
        assert error.response.status_code == status, (status, error)
        return
    raise AssertionError(f"{call} did not fail with {status}")


def running(service):
    return [task for task in service.tasks({"desired-state": "running"}) if task["Status"]["State"] == "running"]


def swarm(client):
    expect_error(503, client.services.list)
    node = client.swarm.init(advertise_addr=ADDRESS, listen_addr="0.0.0.0:2377", task_history_retention_limit=3)
    assert node == client.info()["Swarm"]["NodeID"], node
    expect_error(503, client.swarm.init, advertise_addr=ADDRESS)
    client.swarm.reload()
    assert client.swarm.attrs["Spec"]["Orchestration"]["TaskHistoryRetentionLimit"] == 3
    tokens = client.swarm.attrs["JoinTokens"]
    assert client.swarm.update(rotate_worker_token=True, task_history_retention_limit=4)
    client.swarm.reload()
    assert client.swarm.attrs["JoinTokens"]["Worker"] != tokens["Worker"]
    assert client.swarm.attrs["JoinTokens"]["Manager"] == tokens["Manager"]
    assert client.swarm.attrs["Spec"]["Orchestration"]["TaskHistoryRetentionLimit"] == 4


def nodes(client):
    (node,) = client.nodes.list(filters={"role": "manager"})
    assert node.attrs["ManagerStatus"]["Leader"]
    spec = dict(node.attrs["Spec"], Labels={"zone": "a"})
    assert node.update(spec)
    node.reload()
    assert node.attrs["Spec"]["Labels"] == {"zone": "a"}
    return node


def service(client, node):
    secret = client.secrets.create(name="key", data=b"hush", labels={"of": "sdk"})
    config = client.configs.create(name="text", data=b"words", labels={"of": "sdk"})
    assert [found.id for found in client.secrets.list(filters={"label": "of=sdk"})] == [secret.id]
    assert client.configs.get(config.id).attrs["Spec"]["Data"], "configs are readable"
    network = client.networks.create("sdk", driver="overlay", attachable=True, labels={"of": "sdk"})
    assert client.networks.get(network.id).attrs["Scope"] == "swarm"
    made = client.services.create(
        "busybox", ["sh", "-c", "cat /run/secrets/key /text; echo started; exec sleep 1000"], name="sdk",
        env=["COLOUR=red"], labels={"of": "sdk"}, container_labels={"part": "one"},
        constraints=["node.labels.zone == a"], networks=[network.id], hostname="{{.Service.Name}}-{{.Task.Slot}}",
        secrets=[SecretReference(secret.id, "key")], configs=[ConfigReference(config.id, "text", "/text")],
        mode=ServiceMode("replicated", replicas=2), stop_grace_period=1_000_000_000, init=True,
        mounts=["data:/data:rw"], resources=Resources(cpu_limit=500_000_000, mem_limit=64 << 20),
        restart_policy=RestartPolicy("on-failure", delay=1_000_000_000, max_attempts=3),
        healthcheck=Healthcheck(test=["CMD", "true"], interval=1_000_000_000),
        update_config=UpdateConfig(parallelism=2, order="stop-first", monitor=1_000_000_000),
        rollback_config=RollbackConfig(parallelism=2, monitor=1_000_000_000),
        endpoint_spec=EndpointSpec(ports={18080: (80, "tcp")}), user="0", workdir="/tmp", tty=False,
    )
    wait("two tasks", lambda: len(running(made)) == 2)
    assert {task["NodeID"] for task in made.tasks()} == {node.id}
    wait("logs", lambda: b"".join(made.logs(stdout=True)).count(b"hushwordsstarted") == 2)
    assert client.services.get("sdk").attrs["Endpoint"]["Ports"][0]["PublishedPort"] == 18080
    expect_error(409, client.services.create, "busybox", name="sdk")
    expect_error(400, client.services.create, "busybox", name="sdk two")
    return made, secret, config, network


def change(client, made):
    made.reload()
    assert made.scale(3)
    wait("three tasks", lambda: len(running(made)) == 3)
    # What is not named is kept by the client only where it fetches it.
    made.reload()
    made.update(fetch_current_spec=True, env=["COLOUR=blue"], labels={"of": "sdk", "round": "2"})
    def updated():
        made.reload()
        return made.attrs.get("UpdateStatus", {}).get("State") == "completed"
    wait("the update", updated)
    assert len(running(made)) == 3
    containers = client.containers.list(filters={"label": "com.docker.swarm.service.name=sdk"})
    assert len(containers) == 3
    assert all("COLOUR=blue" in found.attrs["Config"]["Env"] for found in containers)
    code, output = containers[0].exec_run(["cat", "/run/secrets/key"])
    assert (code, output) == (0, b"hush"), output
    assert made.force_update()
    made.reload()
    wait("new tasks", updated)
    expect_error(400, client.api.update_service, made.id, 1, name="sdk")


def clear(client, made, secret, config, network):
    expect_error(400, secret.remove)
    made.remove()
    expect_error(404, client.services.get, "sdk")
    # Not sparse, it would look at each, and one may go meanwhile.
    filters = {"label": "com.docker.swarm.service.name=sdk"}
    gone = lambda: not client.containers.list(filters=filters, sparse=True)
    wait("the end of the containers", gone)
    wait("a free network", lambda: removed(network))
    assert secret.remove() and config.remove()
    assert client.swarm.leave(force=True)
    expect_error(503, client.nodes.list)


def removed(network):
    try:
        network.remove()
    except docker.errors.APIError as error:
        assert error.response.status_code in (400, 403, 409), error
        return False
    return True


def main():
    client = docker.from_env(timeout=60)
    assert client.ping() and client.version()["ApiVersion"]
    swarm(client)
    seen = []
    since = int(time.time()) - 1
    stream = docker.from_env().events(since=since, decode=True)
    threading.Thread(target=lambda: seen.extend(stream), daemon=True).start()
    made, secret, config, network = service(client, nodes(client))
    change(client, made)
    kinds = lambda: {(event["Type"], event["Action"]) for event in stream_so_far(since)}
    wanted = {("service", "create"), ("service", "update"), ("secret", "create"), ("config", "create"),
              ("network", "create"), ("node", "update"), ("container", "start")}
    wait(f"events {wanted}", lambda: wanted <= kinds())
    clear(client, made, secret, config, network)
    stream.close()


def stream_so_far(since):
    return list(docker.from_env().events(since=since, until=int(time.time()) + 0, decode=True))


main()
