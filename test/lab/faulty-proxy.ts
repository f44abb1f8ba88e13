/**
 * A bad line in front of a real registry: it cuts connections, delays, throttles, refuses for a while, and
 * serves what is wrong; and it counts which bytes of each blob went over it. Faults that no real registry
 * shows when one wants them, and so the one part of the lab that is made up.
 */
import { once } from "node:events";
import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

export type LineFault =
  /** so many bytes of the body, then the connection is closed */
  | { kind: "cut"; after: number }
  | { kind: "delay"; milliseconds: number }
  /** 429 comes with Retry-After: 1 */
  | { kind: "status"; status: 429 | 500 | 503 }
  /** one byte of the body is another one */
  | { kind: "wrong bytes" }
  /** a whole answer, of fewer bytes than the blob has */
  | { kind: "short" }
  /** the announced length is not that of the blob, the body is */
  | { kind: "wrong length" };

export interface Asked {
  method: string;
  path: string;
  /** of a blob that is asked for with GET */
  digest?: string;
  /** the Range header */
  range?: string;
  /** how often the same path was asked for before */
  before: number;
  /** what the client was answered */
  status?: number;
  fault?: LineFault["kind"];
}

/** What is to be done with a request, besides passing it on. */
export type LinePlan = (asked: Asked) => LineFault | undefined;

export interface SentRange {
  /** the blob's first byte that was sent, and the one after the last */
  from: number;
  to: number;
}

export interface FaultyProxy {
  /** 127.0.0.1:PORT */
  host: string;
  plan: LinePlan | undefined;
  /** over all connections together; undefined: as fast as it goes */
  bytesPerSecond: number | undefined;
  /** every request, in order; may be emptied */
  asked: Asked[];
  /** digest → what was sent of that blob, in order; may be emptied */
  sent: Map<string, SentRange[]>;
  /** Resolves at the next request for a blob. */
  nextBlob(): Promise<void>;
  stop(): Promise<void>;
}

const pieceSize = 64 * 1024;

