/** Blobs that break on the way: servers here have the fault that a real registry does not show on demand. */
import assert from "node:assert/strict";
import type { IncomingMessage, ServerResponse } from "node:http";
import { after, test } from "node:test";
import { noCredentials } from "../../src/oci/credentials.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { parseReference } from "../../src/oci/reference.ts";
import { RegistryClient } from "../../src/oci/registry-client.ts";
import { type FaultyServer, startServer } from "./faulty-server.ts";

const bytes = Buffer.from(Array.from({ length: 1_500_000 }, (_, at) => (at * 7 + (at >> 8)) % 251));
const blob = { digest: digestOf(bytes), size: bytes.length };
const part = 300_000;
const stops: (() => Promise<void>)[] = [];
after(async () => {
  for (const stop of stops.reverse()) await stop();
});

interface Asked {
  range: string | undefined;
  ifRange: string | undefined;
}

async function serve(
  answer: (response: ServerResponse, start: number, times: number, request: IncomingMessage) => void,
  retries = { times: 2, milliseconds: 1 },
): Promise<{ server: FaultyServer; asked: Asked[]; client: RegistryClient }> {
  const asked: Asked[] = [];
  const server = await startServer((request, response) => {
    const { range, "if-range": ifRange } = request.headers;
    asked.push({ range, ifRange: ifRange as string | undefined });
    const start = Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1] ?? 0);
    answer(response, start, asked.length, request);
  });
  const client = new RegistryClient({
    credentials: noCredentials,
    plainHttp: new Set([server.host]),
    mirrors: new Map(),
    retries,
  });
  stops.push(server.stop, () => client.close());
  return { server, asked, client };
}

async function read(
  { server, client }: { server: FaultyServer; client: RegistryClient },
  offset = 0,
  options: { lead?: number } = {},
): Promise<Buffer> {
  const source = await client.blob(parseReference(`${server.host}/a`), blob, { offset, ...options });
  return Buffer.concat(await Array.fromAsync(source));
}

const tag = { etag: '"one"' };

/** Through the library, and straight into the buffers that are written. */
const bothWays = [
  { how: "", options: {} },
  { how: ", into buffers", options: { lead: 100 } },
];

/** As a registry answers, from `start` on; with `until`, the connection ends there. */
function give(response: ServerResponse, start: number, until = bytes.length, headers: object = tag): void {
  const range = `bytes ${start}-${bytes.length - 1}/${bytes.length}`;
  response.writeHead(start > 0 ? 206 : 200, {
    "content-length": bytes.length - start,
    ...(start > 0 ? { "content-range": range } : {}),
    ...headers,
  });
  if (until === bytes.length) response.end(bytes.subarray(start));
  else response.write(bytes.subarray(start, until), () => response.destroy());
}

for (const { how, options } of bothWays)
  test(`a connection that breaks more often than there are tries: each goes on at its byte${how}`, async () => {
    const served = await serve((response, start) => {
      give(response, start, Math.min(start + part, bytes.length));
    });
    assert.ok((await read(served, 0, options)).equals(bytes));
    // What was sent into a connection that is destroyed may not all arrive: so at least one for each part.
    assert.ok(served.asked.length >= 5, `${served.asked.length} requests`);
    assert.equal(served.asked[0]?.range, undefined);
    const starts = served.asked.slice(1).map(({ range }) => Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1]));
    assert.deepEqual(
      starts,
      [...new Set(starts)].sort((a, b) => a - b),
      "each begins behind the one before",
    );
    assert.ok(served.asked.slice(1).every(({ ifRange }) => ifRange === '"one"'));
  });

test("a server that takes no ranges gives the whole again; what came before is skipped", async () => {
  const served = await serve((response, _, times) => give(response, 0, times < 3 ? part : bytes.length, {}));
  assert.ok((await read(served)).equals(bytes));
  assert.equal(served.asked.length, 3);
});

for (const { how, options } of bothWays)
  test(`an answer to a range that is not that range is not used${how}`, async () => {
    const wrong: Record<string, (response: ServerResponse) => void> = {
      "another start": (response) =>
        response.writeHead(206, { "content-range": `bytes 0-9/${bytes.length}` }).end("0123456789"),
      "another whole": (response) =>
        response.writeHead(206, { "content-range": "bytes 300000-300009/300010" }).end("0123456789"),
      "another content": (response) => give(response, part, bytes.length, { etag: '"two"' }),
      "no such range": (response) => response.writeHead(416).end(),
      "another length": (response) =>
        response
          .writeHead(206, {
            "content-range": `bytes ${part}-${bytes.length - 1}/${bytes.length}`,
            "content-length": 10,
          })
          .end("0123456789"),
      "no range named": (response) => response.writeHead(206).end("0123456789"),
    };
    for (const [name, answer] of Object.entries(wrong)) {
      const served = await serve((response, start, times) => {
        if (times === 1) give(response, 0, part);
        else if (start > 0) answer(response);
        else give(response, 0);
      });
      assert.ok((await read(served, 0, options)).equals(bytes), name);
      assert.equal(served.asked.at(-1)?.range, undefined, name);
    }
  });

