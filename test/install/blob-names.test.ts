/** What is told of the blobs in flight while they are placed: what people know them by, and all their bytes. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { openBundle } from "../../src/archive/reader.ts";
import { openFile } from "../../src/archive/source.ts";
import { place, planPlacement } from "../../src/install/place.ts";
import { shortDigest } from "../../src/oci/digest.ts";
import { type Step, silentReporter } from "../../src/reporter.ts";
import { siteLayout } from "../../src/site/layout.ts";
import { makeImage, makeLayer } from "../lab/images.ts";
import { filesContent, imageContent, registryContent, writeBundleOf } from "./bundles.ts";

const folder = await mkdtemp(join(tmpdir(), "drydock-names-"));
after(() => rm(folder, { recursive: true }));

test("each blob is in flight once, under the name of what it is of, until its last byte", async () => {
  const app = makeImage({ layers: [makeLayer([{ path: "noise", content: randomBytes(1_500_000) }])] });
  const tools = makeImage({ files: { "tools.txt": "tools\n" } });
  const registry = makeImage({ files: { "bin/registry": "not run here\n" } });
  const bundle = await writeBundleOf(join(folder, "bundle.tar"), [
    registryContent(registry),
    imageContent(app, "team/app", "1"),
    imageContent(tools, "team/tools", "1"),
    imageContent(tools, "team/tools", "latest"),
    filesContent({ "charts/a.tgz": randomBytes(1000) }),
  ]);
  const told = new Map<string, { size: number; done: number; ends: number }>();
  const step: Step = {
    ...silentReporter.step(""),
    piece(name, size = 0) {
      assert.ok(!told.has(name), name);
      const piece = { size, done: 0, ends: 0 };
      told.set(name, piece);
      return {
        advance: (bytes) => {
          piece.done += bytes;
        },
        detail: () => undefined,
        end: () => {
          piece.ends += 1;
        },
      };
    },
  };
  const layout = siteLayout(join(folder, "site"));
  const opened = await openBundle(await openFile(bundle.path));
  try {
    await place(opened, await planPlacement(bundle.index, layout, bundle.digest), layout, step);
  } finally {
    await opened.close();
  }
  const names = Object.entries({
    "team/app:1": app,
    "team/tools": tools,
    "docker.io/library/registry:2": registry,
  });
  const wanted = names.flatMap(([name, { digest, blobs }]) =>
    [digest, ...blobs.map((blob) => blob.digest)].map((one) => `${name} ${shortDigest(one)}`),
  );
  const [file] = bundle.index.files;
  if (file) wanted.push(`charts/a.tgz ${shortDigest(file.digest)}`);
  assert.deepEqual([...told.keys()].sort(), wanted.sort());
  for (const [name, { size, done, ends }] of told) assert.deepEqual([done, ends], [size, 1], name);
});
