"""aiodocker against the socket in DOCKER_HOST: swarm, services, secrets, configs, networks, nodes, tasks, events."""

import asyncio
import base64
import sys

import aiodocker

ADDRESS = sys.argv[1]


async def wait(what, probe, seconds=60):
    try:
        async with asyncio.timeout(seconds):
            while not await probe():
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"waited in vain for {what}") from None


async def expect_error(status, call):
    try:
        await call
    except aiodocker.DockerError as error:
        assert error.status == status, (status, error)
        return
    raise AssertionError(f"no error {status}")


async def running(docker, count, image=None):
    tasks = await docker.tasks.list(filters={"service": "web", "desired-state": "running"})
    states = [task["Status"]["State"] for task in tasks]
    return states == ["running"] * count


async def life(docker, seen):
    secret = await docker.secrets.create(name="key", data="hush")
    config = await docker.configs.create(name="text", data="words")
    found = await docker.configs.inspect(config["ID"])
    assert base64.b64decode(found["Spec"]["Data"]) == b"words"
    network = await docker.networks.create({"Name": "aio", "Driver": "overlay", "Attachable": True})
    template = {
        "ContainerSpec": {
            "Image": "busybox", "Command": ["sh", "-c", "echo started; exec sleep 1000"], "StopGracePeriod": 1_000_000_000,
            "Secrets": [{"SecretID": secret["ID"], "SecretName": "key",
                         "File": {"Name": "key", "UID": "0", "GID": "0", "Mode": 0o400}}],
        },
        "Networks": [{"Target": network.id}],
    }
    made = await docker.services.create(task_template=template, name="web", mode={"Replicated": {"Replicas": 2}},
                                        labels={"of": "aio"})
    await wait("two tasks", lambda: running(docker, 2))
    (listed,) = await docker.services.list(filters={"label": "of=aio"})
    assert listed["ID"] == made["ID"]
    task = (await docker.tasks.list(filters={"service": "web"}))[0]
    assert (await docker.tasks.inspect(task["ID"]))["ServiceID"] == made["ID"]
    async def logged():
        lines = await docker.services.logs("web", stdout=True, stderr=True)
        return sum("started" in line for line in lines) == 2
    await wait("logs", logged)
    version = (await docker.services.inspect("web"))["Version"]["Index"]
    assert await docker.services.update(service_id=made["ID"], version=version, image="busybox:latest")
    await wait("tasks after the update", lambda: running(docker, 2))
    assert (await docker.services.inspect("web"))["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"] == "busybox:latest"
    async def roll_back():
        # The update still goes on, so that the version may be an old one by the time it is used.
        version = (await docker.services.inspect("web"))["Version"]["Index"]
        try:
            return await docker.services.update(service_id=made["ID"], version=version, rollback=True)
        except aiodocker.DockerError as error:
            assert "out of sequence" in error.message, error
            return False
    await wait("a try to roll back", roll_back)
    async def rolled_back():
        status = (await docker.services.inspect("web")).get("UpdateStatus", {})
        return status.get("State") == "rollback_completed"
    await wait("the rollback", rolled_back)
    await expect_error(400, docker.secrets.delete(secret["ID"]))
    assert await docker.services.delete("web")
    await expect_error(404, docker.services.inspect("web"))
    async def removable():
        try:
            return await network.delete()
        except aiodocker.DockerError:
            return False
    await wait("a free network", removable)
    await docker.secrets.delete(secret["ID"])
    await docker.configs.delete(config["ID"])
    await wait("an event", lambda: asyncio.sleep(0, ("service", "remove") in seen))
    assert ("service", "create") in seen and ("secret", "create") in seen, seen


async def watch(docker, seen):
    subscriber = docker.events.subscribe()
    while (event := await subscriber.get()) is not None:
        seen.add((event["Type"], event["Action"]))


async def main():
    async with aiodocker.Docker() as docker:
        await docker.version()
        await expect_error(503, docker.services.list())
        node = await docker.swarm.init(advertise_addr=ADDRESS, listen_addr="0.0.0.0:2377")
        assert (await docker.swarm.inspect())["ID"]
        (listed,) = await docker.nodes.list()
        assert listed["ID"] == node
        await docker.nodes.update(node_id=node, version=listed["Version"]["Index"],
                                  spec=dict(listed["Spec"], Labels={"zone": "a"}))
        assert (await docker.nodes.inspect(node_id=node))["Spec"]["Labels"] == {"zone": "a"}
        seen = set()
        watcher = asyncio.create_task(watch(docker, seen))
        await life(docker, seen)
        watcher.cancel()
        assert (await docker.system.info())["Swarm"]["LocalNodeState"] == "active"
        assert await docker.swarm.leave(force=True)


asyncio.run(main())