export async function startFaultyProxy(registryHost: string): Promise<FaultyProxy> {
  const waiting: (() => void)[] = [];
  const times = new Map<string, number>();
  /** when the line is free again, by performance.now() */
  let free = 0;
  const turn = async (bytes: number) => {
    if (proxy.bytesPerSecond === undefined) return;
    const now = performance.now();
    free = Math.max(free, now) + (bytes / proxy.bytesPerSecond) * 1000;
    await sleep(free - now);
  };
  const server = createServer((incoming, response) => {
    const path = incoming.url ?? "";
    const before = times.get(path) ?? 0;
    times.set(path, before + 1);
    const asked: Asked = { method: incoming.method ?? "", path, before };
    const [, digest] = /\/blobs\/(sha256:[0-9a-f]{64})$/.exec(path) ?? [];
    if (digest !== undefined && incoming.method === "GET") asked.digest = digest;
    if (incoming.headers.range !== undefined) asked.range = incoming.headers.range;
    proxy.asked.push(asked);
    const fault = proxy.plan?.(asked);
    if (fault !== undefined) asked.fault = fault.kind;
    if (asked.digest !== undefined) for (const resolve of waiting.splice(0)) resolve();
    const line = { registryHost, turn, sent: proxy.sent };
    pass(line, { incoming, response, asked, fault }).catch(() => response.destroy());
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  const proxy: FaultyProxy = {
    host: `127.0.0.1:${address.port}`,
    plan: undefined,
    bytesPerSecond: undefined,
    asked: [],
    sent: new Map(),
    nextBlob: () => new Promise((resolve) => waiting.push(resolve)),
    stop: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
  return proxy;
}

interface Line {
  registryHost: string;
  turn(bytes: number): Promise<void>;
  sent: Map<string, SentRange[]>;
}

interface Exchange {
  incoming: IncomingMessage;
  response: ServerResponse;
  asked: Asked;
  fault: LineFault | undefined;
}

async function pass(line: Line, { incoming, response, asked, fault }: Exchange): Promise<void> {
  if (fault?.kind === "delay") await sleep(fault.milliseconds);
  if (fault?.kind === "status") {
    asked.status = fault.status;
    response.writeHead(fault.status, fault.status === 429 ? { "retry-after": "1" } : {});
    return void response.end("not now\n");
  }
  const answer = await askRegistry(line.registryHost, incoming);
  const status = answer.statusCode ?? 500;
  asked.status = status;
  const length = Number(answer.headers["content-length"] ?? 0);
  const headers = { ...answer.headers };
  let left = length;
  if (fault?.kind === "short") left = Math.floor(length / 2);
  if (fault?.kind === "short") headers["content-length"] = String(left);
  if (fault?.kind === "wrong length") headers["content-length"] = String(length + 7);
  if (fault?.kind === "cut") left = Math.min(left, fault.after);
  response.writeHead(status, headers);
  const range = rangeOf(line, asked, answer);
  let flip = fault?.kind === "wrong bytes";
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    for (let at = 0; at < chunk.length && left > 0; at += pieceSize) {
      const piece = chunk.subarray(at, Math.min(at + pieceSize, chunk.length, at + left));
      if (flip) piece.writeUInt8(piece.readUInt8(0) ^ 1, 0);
      flip = false;
      await line.turn(piece.length);
      if (response.destroyed) return void answer.destroy();
      left -= piece.length;
      await write(response, piece);
      if (range) range.to += piece.length;
    }
    if (left === 0) break;
  }
  answer.destroy();
  // A length that is too large can only end with the connection.
  if (fault?.kind === "cut" || fault?.kind === "wrong length") response.destroy();
  else response.end();
}

/** Returns when the kernel has it: what a cut comes after was sent. */
async function write(response: ServerResponse, piece: Buffer): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  response.once("close", resolve);
  response.write(piece, () => resolve());
  await promise;
  response.off("close", resolve);
}

async function askRegistry(
  host: string,
  { method, url, headers }: IncomingMessage,
): Promise<IncomingMessage> {
  const ask = request(`http://${host}${url}`, { method, headers: { ...headers, host }, agent: false }).end();
  const [answer]: [IncomingMessage] = (await once(ask, "response")) as [IncomingMessage];
  return answer;
}

/** The record of what this answer sends of a blob; it grows as it is sent. */
function rangeOf(line: Line, { digest, status }: Asked, answer: IncomingMessage): SentRange | undefined {
  if (digest === undefined || (status !== 200 && status !== 206)) return undefined;
  const [, start = "0"] = /^bytes (\d+)-/.exec(answer.headers["content-range"] ?? "") ?? [];
  const range = { from: Number(start), to: Number(start) };
  line.sent.set(digest, [...(line.sent.get(digest) ?? []), range]);
  return range;
}

/** Numbers from 0 to 1, the same ones for a seed (the generator is mulberry32). */
export function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * All kinds of faults in turn, for `share` of the requests; a path is let through undisturbed after two of
 * them. What is no blob is never changed, since an image manifest's bytes are asked for once.
 */
export function randomFaults(seed: number, share: number): LinePlan {
  const random = randomFrom(seed);
  const faults: ((size: number) => LineFault)[] = [
    (size) => ({ kind: "cut", after: Math.floor(random() * size) }),
    () => ({ kind: "delay", milliseconds: 50 + random() * 400 }),
    () => ({ kind: "status", status: 429 }),
    () => ({ kind: "status", status: 500 }),
    () => ({ kind: "status", status: 503 }),
    () => ({ kind: "wrong bytes" }),
    () => ({ kind: "short" }),
    () => ({ kind: "wrong length" }),
  ];
  let next = 0;
  return ({ digest, before }) => {
    if (before >= 2 || random() >= share) return undefined;
    const kinds = digest === undefined ? 5 : faults.length;
    const fault = faults[next++ % kinds];
    return fault?.(digest === undefined ? 200 : 100_000);
  };
}