for (const { how, options } of bothWays)
  test(`a part that ends before it said it would: then the whole is asked for${how}`, async () => {
    const wholly = `bytes ${part}-${bytes.length - 1}/${bytes.length}`;
    const endings: Record<string, (response: ServerResponse) => void> = {
      "a clean end": (response) =>
        response.writeHead(206, { "content-range": wholly }).end(bytes.subarray(part, part + 10)),
      "nothing, and a connection that breaks": (response) =>
        response
          .writeHead(206, { "content-range": wholly, "content-length": bytes.length - part })
          .flushHeaders(),
    };
    for (const [name, answer] of Object.entries(endings)) {
      const served = await serve(
        (response, start, times) => {
          if (times === 1) give(response, 0, part);
          else if (start > 0) answer(response);
          else give(response, 0);
          if (start > 0 && !response.writableEnded) setTimeout(() => response.destroy(), 5);
        },
        { times: 4, milliseconds: 1 },
      );
      assert.ok((await read(served, 0, options)).equals(bytes), name);
      assert.ok(served.asked.some(({ range }) => range !== undefined));
      assert.equal(served.asked.at(-1)?.range, undefined, name);
    }
  });

test("a server that gives only parts of a limited size is asked for one after the other", async () => {
  const served = await serve((response, start) => {
    if (start === 0) return give(response, 0, part);
    const end = Math.min(start + part, bytes.length);
    const range = `bytes ${start}-${end - 1}/${bytes.length}`;
    response.writeHead(206, { "content-range": range, "content-length": end - start });
    response.end(bytes.subarray(start, end));
  });
  assert.ok((await read(served)).equals(bytes));
  assert.ok(served.asked.slice(1).every(({ range }) => range !== undefined));
});

test("a connection that breaks after the last byte is no failure", async () => {
  const served = await serve((response) => {
    response.writeHead(200, {});
    response.write(bytes, () => setTimeout(() => response.destroy(), 20));
  });
  assert.ok((await read(served)).equals(bytes));
  assert.equal(served.asked.length, 1);
});

test("a wrong Content-Length and a short answer pass; for ever they don't", async () => {
  const passing = await serve((response, start, times) => {
    if (times === 1) response.writeHead(200, { "content-length": 5 }).end("short");
    else if (times === 2) response.writeHead(200, tag).end(bytes.subarray(0, part));
    else give(response, start);
  });
  assert.ok((await read(passing)).equals(bytes));
  assert.equal(passing.asked.at(-1)?.range, `bytes=${part}-`);

  const wrong = await serve((response) => response.writeHead(200, { "content-length": 5 }).end("short"));
  await assert.rejects(read(wrong), {
    kind: "integrity",
    message: /gave up after 3 tries over 0 s; last: wanted 1500000 bytes, .* announces 5/,
  });
  const short = await serve((response) => response.writeHead(200, {}).end("short"));
  await assert.rejects(read(short), {
    kind: "upstream",
    message: /gave up after 3 tries over 0 s; last: .* broke off: it ends after 5 of 1500000 bytes/,
  });
});

test("more bytes than there should be", async () => {
  const served = await serve((response) =>
    response.writeHead(200, {}).end(Buffer.concat([bytes, Buffer.alloc(10)])),
  );
  await assert.rejects(read(served), { kind: "integrity", message: /announces more/ });
});

for (const { how, options } of bothWays)
  test(`an offset begins in the middle, and at the end nothing is asked${how}`, async () => {
    const served = await serve((response, start) => give(response, start));
    assert.ok((await read(served, 1_000_001, options)).equals(bytes.subarray(1_000_001)));
    assert.deepEqual(served.asked, [{ range: "bytes=1000001-", ifRange: undefined }]);
    assert.equal((await read(served, bytes.length, options)).length, 0);
    assert.equal(served.asked.length, 1);
    const whole = await serve((response) => give(response, 0));
    assert.ok((await read(whole, 1_000_001, options)).equals(bytes.subarray(1_000_001)));
  });

for (const { how, options } of bothWays)
  test(`busy, then refused in the middle: one count of tries for both${how}`, async () => {
    const served = await serve((response, start, times) => {
      if (times === 1) give(response, 0, 1000);
      else response.writeHead(503, { "content-length": `${start}`.length }).end(`${start}`);
    });
    await assert.rejects(read(served, 0, options), {
      kind: "upstream",
      message: /gave up after 3 tries .* answers 503/,
    });
    assert.equal(served.asked.length, 3);
  });
