/**
 * A build over a bad line, killed, continued, interrupted: in the end the bytes are those of a build that
 * nothing disturbed, and what was fetched once is not fetched again. With the built command.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { copyFile, mkdir, open, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { stringify } from "yaml";
import {
  type JournalEntry,
  journalOf,
  readBeginning,
  readJournal,
  readReadings,
} from "../../src/archive/journal.ts";
import {
  type FaultyProxy,
  type LineFault,
  randomFaults,
  randomFrom,
  startFaultyProxy,
} from "../lab/faulty-proxy.ts";
import { hostPlatform } from "../lab/host-files.ts";
import { makeArtifact, makeImage, type TestImage } from "../lab/images.ts";
import type { RunResult } from "../lab/process.ts";
import { startRegistry, type TestRegistry } from "../lab/registry.ts";
import { makeSeed } from "../lab/seed.ts";
import { pushNamed } from "../lab/upstream.ts";
import { makeFolder } from "./connected.ts";
import { built, drydock, drydockWords } from "./drydock.ts";

const KiB = 1024;
const MiB = 1024 * KiB;
/** The registry's name in the manifests; a proxy is its mirror, so that each test can have its own. */
const upstream = "registry.lab.example";
/** Ten "images" of twenty blobs: 200 of 20 KiB to 1 MiB, and two of 12 MiB; 63 MB together. */
const sizes = Array.from({ length: 20 }, (_, at) => (at === 19 ? MiB : (at % 10) * 30 * KiB + 20 * KiB));
const images = Array.from({ length: 10 }, (_, number) => {
  const contents = sizes.map((size, at) => randomBytes(at === 0 && number < 2 ? 12 * MiB : size));
  return [`team/image-${number}:1`, makeArtifact({ contents })] as const;
});
const added = makeArtifact({ contents: [randomBytes(3 * MiB), randomBytes(70 * KiB)] });
const none = makeImage({ platform: hostPlatform, files: { "registry.txt": "no registry\n" } });
const seed = Number(process.env.LINE_SEED ?? Date.now() % 1_000_000);

let folder: string;
let registry: TestRegistry;
/** the undisturbed build's file, and its sha256 */
let plain: string;
let plainHash: string;
/** the same of three of the images, for what needs no two hundred blobs */
let few: string;
let fewHash: string;
const fewNames = [0, 1, 5].map((number) => `team/image-${number}:1`);
const ends: (() => Promise<unknown> | unknown)[] = [];

before(async () => {
  const made = await makeFolder("line");
  folder = made.path;
  ends.push(made.remove);
  registry = await startRegistry({ folder });
  ends.push(registry.stop);
  const all: (readonly [string, TestImage])[] = [
    ...images,
    ["team/added:1", added],
    ["library/registry:2", none],
  ];
  await Promise.all(all.map(([name, image]) => pushNamed(registry.host, name, image)));
  await manifest(
    "site",
    images.map(([name]) => name),
  );
  await built();
  const line = await startLine();
  plain = join(folder, "plain.tar");
  succeeded(await build(line, "site", plain, ["--lock"]));
  plainHash = await hashOf(plain);
  await manifest("few", fewNames);
  few = join(folder, "few.tar");
  succeeded(await build(line, "few", few, ["--locked"]));
  fewHash = await hashOf(few);
});
after(async () => {
  for (const end of ends.reverse()) await end();
});

/** Writes FOLDER/FILE.yaml. The bundle's name is the same in all, and with it the keys. */
async function manifest(file: string, names: readonly string[], more: object = {}): Promise<void> {
  const text = {
    name: "plant-7",
    addresses: ["registry.site.lan"],
    platforms: [hostPlatform],
    registry: { image: `${upstream}/library/registry:2` },
    images: names.map((name) => `${upstream}/${name}`),
    ...more,
  };
  await writeFile(join(folder, `${file}.yaml`), stringify(text));
}

async function startLine(bytesPerSecond?: number): Promise<FaultyProxy> {
  const line = await startFaultyProxy(registry.host);
  line.bytesPerSecond = bytesPerSecond;
  ends.push(line.stop);
  return line;
}

