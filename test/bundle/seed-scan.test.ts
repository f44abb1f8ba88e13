import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { type ScanOptions, scanSeed } from "../../src/bundle/seed-scan.ts";
import { DrydockError, type ErrorKind } from "../../src/errors.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import {
  blobPath,
  layerLinkPath,
  linkContent,
  revisionLinkPath,
  tagCurrentLinkPath,
} from "../../src/oci/storage.ts";
import type { Compression } from "../../src/oci/storage-tarball.ts";
import { makeArtifact, makeImage, makeIndex, pushImage } from "../lab/images.ts";
import { run } from "../lab/process.ts";
import { startRegistry } from "../lab/registry.ts";
import {
  addBlob,
  addManifest,
  compress,
  entriesOf,
  makeStorage,
  readTree,
  type StorageTree,
  tarOf,
} from "../lab/seeds.ts";

const app = makeImage({ files: { a: "app" } });
const arm = makeImage({ files: { a: "arm" }, platform: "linux/arm64" });
const index = makeIndex([app, arm]);
const docker = makeImage({ docker: true, files: { b: "docker" } });
const artifact = makeArtifact();
const appLayer = app.blobs[1]?.digest as Digest;
let folder: string;
let pristine: StorageTree;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-scan-"));
  const images = {
    "team/app:1": index,
    "team/app:docker": docker,
    "other:latest": docker,
    "chart:1": artifact,
  };
  pristine = await readTree(await makeStorage(folder, images));
});
after(() => rm(folder, { recursive: true, force: true }));

