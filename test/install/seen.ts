/** All of a site that anybody sees, to be compared before and after. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { inspectContainer } from "../../src/engine/container.ts";
import type { Engine } from "../../src/engine/engine.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { readInterrupted } from "../../src/site/journal.ts";
import { readCertificates } from "../../src/site/kept-certificates.ts";
import type { SiteLayout } from "../../src/site/layout.ts";
import { currentDigest } from "../../src/site/marker.ts";
import { listReleases, readRelease } from "../../src/site/record.ts";
import { filesBelow } from "./bundles.ts";
import { served } from "./releases.ts";

export interface Seen {
  certificates: string[];
  files: string[];
  tags: Record<string, string>;
  /** the current one, and all that are in effect */
  releases: (number | undefined)[];
  interrupted: object | undefined;
  container: unknown[] | undefined;
  /** how many containers there are besides under drydock's names */
  others: number;
}

/** @param names tags that the registry is asked for */
export async function seenAt(engine: Engine, layout: SiteLayout, names: readonly string[]): Promise<Seen> {
  const container = await inspectContainer(engine, "registry");
  const others = ["registry-next", "registry-previous"].map((name) => inspectContainer(engine, name));
  const certificates = Object.entries(await readCertificates(layout));
  const shown = (await filesBelow(layout.files)).map(
    async (name) => `${name} ${await readFile(join(layout.files, name), "utf8")}`,
  );
  const current = await currentDigest(layout);
  const inEffect = (await listReleases(layout)).filter(({ rolledBackAt }) => rolledBackAt === undefined);
  return {
    certificates: certificates.map(([name, bytes]) => `${name} ${bytes && digestOf(bytes)}`),
    files: await Promise.all(shown),
    tags: await served(layout, names),
    releases: [
      current && (await readRelease(layout, current))?.release,
      ...inEffect.map(({ release }) => release),
    ],
    interrupted: await readInterrupted(layout),
    container: container && [container.Id, container.State.Running, container.HostConfig.RestartPolicy?.Name],
    others: (await Promise.all(others)).filter((info) => info !== undefined).length,
  };
}

/** Without the container's id, which is another one where it had to be made again. */
export function butForId({ container, ...rest }: Seen): object {
  return { ...rest, container: container?.slice(1) };
}
