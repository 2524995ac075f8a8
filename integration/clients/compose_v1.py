"""docker-compose 1.29 through the socket in DOCKER_HOST: a plain stack beside a swarm, up and down."""

import pathlib
import subprocess
import sys
import time

import docker

FILE = pathlib.Path(__file__).with_name("compose.yml")


def compose(*arguments, status=0):
    command = ["docker-compose", "--ansi", "never", "-p", "plain", "-f", str(FILE), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == status, (arguments, done)
    return done.stdout


def main():
    client = docker.from_env()
    client.swarm.init(advertise_addr=sys.argv[1])
    shared = client.networks.create("shared", driver="overlay", attachable=True)
    # A task makes the network one of this node, so that containers can join it.
    task = client.services.create("busybox", ["sleep", "1000"], name="sleeper", networks=[shared.id], stop_grace_period=0)
    compose("config", "-q")
    compose("build")
    compose("up", "-d", "--no-build")
    compose("up", "-d", "--no-build", "--scale", "front=2")
    assert len(compose("ps", "-q").split()) == 3
    assert compose("exec", "-T", "--index=2", "front", "cat", "/data/word", "/word") == "kept\nbuilt\n"
    # `exec` ends with the status of what it ran.
    compose("exec", "-T", "store", "sh", "-c", "exit 9", status=9)
    end = time.monotonic() + 30
    while compose("logs", "--no-color").count("up in red") != 2:
        assert time.monotonic() < end, "waited in vain for the logs"
    assert compose("run", "--rm", "-T", "front", "cat", "/word").strip() == "built"
    # The stack's names resolve on its own network.
    assert "store" in compose("exec", "-T", "front", "nslookup", "store")
    compose("restart", "-t", "1", "store")
    compose("pause", "front")
    compose("unpause", "front")
    compose("stop", "-t", "1")
    compose("start")
    compose("down", "-v", "-t", "1")
    names = {network.name for network in client.networks.list()}
    assert "plain_inner" not in names and "shared" in names, names
    left = client.containers.list(all=True, sparse=True)
    assert not [container for container in left if container.attrs["Names"][0].startswith("/plain")], left
    task.remove()
    client.swarm.leave(force=True)


main()