function argsOf(line: FaultyProxy, file: string, output: string, flags: readonly string[]): string[] {
  const way = ["--mirror", `${upstream}=${line.host}`, "--plain-http", line.host];
  return ["bundle", `${file}.yaml`, "-o", output, "--unencrypted-key", ...way, ...flags];
}

const steady: NodeJS.ProcessEnv = { SOURCE_DATE_EPOCH: "1750000000" };

/** Nothing of whoever runs the tests: neither keys nor credentials. */
function environment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return { ...process.env, HOME: folder, XDG_DATA_HOME: join(folder, "data"), DOCKER_CONFIG: folder, ...env };
}

async function build(
  line: FaultyProxy,
  file: string,
  output: string,
  flags: readonly string[] = [],
  env = steady,
): Promise<RunResult> {
  return await drydock(argsOf(line, file, output, flags), { cwd: folder, env: environment(env) });
}

interface Running {
  child: ChildProcess;
  ended: Promise<{ code: number | null; stderr: string }>;
}

/** The same, to be killed. */
function begin(
  line: FaultyProxy,
  file: string,
  output: string,
  flags: readonly string[] = [],
  env = steady,
): Running {
  const [program = "", ...launcher] = drydockWords;
  const child = spawn(program, [...launcher, ...argsOf(line, file, output, flags)], {
    cwd: folder,
    env: environment(env),
    stdio: ["ignore", "ignore", "pipe"],
  });
  let stderr = "";
  child.stderr?.on("data", (chunk: Buffer) => {
    stderr += chunk;
  });
  ends.push(() => child.kill("SIGKILL"));
  const ended = once(child, "close").then(([code]: (number | null)[]) => ({ code: code ?? null, stderr }));
  return { child, ended };
}

function succeeded({ code, stdout, stderr }: RunResult): void {
  assert.equal(code, 0, `${stdout}${stderr}`);
}

async function hashOf(path: string): Promise<string> {
  return createHash("sha256")
    .update(await readFile(path))
    .digest("hex");
}

async function entriesOf(output: string): Promise<JournalEntry[]> {
  return [...((await readJournal(journalOf(output)))?.entries.values() ?? [])];
}

/** The blobs that the journal calls finished. */
async function finishedIn(output: string): Promise<Set<string>> {
  return new Set(
    (await entriesOf(output)).filter(({ have, size }) => have === size).map(({ digest }) => digest),
  );
}

/** The blobs that were asked for. */
function blobsAsked({ asked }: FaultyProxy): string[] {
  return asked.flatMap(({ digest }) => digest ?? []);
}

function forget(line: FaultyProxy): void {
  line.asked.length = 0;
  line.sent.clear();
}

/** Kills a build as soon as `when` holds of its journal. */
async function killWhen(
  running: Running,
  output: string,
  when: (entries: JournalEntry[]) => boolean,
): Promise<void> {
  const late = AbortSignal.timeout(60_000);
  while (!when(await entriesOf(output))) {
    assert.equal(running.child.exitCode, null, "the build ended before");
    late.throwIfAborted();
    await sleep(10);
  }
  running.child.kill("SIGKILL");
  await running.ended;
}

const someAreFinished = (entries: JournalEntry[]) =>
  entries.filter(({ have, size }) => have === size).length > 20;

