/** Looking before building, lists of images from elsewhere, and lock files: through the built command. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { parse, stringify } from "yaml";
import type { DryRun } from "../../src/bundle/dry-run.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { makeArtifact, makeImage, makeLayer, type TestImage } from "../lab/images.ts";
import type { RunResult } from "../lab/process.ts";
import { startRegistry, type TestRegistry } from "../lab/registry.ts";
import { makeStorage, packStorage } from "../lab/seeds.ts";
import { pushNamed } from "../lab/upstream.ts";
import { makeFolder } from "./connected.ts";
import { drydock } from "./drydock.ts";

const base = makeLayer([{ path: "base", content: randomBytes(300_000) }]);
const own = (text: string) => makeLayer([{ path: "own", content: Buffer.from(text) }]);
const images = {
  "library/registry:2": makeImage({ files: { registry: "none" } }),
  "team/web:1": makeImage({ layers: [base, own("web")] }),
  "team/worker:1": makeImage({ layers: [base, own("worker")] }),
  "team/tool:1": makeImage({ layers: [own("tool")] }),
};
const later = makeImage({ layers: [base, own("a later web")] });

let folder: string;
let registry: TestRegistry;
const ends: (() => Promise<unknown> | unknown)[] = [];

before(async () => {
  const made = await makeFolder("lock");
  folder = made.path;
  ends.push(made.remove);
  registry = await startRegistry({ folder });
  ends.push(registry.stop);
  for (const [name, image] of Object.entries(images)) await pushNamed(registry.host, name, image);
});
after(async () => {
  for (const end of ends.reverse()) await end();
});

let homes = 0;

/** A new folder with these files, and site.yaml in it. */
async function home(manifest: object, files: Record<string, string | Buffer> = {}): Promise<string> {
  homes += 1;
  const at = join(folder, `home-${homes}`);
  await mkdir(at);
  const head = {
    name: "plant-7",
    addresses: ["registry.site.lan"],
    registry: { image: `${registry.host}/library/registry:2` },
  };
  await writeFile(join(at, "site.yaml"), stringify({ ...head, ...manifest }));
  for (const [name, content] of Object.entries(files)) await writeFile(join(at, name), content);
  return at;
}

async function bundle(at: string, flags: string[], input?: string): Promise<RunResult> {
  const env = {
    HOME: folder,
    XDG_DATA_HOME: join(folder, "data"),
    DOCKER_CONFIG: join(folder, "docker"),
  };
  const args = ["bundle", "site.yaml", "--plain-http", registry.host, ...flags];
  return await drydock(args, { cwd: at, env, ...(input === undefined ? {} : { input }) });
}

function succeeded(result: RunResult): RunResult {
  assert.equal(result.code, 0, result.stderr);
  return result;
}

function failed(result: RunResult, exit: number, ...says: RegExp[]): void {
  assert.equal(result.code, exit, `${result.stdout}${result.stderr}`);
  for (const each of says) assert.match(result.stderr, each);
}

const named = (name: keyof typeof images) => `${registry.host}/${name}`;
const sizeOf = (image: TestImage) =>
  image.manifest.length + image.blobs.reduce((sum, { bytes }) => sum + bytes.length, 0);

