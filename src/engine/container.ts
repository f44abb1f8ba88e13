/** A container by its name: look, make, start, rename, remove, and what it said last. */
import type Dockerode from "dockerode";
import { type Engine, engineFailure, engineStatus } from "./engine.ts";

export type ContainerInfo = Dockerode.ContainerInspectInfo;

/** @returns undefined if there is none. @throws DrydockError "host", as all of these do. */
export async function inspectContainer(engine: Engine, name: string): Promise<ContainerInfo | undefined> {
  try {
    return await engine.docker.getContainer(name).inspect();
  } catch (error) {
    if (engineStatus(error) === 404) return undefined;
    throw engineFailure(`look at container "${name}"`, error);
  }
}

/** @returns its id */
export async function createContainer(
  engine: Engine,
  options: Dockerode.ContainerCreateOptions,
): Promise<string> {
  try {
    return (await engine.docker.createContainer(options)).id;
  } catch (error) {
    throw engineFailure(`make container "${options.name}"`, error);
  }
}

/** Starts it; one that runs is left as it is. */
export async function startContainer(engine: Engine, name: string): Promise<void> {
  await act(`start container "${name}"`, 304, () => engine.docker.getContainer(name).start());
}

/** Stops it, with SIGKILL after ten seconds; one that doesn't run is left as it is. */
export async function stopContainer(engine: Engine, name: string): Promise<void> {
  await act(`stop container "${name}"`, 304, () => engine.docker.getContainer(name).stop({ t: 10 }));
}

export async function renameContainer(engine: Engine, name: string, to: string): Promise<void> {
  await act(`rename container "${name}"`, undefined, () =>
    engine.docker.getContainer(name).rename({ name: to }),
  );
}

/** When the engine starts it again by itself: what `docker run --restart` says. */
export async function setRestartPolicy(
  engine: Engine,
  name: string,
  { Name, MaximumRetryCount = 0 }: { Name: string; MaximumRetryCount?: number },
): Promise<void> {
  await act(`change the restart policy of container "${name}"`, undefined, () =>
    // Docker refuses a count with any other policy.
    engine.docker.getContainer(name).update({
      RestartPolicy: Name === "on-failure" ? { Name, MaximumRetryCount } : { Name },
    }),
  );
}

/** Removes it with its anonymous volumes, running or not; it need not be there. */
export async function removeContainer(engine: Engine, name: string): Promise<void> {
  await act(`remove container "${name}"`, 404, () =>
    engine.docker.getContainer(name).remove({ force: true, v: true }),
  );
}

/** Its last lines of output, at most `lines`; an empty text if the engine doesn't keep them. */
export async function lastOutput(engine: Engine, name: string, lines = 15): Promise<string> {
  try {
    const output = await engine.docker
      .getContainer(name)
      .logs({ follow: false, stdout: true, stderr: true, tail: lines });
    return withoutFrames(output).trim();
  } catch {
    return "";
  }
}

async function act(
  action: string,
  alreadySo: number | undefined,
  work: () => Promise<unknown>,
): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (alreadySo === undefined || engineStatus(error) !== alreadySo) throw engineFailure(action, error);
  }
}

/** Without a terminal, output comes in frames of an 8-byte header (type, 0, 0, 0, length) and the bytes. */
function withoutFrames(output: Buffer): string {
  const parts: Buffer[] = [];
  for (let at = 0; at + 8 <= output.length; ) {
    const end = at + 8 + output.readUInt32BE(at + 4);
    parts.push(output.subarray(at + 8, end));
    at = end;
  }
  return Buffer.concat(parts).toString("utf8");
}