// Two at a time: most of each is waiting.
describe("a bad line", { concurrency: 2 }, () => {
  it("with all faults together: the bytes are right in the end", async (t) => {
    t.diagnostic(`LINE_SEED=${seed}`);
    const line = await startLine(60 * MiB);
    line.plan = randomFaults(seed, 0.2);
    const output = join(folder, "faulty.tar");
    succeeded(await build(line, "site", output, ["--locked"]));
    const kinds: LineFault["kind"][] = ["cut", "delay", "status", "wrong bytes", "short", "wrong length"];
    for (const kind of kinds)
      assert.ok(
        line.asked.some(({ fault }) => fault === kind),
        `no fault ${kind}`,
      );
    for (const status of [206, 429, 500, 503]) {
      assert.ok(
        line.asked.some((asked) => asked.status === status),
        `no answer ${status}`,
      );
    }
    succeeded(await drydock(["verify", output]));
    assert.equal(await hashOf(output), plainHash);
  });

  it("that dies at fifty moments: one more run gives the same bytes, no finished blob comes twice", async (t) => {
    t.diagnostic(`LINE_SEED=${seed}`);
    const random = randomFrom(seed);
    const kills = await Promise.all(
      Array.from({ length: 5 }, (_, chain) => killAgainAndAgain(chain, 10, random)),
    );
    assert.equal(
      kills.reduce((sum, count) => sum + count, 0),
      50,
    );
  });

  it("a blob that was half there goes on, and the bundle has the time of the first try", async () => {
    const line = await startLine(10 * MiB);
    const output = join(folder, "half.tar");
    const first = begin(line, "few", output, ["--locked"], {});
    await killWhen(first, output, (entries) => entries.some(({ have, size }) => have > 0 && have < size));
    const created = (await readJournal(journalOf(output)))?.created ?? "";
    const half = (await entriesOf(output)).filter(({ have, size }) => have > 0 && have < size);
    await sleep(1100);
    forget(line);
    line.bytesPerSecond = undefined;
    const second = await build(line, "few", output, ["--locked"], {});
    succeeded(second);
    assert.match(second.stderr, /going on with the try of .*: [\d,]+ bytes are there/);
    for (const { digest, have, size } of half) {
      const asked = line.asked.filter((one) => one.digest === digest);
      assert.deepEqual(
        asked.map(({ range, status }) => ({ range, status })),
        [{ range: `bytes=${have}-`, status: 206 }],
      );
      assert.deepEqual(line.sent.get(digest), [{ from: have, to: size }]);
    }
    const { stdout } = await drydock(["inspect", output, "--json"]);
    const said = /"created": ?"([^"]+)"/.exec(stdout)?.[1];
    assert.equal(said, created.replace(".000Z", "Z"));
    assert.notEqual(said, new Date().toISOString().slice(0, 19).concat("Z"));
  });

  it("killed before anything was written, the next one still has the time of the first try", async () => {
    const line = await startLine();
    const output = join(folder, "early.tar");
    line.plan = () => ({ kind: "delay", milliseconds: 60_000 });
    const first = begin(line, "few", output, [], {});
    const begun = `${output}.partial.journal`;
    while ((await readBeginning(begun)) === undefined) await sleep(20);
    first.child.kill("SIGKILL");
    await first.ended;
    assert.deepEqual(await namesLike("early.tar"), ["early.tar.partial.journal"]);
    const created = await readBeginning(begun);
    await sleep(1100);
    line.plan = undefined;
    const second = await build(line, "few", output, [], {});
    succeeded(second);
    assert.match(second.stderr, /going on with the try of .*: nothing of it is there yet/);
    const { stdout } = await drydock(["inspect", output, "--json"]);
    assert.equal(/"created": ?"([^"]+)"/.exec(stdout)?.[1], created);
    assert.deepEqual(await namesLike("early.tar"), ["early.tar"]);
  });

  it("killed while it planned: no image manifest is pulled twice", async () => {
    const line = await startLine();
    const output = join(folder, "planning.tar");
    const pulled = () =>
      line.asked.flatMap(({ method, path }) =>
        method === "GET" && /\/manifests\//.test(path) ? [path] : [],
      );
    line.plan = ({ path }) =>
      path.includes("/image-5/") ? { kind: "delay", milliseconds: 60_000 } : undefined;
    const first = begin(line, "few", output);
    while ((await readReadings(journalOf(output))).size < 4) await sleep(20);
    first.child.kill("SIGKILL");
    await first.ended;
    assert.equal(pulled().length, 4);
    forget(line);
    line.plan = undefined;
    succeeded(await build(line, "few", output));
    assert.deepEqual(
      pulled().map((path) => path.split("/")[3]),
      ["image-5"],
    );
    assert.equal(await hashOf(output), fewHash);
    assert.deepEqual(await namesLike("planning.tar"), ["planning.tar"]);
  });

  it("a manifest that has changed: what still fits is kept", async () => {
    await manifest("changed", [...fewNames.slice(1), "team/added:1"]);
    const fresh = join(folder, "fresh.tar");
    const line = await startLine();
    succeeded(await build(line, "changed", fresh));
    const output = join(folder, "changed.tar");
    line.bytesPerSecond = 20 * MiB;
    await killWhen(begin(line, "few", output), output, someAreFinished);
    const finished = await finishedIn(output);
    line.bytesPerSecond = undefined;
    forget(line);
    succeeded(await build(line, "changed", output));
    assert.deepEqual(
      blobsAsked(line).filter((digest) => finished.has(digest)),
      [],
    );
    assert.ok(blobsAsked(line).length > 0);
    assert.equal(await hashOf(output), await hashOf(fresh));
    assert.deepEqual(await namesLike("changed.tar"), ["changed.tar"]);
  });

  it("with --restart everything is fetched anew", async () => {
    const line = await startLine(20 * MiB);
    const output = join(folder, "restart.tar");
    await killWhen(begin(line, "few", output), output, someAreFinished);
    const finished = await finishedIn(output);
    line.bytesPerSecond = undefined;
    forget(line);
    succeeded(await build(line, "few", output, ["--restart"]));
    const asked = new Set(blobsAsked(line));
    const manifests = new Set(images.map(([, { digest }]) => digest as string).concat(none.digest));
    const notAsked = [...finished].filter((digest) => !asked.has(digest) && !manifests.has(digest));
    // CA, server's certificate and key come from this machine.
    assert.equal(notAsked.length, 3);
    assert.equal(await hashOf(output), fewHash);
    assert.deepEqual(await namesLike("restart.tar"), ["restart.tar"]);
  });

  it("Ctrl-C ends a build in its middle, and says what is kept and how to go on", async () => {
    const line = await startLine(10 * MiB);
    const output = join(folder, "interrupted.tar");
    const running = begin(line, "few", output, ["--locked"]);
    while (!(await entriesOf(output)).some(({ have }) => have > 0)) await sleep(20);
    running.child.kill("SIGINT");
    const { code, stderr } = await running.ended;
    assert.equal(code, 130, stderr);
    const kept =
      /^Interrupted: [\d,]+ bytes are kept in "interrupted\.tar\.partial"; run the same command to\s+continue/m;
    assert.match(stderr, kept);
    assert.deepEqual(await namesLike("interrupted.tar"), [
      "interrupted.tar.partial",
      "interrupted.tar.partial.journal",
    ]);
    line.bytesPerSecond = undefined;
    succeeded(await build(line, "few", output, ["--locked"]));
    assert.equal(await hashOf(output), fewHash);
  });

  it("Ctrl-C before anything was fetched says so", async () => {
    const line = await startLine();
    line.plan = () => ({ kind: "delay", milliseconds: 60_000 });
    const running = begin(line, "few", join(folder, "nothing.tar"));
    while (line.asked.length === 0) await sleep(20);
    running.child.kill("SIGINT");
    const { code, stderr } = await running.ended;
    assert.equal(code, 130, stderr);
    assert.match(stderr, /^Interrupted: Nothing was fetched yet; the same command begins again\.$/m);
  });

  it("a second build of the same output is refused while the first one runs", async () => {
    const line = await startLine(10 * MiB);
    const output = join(folder, "both.tar");
    const first = begin(line, "few", output, ["--locked"]);
    await line.nextBlob();
    const second = await build(line, "few", output, ["--locked", "--restart"]);
    assert.equal(second.code, 6, second.stderr);
    const other = `another drydock \\(process ${first.child.pid}\\) is working there`;
    assert.match(second.stderr, new RegExp(`lock output ".*both.tar": ${other}`));
    line.bytesPerSecond = undefined;
    const { code, stderr } = await first.ended;
    assert.equal(code, 0, stderr);
    assert.equal(await hashOf(output), fewHash);
  });
});

