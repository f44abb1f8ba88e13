/**
 * A power cut, as the engine's containers see it: all processes of the engine and its containers end at once, by
 * SIGKILL, and then the engine is started as a boot would start it. What the disk's cache would lose is not lost.
 */
import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { run, type Service, startService } from "./process.ts";

/** The engine's children are containerd and the proxies of ports; a container's parent is its shim. */
const end = `
engine=$(cat /run/docker.pid)
inside=$(docker ps --quiet | xargs --no-run-if-empty docker inspect --format '{{.State.Pid}}')
shims=$(for pid in $inside; do ps -o ppid= --pid $pid; done)
for pid in $engine $(ps -o pid= --ppid $engine) $shims $inside; do [ $pid -le 1 ] || kill -9 $pid; done
while [ -d /proc/$engine ]; do sleep 0.02; done
umount /run/docker/netns/* 2>/dev/null
rm -rf /run/docker
`;

let engine: Service | undefined;

/** To be called on the host that the engine is on; it answers again when this returns. endEngine() must follow. */
export async function cutPower(): Promise<void> {
  const pid = (await readFile("/run/docker.pid", "utf8")).trim();
  const [program = "", ...args] = (await readFile(`/proc/${pid}/cmdline`, "utf8")).split("\0").slice(0, -1);
  await run("/bin/sh", ["-c", end], { cwd: "/" });
  const service = await startService(program, args, { log: "/run/docker-after.log", patienceSeconds: 20 });
  engine = service;
  while ((await run("docker", ["version"], { mayFail: true })).code !== 0) {
    if (!service.running()) throw new Error(`the engine does not start again:\n${await service.readLog()}`);
    await sleep(50);
  }
}

/** Ends the engine that was started by the last cut, if there was one: the lab has lost sight of it. */
export async function endEngine(): Promise<void> {
  await engine?.stop();
}
