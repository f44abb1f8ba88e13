/** A Docker engine of a host's own: its data, its socket and its containers. */
import { mkdir } from "node:fs/promises";
import { get } from "node:http";
import { join } from "node:path";
import { removeCgroups } from "./cgroups.ts";
import { type Inside, pidInside } from "./host.ts";
import { startService, waitFor } from "./process.ts";

export interface TestEngine {
  /** The socket's path as seen from outside the host; inside it is /run/docker.sock. */
  socket: string;
  log: string;
  /** While `work` is done it takes what is asked of it, and doesn't answer. */
  whileHanging(work: () => Promise<void>): Promise<void>;
  /** Ends the containers and the engine, in this order. */
  stop(): Promise<void>;
}

/**
 * Starts dockerd inside a host; it answers when this returns (3 to 4 s).
 * @param options.folder the host's: FOLDER/run is its /run, FOLDER/docker holds the images
 * @param options.name unlike any other's on this machine @param options.args more of dockerd's arguments
 */
export async function startEngine(
  host: Inside,
  options: { folder: string; name: string; args?: string[] },
): Promise<TestEngine> {
  const { folder, name } = options;
  const settings = [
    `--data-root=${join(folder, "docker")}`,
    "--exec-root=/run/docker",
    "--host=unix:///run/docker.sock",
    "--pidfile=/run/docker.pid",
    `--cgroup-parent=/${name}`,
    "--shutdown-timeout=2",
    ...(options.args ?? []),
  ];
  const [program, args] = host.enter("dockerd", settings, "/");
  const log = join(folder, "dockerd.log");
  // There containerd writes its stacks when the engine gives it up, as it does on a machine that is very busy.
  const temporary = join(folder, "engine-tmp");
  await mkdir(temporary, { recursive: true });
  const service = await startService(program, args, { log, env: { ...host.env, TMPDIR: temporary } });
  const socket = join(folder, "run/docker.sock");
  const stop = async () => {
    if (service.running()) {
      await host.run("/bin/sh", ["-c", endEngine], { cwd: "/", mayFail: true, seconds: 20 });
      const late = setTimeout(() => void service.stop(), 20_000);
      await service.ended;
      clearTimeout(late);
    }
    await removeCgroups(name);
  };
  const whileHanging = async (work: () => Promise<void>) => {
    const pid = await pidInside(service.pid);
    process.kill(pid, "SIGSTOP");
    try {
      await work();
    } finally {
      process.kill(pid, "SIGCONT");
      // The one that waits outside for it has stopped as it did.
      process.kill(service.pid, "SIGCONT");
    }
  };
  try {
    await waitFor("the Docker engine", service, 60, () => ping(socket));
    return { socket, log, whileHanging, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/**
 * Containers first, and at once: one whose first process ignores SIGTERM would hold the engine up for 10 s.
 * nsenter passes no signals on, so the engine gets its own from inside.
 */
const endEngine = `
ids=$(docker ps --quiet) && [ -n "$ids" ] && docker kill $ids
kill $(cat /run/docker.pid)
`;

async function ping(socketPath: string): Promise<true | undefined> {
  return new Promise((resolve) => {
    const request = get({ socketPath, path: "/_ping", timeout: 2000 }, (response) => {
      response.resume();
      resolve(response.statusCode === 200 ? true : undefined);
    });
    request.on("timeout", () => request.destroy());
    request.on("error", () => resolve(undefined));
  });
}
