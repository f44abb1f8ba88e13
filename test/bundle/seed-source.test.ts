import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { createServer, type RequestListener, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { getCACertificates, setDefaultCACertificates } from "node:tls";
import { removeKeptSeeds } from "../../src/archive/kept-seeds.ts";
import type { BlobSink, Content } from "../../src/bundle/content.ts";
import { planSeed, type SeedOptions } from "../../src/bundle/seed-source.ts";
import { DrydockError, type ErrorKind } from "../../src/errors.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { type Reporter, silentReporter } from "../../src/reporter.ts";
import { makeImage, makeLayer } from "../lab/images.ts";
import { run } from "../lab/process.ts";
import { makeStorage, packStorage } from "../lab/seeds.ts";

const image = makeImage({ files: { a: "a" } });
let folder: string;
let spoolFolder: string;
/** the bundle, in spoolFolder, that the seeds are for */
let output: string;
/** its blobs are small, so that packing gains much */
let gz: string;
let plain: string;
let sha256: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-seed-"));
  spoolFolder = join(folder, "spool");
  await mkdir(spoolFolder);
  output = join(spoolFolder, "site.tar");
  const storage = await makeStorage(folder, { "team/app:1": image });
  gz = await packStorage(storage, join(folder, "seed.tar.gz"), { compression: "gzip", prefix: "a/b/" });
  plain = await packStorage(storage, join(folder, "plain.tar"));
  sha256 = await sha256Of(gz);
});
after(() => rm(folder, { recursive: true, force: true }));

async function sha256Of(file: string): Promise<string> {
  return createHash("sha256")
    .update(await readFile(file))
    .digest("hex");
}

/** A URL's sha256 is that of `gz` if it is left out. */
function plan(
  request: { file?: string; url?: string; sha256?: string; keep?: "packed" | "unpacked" },
  options: Partial<SeedOptions> = {},
): Promise<Content> {
  const { file, url, sha256: wanted, keep } = request;
  const all = { output, reporter: silentReporter, ...options };
  if (url !== undefined) return planSeed({ url, sha256: wanted ?? sha256, keep, source: url }, all);
  if (file === undefined) throw new Error("neither file nor url");
  return planSeed({ file, sha256: wanted, keep, source: file }, all);
}

/** Keeps what is written, and checks it as a bundle does. */
class MemorySink implements BlobSink {
  readonly written = new Map<Digest, Buffer>();
  readonly #unwanted: Set<Digest>;

  constructor(...unwanted: Digest[]) {
    this.#unwanted = new Set(unwanted);
  }

  wants(digest: Digest): boolean {
    return !this.written.has(digest) && !this.#unwanted.has(digest);
  }

  begun(): { bytes: number; lead: number } {
    return { bytes: 0, lead: 0 };
  }

  async write(digest: Digest, source: AsyncIterable<Uint8Array>): Promise<void> {
    const parts: Uint8Array[] = [];
    for await (const part of source) parts.push(part);
    const bytes = Buffer.concat(parts);
    assert.equal(digestOf(bytes), digest);
    this.written.set(digest, bytes);
  }
}

async function refused(work: Promise<unknown>, kind: ErrorKind, ...texts: string[]): Promise<DrydockError> {
  const error = await work.then(
    () => assert.fail("it was taken"),
    (error: unknown) => error,
  );
  assert.ok(error instanceof DrydockError, String(error));
  for (const text of texts) assert.ok(error.message.includes(text), `${error.message}: no ${text}`);
  assert.equal(error.kind, kind);
  return error;
}

const everything = [image.digest, ...image.blobs.map(({ digest }) => digest)].sort();