/** Lets builds of one output after the other be killed. @returns how often */
async function killAgainAndAgain(chain: number, times: number, random: () => number): Promise<number> {
  const line = await startLine(12 * MiB);
  let kills = 0;
  for (let number = 0; ; ) {
    const output = join(folder, `chain-${chain}-${number}.tar`);
    const finished = await finishedIn(output);
    forget(line);
    const last = kills === times;
    if (last) line.bytesPerSecond = undefined;
    const began = line.nextBlob();
    const running = begin(line, "few", output, ["--locked"]);
    if (!last) {
      await Promise.race([began, running.ended]);
      await Promise.race([sleep(200 + random() * 1800), running.ended]);
      if (running.child.kill("SIGKILL") && (await running.ended).code === null) kills += 1;
    }
    const { code, stderr } = await running.ended;
    assert.deepEqual(
      blobsAsked(line).filter((digest) => finished.has(digest)),
      [],
      "finished blobs came again",
    );
    // One that was killed after its last rename is as complete as one that ended.
    if (code === null && !existsSync(output)) continue;
    assert.ok(code === null || code === 0, stderr);
    assert.equal(await hashOf(output), fewHash);
    await rm(output);
    if (last) return kills;
    number += 1;
  }
}

async function namesLike(name: string): Promise<string[]> {
  return (await readdir(folder)).filter((one) => one.startsWith(name)).sort();
}