describe("bundle --dry-run", () => {
  it("says what a build then makes, and writes nothing", async () => {
    const storage = await makeStorage(join(folder, "seed"), { "old/app:1": images["team/tool:1"] });
    const seed = await readFile(await packStorage(storage, join(folder, "seed.tar")));
    const at = await home(
      {
        images: [named("team/web:1"), named("team/worker:1")],
        seeds: [{ file: "seed.tar" }],
        files: ["*.txt"],
      },
      { "seed.tar": seed, "note.txt": "a note\n" },
    );
    const before = await readdir(at);
    // Nobody is there to be asked for a passphrase.
    const { stdout } = succeeded(await bundle(at, ["--dry-run", "--json", "--ask-passphrase"]));
    assert.deepEqual(await readdir(at), before);
    await assert.rejects(stat(join(folder, "data")), "no key store is made");
    const plan: DryRun = JSON.parse(stdout);
    assert.deepEqual(
      plan.images.map(({ repository, tag, digest, platforms, size }) => [
        ...[repository, tag, digest, platforms, size],
      ]),
      (["team/web:1", "team/worker:1"] as const).map((name) => {
        const [repository, tag] = name.split(":");
        return [repository, tag, images[name].digest, ["linux/amd64"], sizeOf(images[name])];
      }),
    );
    assert.equal(plan.registry.digest, images["library/registry:2"].digest);
    assert.deepEqual(plan.shared, { blobs: 1, bytes: images["team/web:1"].blobs[1]?.bytes.length });
    assert.deepEqual(plan.unknown, []);
    const [planned] = plan.seeds;
    assert.equal(planned?.sha256, digestOf(seed).slice(7));
    assert.equal(planned?.unpacked, sizeOf(images["team/tool:1"]));
    assert.ok((plan.archive.free ?? 0) > 0);

    const built = JSON.parse(succeeded(await bundle(at, ["--json"])).stdout);
    assert.ok(
      Math.abs(built.size - plan.archive.size) < 16_384,
      `${built.size}, planned ${plan.archive.size}`,
    );
    assert.equal(built.bundle.blobs.length, plan.archive.blobs + 3);
    assert.equal(built.bundle.totals.blobs, plan.site.blobs);
    const registryImage = images["library/registry:2"];
    assert.equal(plan.site.bytes, built.bundle.totals.bytes + "a note\n".length + sizeOf(registryImage));
    assert.ok(plan.site.inodes > built.bundle.totals.inodes);
    assert.deepEqual([plan.reused, plan.archive.parts], [undefined, undefined]);

    // All but the certificates is in the one that was built, the seed too: its server, which is none, is not asked.
    const next = await home({
      images: [named("team/web:1"), named("team/tool:1")],
      seeds: [{ url: "http://127.0.0.1:1/seed.tar", sha256: digestOf(seed).slice(7) }],
    });
    const flags = ["--reuse", join(at, "plant-7.tar"), "--split", "1M"];
    const again: DryRun = JSON.parse(succeeded(await bundle(next, ["--dry-run", "--json", ...flags])).stdout);
    const reused = [images["team/web:1"], images["team/tool:1"], registryImage];
    assert.equal(
      again.reused?.bytes,
      reused.reduce((sum, image) => sum + sizeOf(image), 0),
    );
    assert.deepEqual(again.unknown, []);
    assert.equal(again.seeds[0]?.unpacked, sizeOf(images["team/tool:1"]));
    assert.equal(again.archive.parts, Math.ceil(again.archive.size / 1024 ** 2));
    const { stdout: text } = succeeded(await bundle(next, ["--dry-run", ...flags]));
    assert.match(text, /^of that reused +\d+ blobs, [\d.]+ KiB$/m);
    assert.match(text, /^bundle .* in 1 part;/m);
  });

  it("asks a seed's server for no more than its size", async () => {
    const methods: (string | undefined)[] = [];
    const server = createServer(({ method, url }, response) => {
      methods.push(method);
      if (url === "/no-head") response.writeHead(405).end();
      else response.setHeader("content-length", "5000000000").end();
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    const url = `http://127.0.0.1:${typeof address === "object" ? address?.port : ""}`;
    try {
      const sha256 = "2c".repeat(32);
      const seeds = [
        { url: `${url}/seed.tar.gz?token=secret`, sha256, keep: "packed" },
        { url: `${url}/no-head`, sha256 },
      ];
      const { stdout } = succeeded(await bundle(await home({ seeds }), ["--dry-run"]));
      assert.deepEqual(methods, ["HEAD", "HEAD"]);
      assert.match(stdout, /\/seed\.tar\.gz +4\.7 GiB packed +unpacked: known when built +carried packed/);
      assert.match(stdout, /\/no-head +known when built/);
      assert.match(stdout, /not counted above\n.*\/seed\.tar\.gz .*known when it is downloaded/);
      assert.match(stdout, /Nothing was written\.\n$/);
      assert.doesNotMatch(stdout, /secret/);
    } finally {
      server.close();
    }
  });

  it("takes images from a pipe and from files", async () => {
    const at = await home({}, { "more.txt": `${named("team/tool:1")}\n` });
    const pod = (image: string) =>
      `apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - image: ${image}\n---\napiVersion: x.org/v1\nkind: Thing\n`;
    const flags = ["--dry-run", "--images-from", "-", "--images-from", "more.txt"];
    const { stdout, stderr } = succeeded(await bundle(at, flags, pod(named("team/web:1"))));
    assert.match(stdout, /team\/web:1 .*linux\/amd64/);
    assert.match(stdout, /team\/tool:1 .*linux\/amd64/);
    assert.match(stderr, /standard input: not searched for images: Thing \(x\.org\/v1\) on line 7/);
    failed(await bundle(at, flags, ""), 3, /read images from standard input: it names none/);
    failed(await bundle(at, flags, pod("UPPER")), 3, /standard input:5: read reference "UPPER"/);
  });
});

describe("a lock file", () => {
  const manifest = () => ({ images: [named("team/web:1"), named("team/worker:1")] });
  /** Moves a tag upstream for as long as `work` takes. */
  async function whileMoved(work: () => Promise<void>): Promise<void> {
    await pushNamed(registry.host, "team/web:1", later);
    try {
      await work();
    } finally {
      await pushNamed(registry.host, "team/web:1", images["team/web:1"]);
    }
  }

  it("holds what a dry run found; the same lock gives the same bytes, however many downloads run", async () => {
    const at = await home(manifest());
    succeeded(await bundle(at, ["--dry-run", "--lock"]));
    assert.deepEqual((await readdir(at)).sort(), ["plant-7.lock.yaml", "site.yaml"]);
    const text = await readFile(join(at, "plant-7.lock.yaml"), "utf8");
    assert.match(text, /^# Made by/);
    const { created, ...lock } = parse(text);
    assert.ok(Math.abs(Date.parse(created) - Date.now()) < 600_000, created);
    assert.deepEqual(lock, {
      lockVersion: 1,
      images: {
        [named("library/registry:2")]: images["library/registry:2"].digest,
        [named("team/web:1")]: images["team/web:1"].digest,
        [named("team/worker:1")]: images["team/worker:1"].digest,
      },
      referrers: {},
      engine: {},
      seeds: {},
    });
    const build = async (name: string, ...flags: string[]) => {
      succeeded(await bundle(at, ["-o", name, "--unencrypted-key", ...flags]));
      return await readFile(join(at, name));
    };
    const first = await build("lock.tar", "--lock", "--parallel", "3");
    assert.equal(await readFile(join(at, "plant-7.lock.yaml"), "utf8"), text);
    await whileMoved(async () => {
      assert.ok(first.equals(await build("one.tar", "--locked", "--parallel", "1")), "one at a time");
      assert.ok(first.equals(await build("many.tar", "--locked", "--parallel", "16")), "many at once");
      assert.ok(!first.equals(await build("other.tar")), "without the lock it is the new image");
    });
  });

  it("locks a seed from a file by its sha256", async () => {
    const storage = await makeStorage(join(folder, "seed-2"), { "old/app:1": images["team/tool:1"] });
    const seed = await readFile(await packStorage(storage, join(folder, "seed-2.tar")));
    const at = await home({ seeds: [{ file: "seed.tar" }] }, { "seed.tar": seed });
    const { stdout } = succeeded(await bundle(at, ["--lock"]));
    assert.match(stdout, /^Lock file: plant-7\.lock\.yaml$/m);
    const { seeds } = parse(await readFile(join(at, "plant-7.lock.yaml"), "utf8"));
    assert.deepEqual(seeds, { "seed.tar": digestOf(seed).slice(7) });
    await writeFile(join(at, "seed.tar"), Buffer.concat([seed, Buffer.alloc(512)]));
    failed(await bundle(at, ["--locked", "-o", "b.tar"]), 4, /check seed .*seed\.tar": wanted sha256/);
  });

  it("that is missing, short, broken or of another manifest stops the build", async () => {
    const at = await home(manifest());
    const locked = () => bundle(at, ["--locked", "--dry-run"]);
    failed(
      await locked(),
      3,
      /read lock file "plant-7\.lock\.yaml": there is no such file\nMake it with --lock/,
    );
    succeeded(await bundle(at, ["--dry-run", "--lock"]));
    const path = join(at, "plant-7.lock.yaml");
    const text = await readFile(path, "utf8");

    const { stderr } = succeeded(await bundle(at, ["--dry-run", "--locked"]));
    assert.doesNotMatch(stderr, /not in the manifest/);
    await writeFile(path, text.replace("engine: {}", `engine: {gone:1: 'sha256:${"0".repeat(64)}'}`));
    assert.match(succeeded(await locked()).stderr, /not in the manifest any more: gone:1/);

    await writeFile(path, text.replace(/^.*team\/web:1.*\n/m, ""));
    failed(
      await locked(),
      3,
      /plant-7\.lock\.yaml: 127\.0\.0\.1:\d+\/team\/web:1 is not in it\nThe manifest has/,
    );
    await writeFile(path, text.replace("engine: {}", "engine: {}\nmore: 1"));
    failed(await locked(), 3, /plant-7\.lock\.yaml:11: more: unknown key/);
    await writeFile(path, text.replace(/web:1: sha256:..../, "web:1: sha256:"));
    failed(await locked(), 3, /plant-7\.lock\.yaml:7: images\..*team\/web:1: wanted a sha256 digest/);
    failed(await bundle(at, ["--lock", "--locked"]), 2);
  });

  it("holds what refers to an image; a signature more stops the build", async () => {
    const at = await home({ images: [{ reference: named("team/tool:1"), referrers: true }] });
    const cosign = `sha256-${images["team/tool:1"].digest.slice(7)}`;
    const [signature, sbom] = ["a signature", "an SBOM"].map((text) => makeArtifact({ contents: [text] }));
    assert.ok(signature && sbom);
    await pushNamed(registry.host, `team/tool:${cosign}.sig`, signature);
    const { stdout } = succeeded(await bundle(at, ["--dry-run", "--lock"]));
    const shown = new RegExp(`what refers to them\\n.*team/tool:1 +${cosign.slice(0, 19)}…\\.sig$`, "m");
    assert.match(stdout, shown);
    const { referrers } = parse(await readFile(join(at, "plant-7.lock.yaml"), "utf8"));
    assert.deepEqual(referrers, { [named("team/tool:1")]: { [`${cosign}.sig`]: signature.digest } });
    succeeded(await bundle(at, ["--dry-run", "--locked"]));
    await pushNamed(registry.host, `team/tool:${cosign}.sbom`, sbom);
    failed(await bundle(at, ["--locked"]), 7, /team\/tool:1: what refers to it upstream has changed/);
  });

  it("of what upstream no longer has stops the build, and names it", async () => {
    const gone = makeImage({ files: { gone: "soon" } });
    await pushNamed(registry.host, "team/gone:1", gone);
    const at = await home({ images: [`${registry.host}/team/gone:1`] });
    succeeded(await bundle(at, ["--dry-run", "--lock"]));
    const url = `http://${registry.host}/v2/team/gone/manifests/${gone.digest}`;
    assert.equal((await fetch(url, { method: "DELETE" })).status, 202);
    await pushNamed(registry.host, "team/gone:1", later);
    failed(await bundle(at, ["--locked"]), 7, new RegExp(`team/gone:1@${gone.digest}.*no such digest`));
    assert.deepEqual((await readdir(at)).sort(), [
      "plant-7.lock.yaml",
      "plant-7.tar.partial.journal",
      "site.yaml",
    ]);
  });
});
