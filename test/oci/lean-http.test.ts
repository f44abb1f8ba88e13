/** Large bodies straight into buffers; servers here answer as a real registry does not on demand. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createSecureContext, createServer as createTlsServer } from "node:tls";
import { directUnit, isAligned } from "../../src/direct.ts";
import { giveBack, lentSize } from "../../src/lent-buffers.ts";
import type { LeanAnswer } from "../../src/oci/lean-connection.ts";
import { LeanHttp } from "../../src/oci/lean-http.ts";
import { makeCertificates } from "../trust/tls-server.ts";

const folder = await mkdtemp(join(tmpdir(), "drydock-lean-"));
const bytes = Buffer.from(Array.from({ length: 3_500_000 }, (_, at) => (at * 7 + (at >> 8)) % 251));
const stops: (() => void)[] = [];
after(async () => {
  for (const stop of stops) stop();
  await rm(folder, { recursive: true });
});

interface Served {
  url: URL;
  /** the requests' first lines */
  asked: string[];
  connections: () => number;
}

/** @param answer is called for each request with its number, from 1 on */
async function serve(
  answer: (socket: Socket, number: number) => void,
  server: Server = createServer(),
): Promise<Served> {
  const asked: string[] = [];
  const sockets = new Set<Socket>();
  const isTls = "setTicketKeys" in server;
  server.on(isTls ? "secureConnection" : "connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    let text = "";
    socket.on("data", (chunk) => {
      text += chunk.toString("latin1");
      if (!text.endsWith("\r\n\r\n")) return;
      asked.push(text.slice(0, text.indexOf("\r\n")));
      text = "";
      answer(socket, asked.length);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  stops.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: new URL(`${isTls ? "https" : "http"}://127.0.0.1:${port}/v2/a/blobs/x?y=1`),
    asked,
    connections: () => sockets.size,
  };
}

function client(limits: { silenceTimeout?: number } = {}): LeanHttp {
  const lean = new LeanHttp({ connectTimeout: 5000, silenceTimeout: 5000, ...limits });
  stops.push(() => lean.close());
  return lean;
}

const head = (length: number, more = "") => `HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n${more}\r\n`;

async function get(lean: LeanHttp, { url }: Served, more: { lead?: number; signal?: AbortSignal } = {}) {
  const answer = await lean.get({ url, headers: {}, lead: 0, ...more });
  assert.ok(answer);
  return answer;
}

/** Reads it all, giving each piece back. @returns the bytes and the pieces' lengths */
async function read({ body }: LeanAnswer): Promise<{ whole: Buffer; lengths: number[]; aligned: boolean[] }> {
  const copies: Buffer[] = [];
  const aligned: boolean[] = [];
  for await (const piece of body) {
    copies.push(Buffer.from(piece));
    aligned.push(isAligned(piece));
    giveBack(piece);
  }
  return { whole: Buffer.concat(copies), lengths: copies.map(({ length }) => length), aligned };
}

test("pieces of one size, after one as long as is wanted; all of them at a page of memory", async () => {
  const served = await serve((socket) => {
    socket.write(head(bytes.length, "X-Two: a\r\nX-Two:  b \r\n"));
    socket.write(bytes);
  });
  const answer = await get(client(), served, { lead: 3584 });
  assert.equal(answer.statusCode, 200);
  assert.deepEqual(answer.headers["x-two"], ["a", "b"]);
  const { whole, lengths, aligned } = await read(answer);
  assert.ok(whole.equals(bytes));
  const last = bytes.length - 3584 - 3 * lentSize;
  assert.deepEqual(lengths, [3584, lentSize, lentSize, lentSize, last]);
  assert.deepEqual(aligned, [false, true, true, true, true]);
  assert.deepEqual(served.asked, ["GET /v2/a/blobs/x?y=1 HTTP/1.1"]);
  assert.equal(lentSize % directUnit, 0);
});

test("one connection for answers one after the other, also empty ones and errors; none for a close", async () => {
  const served = await serve((socket, number) => {
    if (number === 2) socket.write(head(0));
    else if (number === 3) socket.write("HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\nnone");
    else if (number === 4) socket.write(`${head(3, "Connection: close\r\n")}abc`);
    else socket.write(Buffer.concat([Buffer.from(head(bytes.length)), bytes]));
  });
  const lean = client();
  const found: string[] = [];
  for (let number = 1; number <= 5; number++) {
    const answer = await get(lean, served);
    const { whole } = await read(answer);
    found.push(`${answer.statusCode} ${whole.length}, ${served.connections()}`);
  }
  assert.deepEqual(found, ["200 3500000, 1", "200 0, 1", "404 4, 1", "200 3, 1", "200 3500000, 2"]);
});

test("what is not plain is for the library", async () => {
  const answers = [
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\n\r\nuntil the end",
    "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na",
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n folded: x\r\n\r\na",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "hello\r\n\r\n",
  ];
  for (const text of answers) {
    const served = await serve((socket) => socket.write(text));
    assert.equal(await client().get({ url: served.url, headers: {}, lead: 0 }), undefined, text);
  }
});

test("a connection that breaks: what came is given out, then the error", async () => {
  const served = await serve((socket) => {
    socket.write(head(bytes.length));
    socket.write(bytes.subarray(0, 2_000_000), () => socket.end());
  });
  const { body } = await get(client(), served);
  let size = 0;
  const reading = (async () => {
    for await (const piece of body) size += piece.length;
  })();
  await assert.rejects(reading, { code: "ECONNRESET" });
  assert.equal(size, 2_000_000);
  const silent = await serve((socket) => socket.destroy());
  await assert.rejects(get(client(), silent), { code: "ECONNRESET" });
});

test("a connection that was closed while idle is replaced, and nobody notices", async () => {
  const served = await serve((socket, number) => {
    if (number === 3) return void socket.destroy();
    socket.write(`${head(5)}hello`);
    if (number === 1) setTimeout(() => socket.destroy(), 20);
  });
  const lean = client();
  await read(await get(lean, served));
  await sleep(100);
  await read(await get(lean, served));
  assert.equal((await read(await get(lean, served))).whole.toString(), "hello");
  assert.equal(served.connections(), 3);
});

test("a host that hangs is waited for once, however many connections are idle", async () => {
  const served = await serve((socket, number) => {
    if (number <= 3) setTimeout(() => socket.write(`${head(5)}hello`), 100);
  });
  const lean = client({ silenceTimeout: 400 });
  await Promise.all([1, 2, 3].map(async () => read(await get(lean, served))));
  assert.equal(served.connections(), 3);
  await assert.rejects(get(lean, served), { code: "ETIMEDOUT" });
  assert.equal(served.asked.length, 4);
});

test("more than was announced: the bytes are right, the connection is not used again", async () => {
  const served = await serve((socket) => socket.write(`${head(5)}hello, and more`));
  const lean = client();
  for (let number = 1; number <= 2; number++) {
    assert.equal((await read(await get(lean, served))).whole.toString(), "hello");
    assert.equal(served.connections(), number);
  }
});

test("a slow line: what is there is handed over all the same", async () => {
  const served = await serve(async (socket) => {
    socket.write(head(2 * lentSize));
    socket.write(bytes.subarray(0, 1000));
    await sleep(900);
    socket.write(bytes.subarray(1000, 2 * lentSize));
  });
  const { whole, lengths } = await read(await get(client(), served));
  assert.ok(whole.equals(bytes.subarray(0, 2 * lentSize)));
  assert.deepEqual(lengths, [1000, lentSize - 1000, lentSize]);
});

test("a reader that is slow: the server is made to wait", async () => {
  let sent = 0;
  const length = 64 * lentSize;
  const served = await serve((socket) => {
    socket.write(head(length));
    const more = () => {
      while (sent < length) {
        sent += lentSize;
        if (!socket.write(bytes.subarray(0, lentSize))) return void socket.once("drain", more);
      }
    };
    more();
  });
  const { body } = await get(client({ silenceTimeout: 300 }), served);
  const pieces = body[Symbol.asyncIterator]();
  await pieces.next();
  await sleep(700);
  assert.ok(sent < 24 * lentSize, `${sent / lentSize} pieces were sent`);
  let count = 1;
  for (let next = await pieces.next(); !next.done; next = await pieces.next()) {
    giveBack(next.value);
    count++;
  }
  assert.equal(count, 64);
});

test("a server that says no more, and one that never answers", async () => {
  const stops = await serve((socket) => socket.write(`${head(1000)}abc`));
  await assert.rejects(read(await get(client({ silenceTimeout: 200 }), stops)), { code: "ETIMEDOUT" });
  const never = await serve(() => {});
  await assert.rejects(get(client({ silenceTimeout: 200 }), never), { code: "ETIMEDOUT" });
});

test("a reader that leaves early, and one that is aborted, end the connection", async () => {
  const served = await serve((socket) =>
    socket.write(Buffer.concat([Buffer.from(head(bytes.length)), bytes.subarray(0, 2_000_000)])),
  );
  const lean = client();
  for await (const piece of (await get(lean, served)).body) {
    giveBack(piece);
    break;
  }
  const stop = new AbortController();
  const { body } = await get(lean, served, { signal: stop.signal });
  assert.equal(served.connections(), 2);
  const reading = Array.fromAsync(body);
  setTimeout(() => stop.abort(new Error("enough")), 50);
  await assert.rejects(reading, { message: "enough" });
  await assert.rejects(get(lean, served, { signal: stop.signal }), { message: "enough" });
});

test("over TLS, checked against the CA", async () => {
  const { ca, certificate, key } = await makeCertificates(folder, "right", "IP:127.0.0.1");
  const tls = createTlsServer({ cert: certificate, key });
  const served = await serve(
    (socket) => socket.write(Buffer.concat([Buffer.from(head(bytes.length)), bytes])),
    tls,
  );
  const lean = client();
  const secureContext = createSecureContext({ ca });
  for (let number = 1; number <= 2; number++) {
    const answer = await lean.get({ url: served.url, headers: {}, lead: 100, secureContext });
    assert.ok(answer);
    assert.ok((await read(answer)).whole.equals(bytes));
  }
  assert.equal(served.connections(), 1);
  await assert.rejects(client().get({ url: served.url, headers: {}, lead: 0 }), {
    code: /SELF_SIGNED|UNABLE_TO/,
  });
});

test("a header that would begin a new line is refused", async () => {
  const served = await serve((socket) => socket.write(head(0)));
  const headers = { authorization: "Bearer x\r\nHost: other" };
  await assert.rejects(client().get({ url: served.url, headers, lead: 0 }), { code: "ERR_INVALID_CHAR" });
});