async function* chunked(bytes: Buffer, size = 10_000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

function scan(tree: StorageTree, options: ScanOptions & { compression?: Compression } = {}) {
  const { compression = "none", ...others } = options;
  return scanSeed(chunked(compress(tarOf(entriesOf(tree)), compression)), "seed.tar", undefined, others);
}

async function refused(work: Promise<unknown>, kind: ErrorKind, ...texts: string[]): Promise<DrydockError> {
  const error = await work.then(
    () => assert.fail("it was taken"),
    (error: unknown) => error,
  );
  assert.ok(error instanceof DrydockError, String(error));
  for (const text of ["seed.tar", ...texts])
    assert.ok(error.message.includes(text), `${error.message}: no ${text}`);
  assert.equal(error.kind, kind);
  return error;
}

function edited(edit: (tree: StorageTree) => void): StorageTree {
  const tree = new Map(pristine);
  edit(tree);
  return tree;
}

const digestsOf = (...images: { blobs: { digest: Digest }[] }[]) =>
  [...new Set(images.flatMap(({ blobs }) => blobs.map(({ digest }) => digest)))].sort();

describe("the scan of a seed", () => {
  for (const compression of ["none", "gzip", "zstd"] as const) {
    test(`finds what was pushed, ${compression}`, async () => {
      const bytes = compress(tarOf(entriesOf(pristine)), compression);
      const found = await scanSeed(chunked(bytes), "seed.tar");
      assert.equal(found.compression, compression);
      assert.equal(found.size, bytes.length);
      assert.equal(found.sha256, createHash("sha256").update(bytes).digest("hex"));
      assert.deepEqual(found.leftOut, []);
      assert.deepEqual(found.repositories, {
        chart: { tags: { "1": artifact.digest }, revisions: [artifact.digest], layers: digestsOf(artifact) },
        other: { tags: { latest: docker.digest }, revisions: [docker.digest], layers: digestsOf(docker) },
        "team/app": {
          tags: { "1": index.digest, docker: docker.digest },
          revisions: [index.digest, app.digest, arm.digest, docker.digest].sort(),
          layers: digestsOf(app, arm, docker),
        },
      });
      const stored = [...pristine.keys()].filter((path) => path.endsWith("/data"));
      assert.deepEqual(
        found.blobs.map(({ digest }) => blobPath(digest)),
        stored,
      );
      assert.equal(
        found.unpackedBytes,
        found.blobs.reduce((sum, { size }) => sum + size, 0),
      );
    });
  }

  test("links may come before their blobs", async () => {
    const reversed = new Map([...pristine].reverse());
    const { repositories } = await scan(reversed);
    assert.deepEqual(repositories, (await scan(pristine)).repositories);
  });

  test("a repository without tags", async () => {
    const tree = edited((tree) => {
      for (const path of tree.keys()) if (path.includes("/tags/")) tree.delete(path);
    });
    const { repositories } = await scan(tree);
    assert.deepEqual(repositories.other, {
      tags: {},
      revisions: [docker.digest],
      layers: digestsOf(docker),
    });
  });

  test("an index of which a child is missing: a note, and the rest stays", async () => {
    const tree = edited((tree) => {
      tree.delete(blobPath(arm.digest));
      tree.delete(revisionLinkPath("team/app", arm.digest));
    });
    const { repositories, leftOut, blobs } = await scan(tree);
    assert.equal(repositories["team/app"]?.tags["1"], index.digest);
    assert.deepEqual(repositories["team/app"]?.layers, digestsOf(app, docker));
    assert.ok(!blobs.some(({ digest }) => digest === arm.blobs[0]?.digest));
    assert.match(leftOut[0]?.what ?? "", /linux\/arm64 \([0-9a-f]{12}\) of team\/app@sha256:.* \(tag 1\)/);
  });

  test("schema 1: kept, with its layers", async () => {
    let old: Digest | undefined;
    let layer: Digest | undefined;
    const tree = edited((tree) => {
      layer = addBlob(tree, Buffer.from("a layer of 2014"));
      const fsLayers = [{ blobSum: layer }, { blobSum: layer }];
      old = addManifest(
        tree,
        "old",
        "1",
        { schemaVersion: 1, name: "old", tag: "1", fsLayers, history: [] },
        [layer],
      );
    });
    const { repositories, leftOut } = await scan(tree);
    assert.deepEqual(repositories.old, { tags: { "1": old }, revisions: [old], layers: [layer] });
    assert.deepEqual(leftOut, []);
  });

  test("a revision of an unknown media type is left out with its tags, and named", async () => {
    const mediaType = "application/vnd.example.unheard-of+json";
    const tree = edited((tree) => {
      const layer = addBlob(tree, Buffer.from("its content"));
      addManifest(tree, "odd", "1", { schemaVersion: 2, mediaType, layers: [] }, [layer]);
      addManifest(tree, "team/app", "odd", { schemaVersion: 2, mediaType, layers: [], more: 1 });
      addManifest(tree, "team/app", "odder", { something: "else" });
    });
    const { repositories, leftOut, blobs } = await scan(tree);
    const good = await scan(pristine);
    assert.deepEqual(repositories, good.repositories);
    assert.deepEqual(new Set(blobs), new Set(good.blobs));
    const [first, ...more] = leftOut;
    assert.match(first?.what ?? "", /^odd@sha256:[0-9a-f]{64} \(tag 1\)$/);
    assert.match(first?.why ?? "", /its media type is "application\/vnd.example.unheard-of\+json"/);
    assert.ok(more.some(({ what }) => what.includes("(tag odd)")));
    assert.ok(
      more.some(({ what, why }) => what.includes("(tag odder)") && why.includes("no image manifest")),
    );
    assert.ok(more.some(({ what }) => what.startsWith("4 blobs of ")));
  });

  test("orphans, uploads and strange files are left out and counted", async () => {
    const tree = edited((tree) => {
      addBlob(tree, Buffer.alloc(100));
      addBlob(tree, Buffer.alloc(200));
      tree.set("docker/registry/v2/repositories/team/app/_uploads/0b3e/data", Buffer.from("part"));
      tree.set("docker/registry/v2/scheduler-state.json", Buffer.from("{}"));
      for (const name of "abcd") tree.set(`certs/${name}.pem`, Buffer.from("PEM"));
    });
    const { leftOut, blobs } = await scan(tree);
    assert.deepEqual(new Set(blobs), new Set((await scan(pristine)).blobs));
    assert.deepEqual(leftOut, [
      { what: "2 blobs of 300 bytes", why: "no image manifest needs them" },
      {
        what: "1 file (docker/registry/v2/repositories/team/app/_uploads/0b3e/data)",
        why: "uploads that did not end",
      },
      { what: "1 file (docker/registry/v2/scheduler-state.json)", why: "not part of what a registry serves" },
      { what: "4 files (certs/a.pem, certs/b.pem, certs/c.pem, …)", why: "outside of the storage tree" },
    ]);
  });

  test("a foreign layer may be missing, an image's own may not", async () => {
    const config = app.blobs[0];
    const urls = ["https://example.com/layer"];
    const manifest = (layer: object) => ({
      ...JSON.parse(app.manifest.toString()),
      config: { mediaType: "application/vnd.oci.image.config.v1+json", digest: config?.digest, size: 1 },
      layers: [{ mediaType: "application/octet-stream", digest: digestOf("elsewhere"), size: 9, ...layer }],
    });
    const foreign = edited((tree) => addManifest(tree, "windows", "1", manifest({ urls })));
    assert.deepEqual((await scan(foreign)).repositories.windows?.layers, [config?.digest]);
    const own = edited((tree) => addManifest(tree, "windows", "1", manifest({})));
    await refused(scan(own), "input", "windows@sha256:", "(tag 1)", digestOf("elsewhere"));
  });

  test("what a real registry's garbage collector leaves is taken", async () => {
    const registry = await startRegistry({ folder });
    try {
      await pushImage(registry.host, "team/app", "1", app);
      await pushImage(registry.host, "team/app", "2", docker);
      const url = `http://${registry.host}/v2/team/app/manifests/${docker.digest}`;
      assert.equal((await fetch(url, { method: "DELETE" })).status, 202);
    } finally {
      await registry.stop();
    }
    const before = await scan(await readTree(registry.storage));
    assert.deepEqual(before.repositories["team/app"]?.tags, { "1": app.digest });
    assert.match(before.leftOut[0]?.what ?? "", /^3 blobs/);
    await run("docker-registry", ["garbage-collect", join(dirname(registry.storage), "config.yml")]);
    const after = await scan(await readTree(registry.storage));
    assert.deepEqual(after.repositories, before.repositories);
    assert.deepEqual(after.leftOut, [
      {
        what: "2 layer links to blobs that are not in the seed",
        why: "no image manifest needs them; a registry's garbage collector leaves such",
      },
    ]);
  });
});

describe("a seed that is not whole", () => {
  test("a layer that is missing: repository, tags, revision and blob are named", async () => {
    const tree = edited((tree) => tree.delete(blobPath(appLayer)));
    await refused(scan(tree), "input", `team/app@${app.digest} (tag 1)`, appLayer);
  });

  test("a revision link whose blob is missing", async () => {
    const tree = edited((tree) => tree.delete(blobPath(docker.digest)));
    await refused(scan(tree), "input", `@${docker.digest} (tag `, `blob ${docker.digest}`);
  });

  test("a tag whose revision is missing", async () => {
    const tree = edited((tree) => tree.delete(revisionLinkPath("other", docker.digest)));
    await refused(scan(tree), "input", `other@${docker.digest}`, 'tag "latest"');
  });

  test("a blob with other content than its name says", async () => {
    const tree = edited((tree) => tree.set(blobPath(appLayer), Buffer.from("something else")));
    await refused(scan(tree), "integrity", appLayer, digestOf("something else"));
  });

  const links: Record<string, [string, (tree: StorageTree) => void]> = {
    "an empty link": ["", (tree) => tree.set(tagCurrentLinkPath("other", "latest"), Buffer.alloc(0))],
    "a link with a line end": [
      "",
      (tree) =>
        tree.set(tagCurrentLinkPath("other", "latest"), Buffer.from(`${linkContent(docker.digest)}\n`)),
    ],
    "a link that is a big file": [
      "",
      (tree) => tree.set(tagCurrentLinkPath("other", "latest"), Buffer.alloc(100_000, "a")),
    ],
    "a link to another digest than its name says": [
      appLayer,
      (tree) => tree.set(layerLinkPath("other", appLayer), Buffer.from(linkContent(app.digest))),
    ],
  };
  for (const [defect, [named, edit]] of Object.entries(links)) {
    test(defect, async () => {
      await refused(scan(edited(edit)), "input", 'repository "other"', named);
    });
  }

  test("several defects: the first is named, the others are counted", async () => {
    const tree = edited((tree) => {
      tree.set(blobPath(appLayer), Buffer.from("something else"));
      tree.delete(revisionLinkPath("other", docker.digest));
    });
    const error = await refused(scan(tree), "integrity", appLayer, "; and 2 more defects");
    assert.match(error.hint ?? "", /--allow-incomplete/);
  });

  test("an image manifest that is JSON but broken is left out", async () => {
    const tree = edited((tree) => {
      const mediaType = "application/vnd.oci.image.manifest.v1+json";
      addManifest(tree, "broken", "1", { schemaVersion: 2, mediaType, config: { digest: "sha256:../.." } });
    });
    const { repositories, leftOut } = await scan(tree);
    assert.equal(repositories.broken, undefined);
    assert.match(leftOut[0]?.what ?? "", /^broken@/);
  });

  test("no storage tree", async () => {
    const error = await refused(
      scan(new Map([["var/log/syslog", Buffer.from("x")]])),
      "input",
      "no registry storage",
    );
    assert.match(error.hint ?? "", /docker\/registry\/v2/);
  });
});

describe("what is whole of a damaged seed", () => {
  const salvaged = (edit: (tree: StorageTree) => void) => scan(edited(edit), { allowIncomplete: true });

  test("an image whose layer is missing is left out with its tags; others keep what they share with it", async () => {
    const { repositories, leftOut, blobs } = await salvaged((tree) => {
      tree.delete(blobPath(docker.blobs[1]?.digest as Digest));
    });
    assert.deepEqual(Object.keys(repositories), ["chart", "team/app"]);
    assert.deepEqual(repositories["team/app"]?.tags, { "1": index.digest });
    assert.deepEqual(repositories["team/app"]?.revisions, [index.digest, app.digest, arm.digest].sort());
    assert.ok(!blobs.some(({ digest }) => digest === docker.digest));
    const named = leftOut.map(({ what }) => what);
    assert.ok(named.includes(`other@${docker.digest} (tag latest)`));
    assert.ok(named.includes(`team/app@${docker.digest} (tag docker)`));
    assert.match(leftOut[0]?.why ?? "", new RegExp(`${docker.blobs[1]?.digest}, which it needs, is not in`));
  });

  test("a blob with other content counts as missing, and is named with what it holds", async () => {
    const { repositories, leftOut, blobs } = await salvaged((tree) => {
      tree.set(blobPath(appLayer), Buffer.from("something else"));
    });
    assert.deepEqual(repositories["team/app"]?.revisions, [index.digest, arm.digest, docker.digest].sort());
    assert.equal(repositories["team/app"]?.tags["1"], index.digest);
    assert.ok(!blobs.some(({ digest }) => digest === appLayer || digest === app.digest));
    assert.deepEqual(leftOut.slice(0, 2), [
      { what: `blob ${appLayer}`, why: `it has the content of ${digestOf("something else")}` },
      {
        what: `team/app@${app.digest} (tag 1)`,
        why: `blob ${appLayer}, which it needs, is damaged in the seed`,
      },
    ]);
    assert.match(leftOut[2]?.what ?? "", /^linux\/amd64 \([0-9a-f]{12}\) of team\/app@/);
  });

  test("an index none of whose images is whole is left out too", async () => {
    const { repositories } = await salvaged((tree) => {
      for (const { blobs } of [app, arm]) tree.delete(blobPath(blobs[0]?.digest as Digest));
    });
    assert.deepEqual(repositories["team/app"], {
      tags: { docker: docker.digest },
      revisions: [docker.digest],
      layers: digestsOf(docker),
    });
  });

  test("an image manifest that is missing, a tag to nothing, and links that are damaged", async () => {
    const { repositories, leftOut } = await salvaged((tree) => {
      tree.delete(blobPath(artifact.digest));
      tree.delete(revisionLinkPath("other", docker.digest));
      tree.set(tagCurrentLinkPath("team/app", "docker"), Buffer.alloc(0));
      tree.set(layerLinkPath("team/app", appLayer), Buffer.from("x"));
    });
    assert.deepEqual(Object.keys(repositories), ["team/app"]);
    assert.deepEqual(repositories["team/app"]?.tags, { "1": index.digest });
    assert.deepEqual(
      new Set(repositories["team/app"]?.revisions),
      new Set([index.digest, app.digest, arm.digest, docker.digest]),
    );
    const text = leftOut.map(({ what, why }) => `${what}: ${why}`).join("\n");
    for (const named of [
      `chart@${artifact.digest} (tag 1): its blob ${artifact.digest} is not in the seed`,
      `other@${docker.digest} (tag latest): tag "latest" names it, but`,
      'the tag-current link of tag "docker" in repository "team/app": it does not hold',
      `the layer link ${appLayer} in repository "team/app": it does not hold`,
    ])
      assert.ok(text.includes(named), `no ${named} in:\n${text}`);
  });

  test("a tarball that is cut stays an error: nobody knows what is missing", async () => {
    const bytes = tarOf(entriesOf(pristine)).subarray(0, -3000);
    const cut = scanSeed(chunked(bytes), "seed.tar", undefined, { allowIncomplete: true });
    await refused(cut, "integrity", "truncated");
  });
});

describe("a seed's sha256", () => {
  const wrong = "0".repeat(64);

  test("right, in either case", async () => {
    const sha256 = createHash("sha256")
      .update(tarOf(entriesOf(pristine)))
      .digest("hex");
    assert.equal((await scan(pristine, { sha256 })).sha256, sha256);
    await scan(pristine, { sha256: sha256.toUpperCase() });
  });

  test("wrong: both are named", async () => {
    const { sha256 } = await scan(pristine);
    await refused(scan(pristine, { sha256: wrong }), "integrity", wrong, sha256);
  });

  test("wrong, and no tarball either: the sha256 is what is said", async () => {
    const text = Buffer.from("<html>Please log in</html>".repeat(1000));
    const sha256 = createHash("sha256").update(text).digest("hex");
    await refused(
      scanSeed(chunked(text), "seed.tar", undefined, { sha256: wrong }),
      "integrity",
      wrong,
      sha256,
    );
    await refused(scanSeed(chunked(text), "seed.tar", undefined, { sha256 }), "input", "not a tar archive");
  });

  test("truncated: the sha256 is what is said", async () => {
    const bytes = compress(tarOf(entriesOf(pristine)), "gzip").subarray(0, -50);
    await refused(scanSeed(chunked(bytes), "seed.tar", undefined, { sha256: wrong }), "integrity", wrong);
    await refused(scanSeed(chunked(bytes), "seed.tar"), "integrity", "truncated");
  });
});

test("memory stays flat over a seed of 1 GiB", async () => {
  const script = fileURLToPath(new URL("../lab/scan-big-seed.ts", import.meta.url));
  const { stdout } = await run(process.execPath, [script, "1024"]);
  const { rssGrowth, blobs } = JSON.parse(stdout);
  assert.equal(blobs, 64 + 2);
  assert.ok(rssGrowth < 200 * 1024 * 1024, `grew by ${rssGrowth} bytes`);
});