describe("a seed from a file", () => {
  test("unpacked: each blob has a slot and fills it", async () => {
    const content = await plan({ file: gz, sha256, keep: "unpacked" });
    const { repositories } = content;
    const size = (await stat(gz)).size;
    assert.deepEqual(content.seed, { sha256, size, source: "seed.tar.gz", repositories, leftOut: [] });
    assert.deepEqual(content.blobs.map(({ digest }) => digest).sort(), everything);
    assert.ok(content.blobs.every(({ role }) => role === "image"));
    assert.deepEqual(content.repositories["team/app"]?.tags, { "1": image.digest });
    const sink = new MemorySink();
    await content.fill(sink);
    assert.deepEqual([...sink.written.keys()].sort(), everything);
    for (const { digest, size } of content.blobs) assert.equal(sink.written.get(digest)?.length, size);
  });

  test("packed: one blob, the file itself, and the list of what is in it", async () => {
    const content = await plan({ file: gz, keep: "packed" });
    const { size } = await stat(gz);
    assert.deepEqual(content.blobs, [{ digest: `sha256:${sha256}`, size, role: "seed" }]);
    assert.equal(content.seed?.packed?.compression, "gzip");
    assert.deepEqual(content.seed?.packed?.blobs.map(({ digest }) => digest).sort(), everything);
    const sink = new MemorySink();
    await content.fill(sink);
    assert.deepEqual(sink.written.get(`sha256:${sha256}`), await readFile(gz));
  });

  test("only what the sink wants is written", async () => {
    const content = await plan({ file: plain });
    const sink = new MemorySink(image.digest);
    await content.fill(sink);
    assert.ok(!sink.written.has(image.digest));
    assert.equal(sink.written.size, 2);
  });

  test("packed if that makes it smaller by half, otherwise unpacked", async () => {
    const layer = makeLayer([
      { path: "noise", content: Buffer.from(Array.from({ length: 50_000 }, Math.random).join()) },
    ]);
    const dense = await makeStorage(folder, { "dense:1": makeImage({ layers: [layer] }) });
    const denseFile = await packStorage(dense, join(folder, "dense.tar.gz"), { compression: "gzip" });
    assert.equal((await plan({ file: denseFile })).seed?.packed, undefined);
    assert.equal((await plan({ file: plain })).seed?.packed, undefined);

    const loose = { ...makeImage(), blobs: [{ digest: digestOf(layer), bytes: layer }] };
    const manifest = JSON.parse(loose.manifest.toString());
    manifest.layers = [
      { mediaType: "application/vnd.oci.image.layer.v1.tar", digest: digestOf(layer), size: layer.length },
    ];
    const config = makeImage().blobs[0];
    if (config === undefined) throw new Error("an image has a config");
    loose.blobs.push(config);
    loose.manifest = Buffer.from(JSON.stringify(manifest));
    loose.digest = digestOf(loose.manifest);
    const looseStorage = await makeStorage(folder, { "loose:1": loose });
    for (const compression of ["gzip", "zstd"] as const) {
      const file = await packStorage(looseStorage, join(folder, `loose-${compression}`), { compression });
      assert.equal((await plan({ file })).seed?.packed?.compression, compression);
    }
  });

  test("is told by its content, not by its name", async () => {
    const misnamed = join(folder, "misnamed.tar.zst");
    await writeFile(misnamed, await readFile(gz));
    assert.equal((await plan({ file: misnamed, keep: "packed" })).seed?.packed?.compression, "gzip");
  });

  test("with a wrong sha256", async () => {
    const wrong = "f".repeat(64);
    await refused(plan({ file: gz, sha256: wrong }), "integrity", gz, wrong, sha256);
  });

  test("that is not there, or no file", async () => {
    await refused(plan({ file: join(folder, "none.tar") }), "input", "none.tar");
    await refused(plan({ file: folder }), "input", "not a file");
  });

  test("that changes between scan and fill", async () => {
    for (const keep of ["packed", "unpacked"] as const) {
      const file = join(folder, `changing-${keep}.tar`);
      await writeFile(file, await readFile(plain));
      const content = await plan({ file, keep });
      await utimes(file, new Date(), new Date(Date.now() + 5000));
      await refused(content.fill(new MemorySink()), "input", "has changed");
    }
  });
});