describe("earlier bundles", () => {
  let line: FaultyProxy;
  let whole: string;
  const fresh = added.blobs.filter(({ bytes }) => bytes.length > 2).map(({ digest }) => digest as string);
  before(async () => {
    await manifest("more", [...images.map(([name]) => name), "team/added:1"]);
    line = await startLine();
    const output = join(folder, "more.tar");
    succeeded(await build(line, "more", output));
    whole = await hashOf(output);
    await rm(output);
  });

  it("with --reuse only what is new is fetched", async () => {
    forget(line);
    const output = join(folder, "reused.tar");
    succeeded(await build(line, "more", output, ["--reuse", plain]));
    assert.deepEqual(blobsAsked(line).sort(), [...fresh].sort());
    const pulled = line.asked.filter(({ method, path }) => method === "GET" && path.includes("/manifests/"));
    assert.deepEqual(
      pulled.map(({ path }) => path.split("/")[3]),
      ["added"],
    );
    assert.equal(await hashOf(output), whole);
    await rm(output);
  });

  it("one that is damaged: what is damaged there is fetched, with a warning", async () => {
    const old = join(folder, "damaged-old.tar");
    const [blob] = images[0]?.[1].blobs.slice(1) ?? [];
    assert.ok(blob);
    await copyFile(plain, old);
    await flip(old, (await readFile(plain)).indexOf(blob.bytes) + 5000);
    forget(line);
    const output = join(folder, "reused-damaged.tar");
    const result = await build(line, "more", output, ["--reuse", old]);
    succeeded(result);
    assert.match(
      result.stderr,
      new RegExp(`Warning: .*damaged-old.tar: blob ${blob.digest} .*fetched again`),
    );
    assert.deepEqual(blobsAsked(line).sort(), [...fresh, blob.digest].sort());
    assert.equal(await hashOf(output), whole);
    for (const path of [output, old]) await rm(path);
  });

  for (const keep of ["packed", "unpacked"] as const) {
    it(`a seed from a URL that one holds ${keep} is not downloaded`, async () => {
      const made = await makeSeed(join(folder, `${keep}.tar.gz`), {
        images: {
          "legacy/app:2017": makeImage({ docker: true, files: { a: "a".repeat(9000) } }),
          "legacy/data:1": makeImage({ files: { b: randomBytes(200_000).toString("latin1") } }),
        },
      });
      let downloads = 0;
      const bytes = await readFile(made.file);
      const server = createServer((_, response) => {
        downloads += 1;
        response.writeHead(200, { "content-length": bytes.length }).end(bytes);
      }).listen(0, "127.0.0.1");
      await once(server, "listening");
      ends.push(() => server.close());
      const address = server.address();
      assert.ok(address !== null && typeof address !== "string");
      const seeds = [{ url: `http://127.0.0.1:${address.port}/old.tar.gz`, sha256: made.sha256, keep }];
      await manifest(`${keep}-old`, [], { seeds });
      await manifest(`${keep}-new`, ["team/added:1"], { seeds });
      const [old = "", expected = "", output = ""] = ["old", "expected", "new"].map((name) =>
        join(folder, `${keep}-${name}.tar`),
      );
      succeeded(await build(line, `${keep}-old`, old));
      succeeded(await build(line, `${keep}-new`, expected));
      assert.equal(downloads, 2);
      forget(line);
      succeeded(await build(line, `${keep}-new`, output, ["--reuse", old]));
      assert.equal(downloads, 2);
      assert.deepEqual(
        blobsAsked(line)
          .filter((digest) => digest !== added.blobs[0]?.digest)
          .sort(),
        [...fresh].sort(),
      );
      assert.equal(await hashOf(output), await hashOf(expected));
    });
  }
});

