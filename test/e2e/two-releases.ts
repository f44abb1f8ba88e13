/**
 * Two releases of one site, to be installed one over the other while things go wrong. In the second some
 * tags have moved, some stand still and some are new; blobs are shared; a file of the first has changed, and
 * there are a further one and a packed seed. Of its 30 MB much is in small blobs, so that every step takes
 * its time.
 */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { Digest } from "../../src/oci/digest.ts";
import { hostPlatform } from "../lab/host-files.ts";
import { makeArtifact, makeImage, makeLayer, type TestImage } from "../lab/images.ts";
import { makeRegistryImage } from "../lab/registry-image.ts";
import { makeSeed } from "../lab/seed.ts";
import { type Desk, manifestFile, startDesk } from "./bad-input.ts";

export interface MadeRelease {
  /** the archive */
  bundle: string;
  /** its digest, as the command printed it */
  digest: Digest;
  /** by repository and tag: "team/app-0:current" */
  images: Record<string, TestImage>;
  /** by name, what the manifest's `files:` carried */
  files: Record<string, Buffer>;
}

export interface TwoReleases {
  first: MadeRelease;
  second: MadeRelease;
  /** of the packed seed, in bytes */
  seedSize: number;
  /** the reference of the registry's image, for a manifest */
  registryImage: string;
  /** Makes a further one of the first's images: another number, and some of the manifest's keys otherwise. */
  make(release: number, more: object): Promise<MadeRelease>;
  stop(): Promise<void>;
}

const KiB = 1024;
const many = (count: number, size: number) => Array.from({ length: count }, () => randomBytes(size));

/** @param label of the folder in which it all lies */
export async function makeTwoReleases(label: string): Promise<TwoReleases> {
  const desk = await startDesk(label, { registryImage: await makeRegistryImage() });
  try {
    const shared = many(10, 300 * KiB);
    const app = (number: number) =>
      makeArtifact({ contents: [shared[number] ?? "", ...many(3, 20 * KiB), ...many(1, 200 * KiB)] });
    const before = Object.fromEntries(shared.map((_, number) => [`team/app-${number}:current`, app(number)]));
    const moved = Object.fromEntries(
      shared.slice(0, 6).map((_, number) => [`team/app-${number}:current`, app(number)]),
    );
    const added = Object.fromEntries(
      Array.from({ length: 6 }, (_, number) => [
        `team/new-${number}:1`,
        makeArtifact({ contents: [...many(2, 1700 * KiB), ...many(5, 10 * KiB)] }),
      ]),
    );
    const seeded = { "legacy/app:2017": noise(3000 * KiB), "legacy/data:1": noise(2000 * KiB) };
    const seed = await makeSeed(join(desk.folder, "legacy.tar.gz"), { images: seeded });

    const pump = randomBytes(500 * KiB);
    const first = await release(desk, 1, before, { "pump.tgz": pump });
    const images = { ...before, ...moved, ...added };
    const files = { "pump.tgz": randomBytes(500 * KiB), "valve.tgz": randomBytes(1500 * KiB) };
    const seeds = [{ file: seed.file, keep: "packed" }];
    const second = await release(desk, 2, images, files, { seeds });
    return {
      first,
      second: { ...second, images: { ...images, ...seeded } },
      seedSize: (await stat(seed.file)).size,
      registryImage: `${desk.proxy.host}/library/registry:2`,
      make: (number, more) => release(desk, number, before, { "pump.tgz": pump }, more),
      stop: desk.stop,
    };
  } catch (error) {
    await desk.stop();
    throw error;
  }
}

function noise(size: number): TestImage {
  const layers = [makeLayer([{ path: "noise", content: randomBytes(size) }])];
  return makeImage({ platform: hostPlatform, layers });
}

async function release(
  desk: Desk,
  number: number,
  images: Record<string, TestImage>,
  files: Record<string, Buffer>,
  more: object = {},
): Promise<MadeRelease> {
  await Promise.all(Object.entries(images).map(([name, image]) => desk.push(name, image)));
  const manifest = manifestFile(desk.manifest, {
    ...{ release: number, certificates: { from: "site" }, files: Object.keys(files) },
    images: Object.keys(images).map((name) => `${desk.proxy.host}/${name}`),
    ...more,
  });
  const { code, stdout, stderr, folder } = await desk.bundle({ ...files, ...manifest });
  assert.equal(code, 0, stderr);
  const hex = /^digest +([0-9a-f]{64})$/m.exec(stdout)?.[1] ?? "";
  return { bundle: join(folder, "site.tar"), digest: `sha256:${hex}`, images, files };
}