describe("a seed from a URL", () => {
  const servers: Server[] = [];
  after(async () => {
    for (const server of servers) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  });

  async function listen(server: Server): Promise<string> {
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return `127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  const serve = async (listener: RequestListener) => `http://${await listen(createServer(listener))}`;
  const spooled = () => readdir(spoolFolder);
  afterEach(() => removeKeptSeeds(output));

  test("is saved once beside the bundle, for the owner alone, until it is removed", async () => {
    const bytes = await readFile(gz);
    let requests = 0;
    const base = await serve((_, response) => {
      requests++;
      response.end(bytes);
    });
    const content = await plan({
      url: `${base}/seeds/2017.tar.gz?token=secret#part`,
      sha256,
      keep: "unpacked",
    });
    const [file = "", ...more] = await spooled();
    assert.equal(more.length, 0);
    assert.equal(file, `site.tar.seed-${sha256.slice(0, 16)}.partial`);
    assert.equal((await stat(join(spoolFolder, file))).mode & 0o777, 0o600);
    const sink = new MemorySink();
    await content.fill(sink);
    assert.deepEqual([...sink.written.keys()].sort(), everything);
    assert.equal(requests, 1);
    assert.equal(content.seed?.source, `${base}/seeds/2017.tar.gz`);
    assert.ok(!JSON.stringify({ ...content }).includes("secret"));
    await writeFile(`${output}.seed-note`, "not ours");
    await removeKeptSeeds(output);
    assert.deepEqual(await spooled(), ["site.tar.seed-note"]);
    await rm(`${output}.seed-note`);
  });

  test("that is larger than the room beside the bundle is refused before it is downloaded", async () => {
    const base = await serve((_, response) => {
      response.writeHead(200, { "content-length": 1e15 }).flushHeaders();
    });
    const told = [`${base}/huge.tar`, "needs 1,000,000,000,000,000 bytes more", spoolFolder];
    await refused(plan({ url: `${base}/huge.tar` }), "preflight", ...told);
  });

  test("tells the step its size and its bytes, and no secret", async () => {
    const bytes = await readFile(gz);
    const base = await serve((_, response) => response.setHeader("content-length", bytes.length).end(bytes));
    const said: string[] = [];
    let total = 0;
    let advanced = 0;
    const reporter: Reporter = {
      step: (title) => {
        said.push(title);
        return {
          ...silentReporter.step(title),
          total: (size) => {
            total = size;
          },
          advance: (size) => {
            advanced += size;
          },
          detail: (text) => said.push(text),
          done: (summary) => said.push(summary ?? ""),
        };
      },
      note: (text) => said.push(text),
      warn: (text) => said.push(text),
      whenInterrupted() {},
    };
    await plan({ url: `${base}/x?token=secret` }, { reporter });
    assert.deepEqual([total, advanced], [bytes.length, bytes.length]);
    assert.ok(!said.join().includes("secret"), said.join());
  });

  test("that is not there, or not for us", async () => {
    const base = await serve((_, response) => response.writeHead(404).end("no"));
    const error = await refused(plan({ url: `${base}/x?token=secret` }), "upstream", "404", `${base}/x`);
    assert.ok(!`${error.message} ${error.hint}`.includes("secret"));
    const closed = await serve((_, response) => response.writeHead(401).end());
    await refused(plan({ url: `${closed}/x` }), "upstream", "401");
  });

  test("whose connection closes in the middle", async () => {
    const bytes = await readFile(plain);
    const base = await serve((_, response) => {
      response.setHeader("content-length", bytes.length);
      response.write(bytes.subarray(0, 2000), () => response.destroy());
    });
    await refused(
      plan({ url: `${base}/x?token=secret`, sha256: "0".repeat(64) }),
      "upstream",
      "broke off",
      `${base}/x`,
    );
    assert.deepEqual(await spooled(), ["site.tar.seed-0000000000000000.partial"]);
  });

  test("that nobody serves", async () => {
    const server = createServer();
    const host = await listen(server);
    await new Promise((resolve) => server.close(resolve));
    await refused(plan({ url: `http://${host}/x?token=secret` }), "upstream", host);
  });

  test("with a wrong sha256: nothing stays", async () => {
    const base = await serve((_, response) => response.end("<html>log in</html>".repeat(1000)));
    await refused(plan({ url: `${base}/x`, sha256 }), "integrity", sha256);
    assert.deepEqual(await spooled(), []);
  });

  test("that redirects, and redirects for ever", async () => {
    const bytes = await readFile(gz);
    const base = await serve((request, response) => {
      const next = { "/a": "/b", "/b": "/file", "/loop": "/loop" }[request.url ?? ""];
      if (next === undefined) response.end(bytes);
      else response.writeHead(302, { location: next }).end();
    });
    await plan({ url: `${base}/a`, sha256 });
    await removeKeptSeeds(output);
    await refused(plan({ url: `${base}/loop` }), "upstream", "redirects more than 5 times");
  });

  describe("that an earlier try began", () => {
    const keptFile = () => `${output}.seed-${sha256.slice(0, 16)}.partial`;
    /** Serves `gz`; with ranges as a good server does. */
    async function serveGz(ranges: boolean) {
      const bytes = await readFile(gz);
      const asked: (string | undefined)[] = [];
      let sent = 0;
      const base = await serve((request, response) => {
        const { range } = request.headers;
        asked.push(range);
        const start = Number(/^bytes=(\d+)-$/.exec(ranges ? (range ?? "") : "")?.[1] ?? 0);
        if (start >= bytes.length) {
          response.writeHead(416, { "content-range": `bytes */${bytes.length}` }).end();
          return;
        }
        const part = { "content-range": `bytes ${start}-${bytes.length - 1}/${bytes.length}` };
        response.writeHead(start > 0 ? 206 : 200, {
          "content-length": bytes.length - start,
          ...(start > 0 ? part : {}),
        });
        sent += bytes.length - start;
        response.end(bytes.subarray(start));
      });
      return { bytes, asked, sent: () => sent, url: `${base}/seed.tar.gz` };
    }
    const filled = async (content: Content) => {
      const sink = new MemorySink();
      await content.fill(sink);
      return [...sink.written.keys()].sort();
    };

    test("goes on with Range where it ended", async () => {
      const { bytes, asked, sent, url } = await serveGz(true);
      await writeFile(keptFile(), bytes.subarray(0, 300));
      const content = await plan({ url, keep: "unpacked" });
      assert.deepEqual(asked, ["bytes=300-"]);
      assert.equal(sent(), bytes.length - 300);
      assert.deepEqual(await readFile(keptFile()), bytes);
      assert.deepEqual(await filled(content), everything);
    });

    test("begins again where the server takes no ranges", async () => {
      const { bytes, asked, url } = await serveGz(false);
      await writeFile(keptFile(), bytes.subarray(0, 300));
      const content = await plan({ url, keep: "unpacked" });
      assert.deepEqual(asked, ["bytes=300-"]);
      assert.deepEqual(await filled(content), everything);
    });

    test("nobody is asked if all of it is there", async () => {
      const { bytes, asked, url } = await serveGz(true);
      await writeFile(keptFile(), bytes);
      assert.deepEqual(await filled(await plan({ url, keep: "unpacked" })), everything);
      assert.deepEqual(asked, []);
    });

    const wrong: Record<string, (bytes: Buffer) => Buffer> = {
      "other bytes at its beginning": (bytes) =>
        Buffer.concat([Buffer.alloc(100, "x"), bytes.subarray(100, 300)]),
      "one other bit in the middle": (bytes) => {
        const other = Buffer.from(bytes.subarray(0, 300));
        other.writeUInt8(other.readUInt8(200) ^ 1, 200);
        return other;
      },
      "as many bytes, but others": (bytes) => Buffer.alloc(bytes.length, "x"),
      "more bytes than it has": (bytes) => Buffer.concat([bytes, Buffer.alloc(100)]),
    };
    for (const ranges of [true, false]) {
      for (const [what, make] of Object.entries(wrong)) {
        test(`${what}: thrown away, and fetched anew once; ranges: ${ranges}`, async () => {
          const { bytes, asked, url } = await serveGz(ranges);
          await writeFile(keptFile(), make(bytes));
          const warnings: string[] = [];
          const reporter = { ...silentReporter, warn: (text: string) => warnings.push(text) };
          const content = await plan({ url, keep: "unpacked" }, { reporter });
          assert.deepEqual(await filled(content), everything);
          assert.deepEqual(await readFile(keptFile()), bytes);
          assert.equal(asked.at(-1), undefined);
          assert.match(warnings.join(), /downloaded anew/);
        });
      }
    }

    test("that turns out wrong twice: an error, and nothing stays", async () => {
      const { bytes, asked, url } = await serveGz(true);
      const other = "1".repeat(64);
      const file = `${output}.seed-${other.slice(0, 16)}.partial`;
      await writeFile(file, bytes.subarray(0, 300));
      await refused(plan({ url, sha256: other }), "integrity", other, sha256);
      assert.deepEqual(asked, ["bytes=300-", undefined]);
      assert.deepEqual(await spooled(), []);
    });
  });

  test("that is no URL, or would send a password in plain: refused without quoting it", async () => {
    for (const url of ["ftp://user:secret@host/x", "secret", "http://user:secret@127.0.0.1:1/x?secret"]) {
      const error = await refused(plan({ url }), "input");
      assert.ok(!`${error.message} ${error.hint}`.includes("secret"), error.message);
    }
  });

  test("over TLS with a password: for that server alone, and never on without TLS", async () => {
    const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
    const names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"];
    const ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    await run("openssl", ["req", "-x509", ...ec, "-keyout", key, "-out", cert, "-days", "2", ...names]);
    const pair = { key: await readFile(key), cert: await readFile(cert) };
    const usual = getCACertificates("default");
    setDefaultCACertificates([...usual, pair.cert.toString()]);
    try {
      const bytes = await readFile(gz);
      const seen: (string | undefined)[] = [];
      const other = await listen(
        createTlsServer(pair, (request, response) => {
          seen.push(request.headers.authorization);
          response.end(bytes);
        }),
      );
      const first = await listen(
        createTlsServer(pair, (request, response) => {
          seen.push(request.headers.authorization);
          const to = request.url === "/plain" ? "http://127.0.0.1:1/" : `https://${other}/file`;
          response.writeHead(307, { location: to }).end();
        }),
      );
      const content = await plan({ url: `https://user:p%40ss@${first}/file?q=secret`, sha256 });
      await removeKeptSeeds(output);
      assert.deepEqual(seen, [`Basic ${Buffer.from("user:p@ss").toString("base64")}`, undefined]);
      assert.equal(content.seed?.source, `https://${first}/file`);
      const error = await refused(
        plan({ url: `https://user:p%40ss@${first}/plain` }),
        "upstream",
        "redirects to http:",
      );
      assert.ok(!error.message.includes("p%40ss"));
    } finally {
      setDefaultCACertificates(usual);
    }
  });
});
