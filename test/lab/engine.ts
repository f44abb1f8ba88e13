/** A Docker engine of a host's own: its data, its socket and its containers. */
import { readdir, rmdir } from "node:fs/promises";
import { get } from "node:http";
import { join } from "node:path";
import type { Inside } from "./host.ts";
import { startService, waitFor } from "./process.ts";

export interface TestEngine {
  /** The socket's path as seen from outside the host; inside it is /run/docker.sock. */
  socket: string;
  log: string;
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
  const service = await startService(program, args, { log, env: host.env });
  const socket = join(folder, "run/docker.sock");
  const stop = async () => {
    if (service.running()) {
      // nsenter passes no signals on, so the engine gets its own from inside.
      await host.run("/bin/sh", ["-c", "kill $(cat /run/docker.pid)"], { cwd: "/", mayFail: true });
      const late = setTimeout(() => void service.stop(), 20_000);
      await service.ended;
      clearTimeout(late);
    }
    await removeCgroups(name);
  };
  try {
    await waitFor("the Docker engine", service, 60, () => ping(socket));
    return { socket, log, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

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

/** The control groups of containers that did not end by themselves stay otherwise (versions 1 and 2). */
async function removeCgroups(name: string): Promise<void> {
  const root = "/sys/fs/cgroup";
  const controllers = await readdir(root).catch((): string[] => []);
  for (const parent of [root, ...controllers.map((controller) => join(root, controller))]) {
    await removeTree(join(parent, name));
  }
}

/** In a control group only folders can be removed, and the files go with them. */
async function removeTree(folder: string): Promise<void> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) if (entry.isDirectory()) await removeTree(join(folder, entry.name));
  await rmdir(folder).catch(() => {});
}