/** Changes one byte of a file. */
async function flip(path: string, at: number): Promise<void> {
  const file = await open(path, "r+");
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, at);
  await file.write(Buffer.from([byte.readUInt8(0) ^ 1]), 0, 1, at);
  await file.close();
}

describe("a bundle in parts", () => {
  let parts: string;
  let name: string;
  let names: string[];
  before(async () => {
    parts = join(folder, "parts");
    await mkdir(parts);
    name = join(parts, "site.tar");
    const line = await startLine();
    const made = await build(line, "few", name, ["--locked", "--split", "8M"]);
    succeeded(made);
    assert.match(made.stderr, /^. read the parts for their list/m);
    names = (await readdir(parts)).filter((one) => /\.\d{3}$/.test(one)).sort();
  });

  it("is the bundle when joined, and is read where it lies", async () => {
    assert.deepEqual(await readdir(parts).then((all) => all.sort()), [...names, "site.tar.parts.json"]);
    assert.ok(names.length >= 4);
    const joined = createHash("sha256");
    for (const one of names) joined.update(await readFile(join(parts, one)));
    assert.equal(joined.digest("hex"), fewHash);
    const [whole, set] = await Promise.all([
      drydock(["inspect", few, "--json"]),
      drydock(["inspect", `${name}.002`, "--json"]),
    ]);
    succeeded(set);
    assert.equal(
      /"digest": ?"[0-9a-f]{64}"/.exec(set.stdout)?.[0],
      /"digest": ?"[0-9a-f]{64}"/.exec(whole.stdout)?.[0],
    );
    succeeded(await drydock(["verify", name]));
  });

  const second = () => join(parts, "site.tar.002");
  const third = () => join(parts, "site.tar.003");
  const damages: { what: string; damage: (bytes: Buffer) => Promise<unknown>; says: RegExp[] }[] = [
    {
      what: "missing",
      damage: () => rm(second()),
      says: [/open part ".*site\.tar\.002": there is no such file/],
    },
    {
      what: "short",
      damage: (bytes) => writeFile(second(), bytes.subarray(0, -700)),
      says: [/open part ".*site\.tar\.002": it has \d+ bytes, wanted 8388608/],
    },
    {
      what: "damaged",
      damage: () => flip(second(), 5_000_000),
      says: [/in part "site\.tar\.002": bytes \d+ to \d+/, /Copy "site\.tar\.002" again/],
    },
    {
      what: "swapped",
      damage: async () => {
        await copyFile(third(), second());
        await copyFile(join(parts, "kept"), third());
      },
      says: [
        /"site\.tar\.002" holds what "site\.tar\.003" should hold/,
        /"site\.tar\.003" holds what "site\.tar\.002" should hold/,
        /Give "site.tar.002" and "site.tar.003" their right names/,
      ],
    },
  ];
  for (const { what, damage, says } of damages) {
    it(`a part that is ${what} is named`, async () => {
      await copyFile(second(), join(parts, "kept"));
      await copyFile(third(), join(parts, "kept-too"));
      try {
        await damage(await readFile(second()));
        const { code, stderr } = await drydock(["verify", name]);
        assert.equal(code, 4, stderr);
        for (const one of says) assert.match(stderr, one);
      } finally {
        await copyFile(join(parts, "kept"), second());
        await copyFile(join(parts, "kept-too"), third());
      }
    });
  }
});
