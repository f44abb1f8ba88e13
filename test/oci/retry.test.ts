import assert from "node:assert/strict";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { noCredentials } from "../../src/oci/credentials.ts";
import { parseReference } from "../../src/oci/reference.ts";
import { RegistryClient } from "../../src/oci/registry-client.ts";
import { Attempts, parseRetryAfter } from "../../src/oci/retry.ts";
import { makeImage } from "../lab/images.ts";
import { startServer } from "./faulty-server.ts";

const image = makeImage();
const stops: (() => Promise<void>)[] = [];
after(async () => {
  for (const stop of stops.reverse()) await stop();
});

async function clientFor(
  answer: Parameters<typeof startServer>[0],
  times = 2,
): Promise<{ resolve: () => Promise<unknown>; notes: string[]; asked: unknown[] }> {
  const server = await startServer(answer);
  const notes: string[] = [];
  const client = new RegistryClient({
    credentials: noCredentials,
    plainHttp: new Set([server.host]),
    mirrors: new Map(),
    retries: { times, milliseconds: 1 },
    note: (text) => notes.push(text.replace(server.host, "HOST")),
  });
  stops.push(server.stop, () => client.close());
  const reference = parseReference(`${server.host}/a:1`);
  return { resolve: () => client.resolve(reference), notes, asked: server.asked };
}

test("Retry-After, in seconds and as a date", () => {
  const now = Date.UTC(2030, 0, 1);
  assert.equal(parseRetryAfter("120", now), 120_000);
  assert.equal(parseRetryAfter(new Date(now + 5000).toUTCString(), now), 5000);
  assert.equal(parseRetryAfter(new Date(now - 5000).toUTCString(), now), 0);
  assert.equal(parseRetryAfter("soon", now), undefined);
  assert.equal(parseRetryAfter(undefined, now), undefined);
});

test("waits double up to 30 s, with some chance; progress begins anew", () => {
  const attempts = new Attempts({ times: 9, milliseconds: 1000 });
  const waits = Array.from({ length: 10 }, () => attempts.next());
  for (const [at, wait] of waits.slice(0, 9).entries()) {
    const most = Math.min(1000 * 2 ** at, 30_000);
    assert.ok(wait !== undefined && wait >= most / 2 && wait <= most, `${at}: ${wait}`);
  }
  assert.equal(waits[9], undefined);
  assert.match(attempts.story, /^gave up after 10 tries over 0 s; last: $/);
  attempts.received(1000);
  assert.equal(attempts.next(), undefined, "a little is no progress");
  attempts.received(1024 * 1024);
  assert.ok(attempts.next() !== undefined);
  assert.equal(new Attempts({ times: 9, milliseconds: 1 }).next(3_600_000), undefined);
});

test("a busy registry is asked again when it says so", async () => {
  const begun = performance.now();
  const answers = [{ "retry-after": "1" }, { "retry-after": new Date(Date.now() + 1000).toUTCString() }];
  const { resolve, asked } = await clientFor((_, response) => {
    const headers = answers.shift();
    if (headers !== undefined) response.writeHead(429, headers).end();
    else response.writeHead(200, { "content-type": image.mediaType }).end(image.manifest);
  });
  await resolve();
  assert.equal(asked.length, 3);
  assert.ok(performance.now() - begun >= 1000);
});

test("one that wants us to wait for an hour is given up at once", async () => {
  const { resolve, asked } = await clientFor((_, response) =>
    response.writeHead(429, { "retry-after": "3600" }).end(),
  );
  const message = /not tried again, since it asks to wait 3600 s: .* answers 429/;
  await assert.rejects(resolve(), { kind: "upstream", message, hint: /Log in to it/ });
  assert.equal(asked.length, 1);
});

test("a host that asks to be left alone is left alone by all requests, and it is told once", async () => {
  let free = 0;
  const times: number[] = [];
  const { resolve, notes } = await clientFor((_, response) => {
    const now = performance.now();
    times.push(now);
    if (free === 0) free = now + 6000;
    const headers = { "content-type": image.mediaType };
    if (now < free) response.writeHead(429, { "retry-after": "6" }).end();
    else response.writeHead(200, headers).end(image.manifest);
  });
  const first = resolve();
  await sleep(300);
  await Promise.all([first, resolve(), resolve()]);
  assert.equal(times.filter((time) => time < free).length, 1, "it was asked again while it was busy");
  assert.deepEqual(notes, ["HOST answers 429: waiting 6 s before the next try"]);
});

test("after all tries the error says how many and how long", async () => {
  const { resolve } = await clientFor((_, response) => response.writeHead(502).end("bad"));
  const message = /gave up after 3 tries over 0 s; last: .* answers 502$/;
  await assert.rejects(resolve(), { kind: "upstream", message });
});

test("an image manifest that breaks off is asked for again", async () => {
  let times = 0;
  const { resolve } = await clientFor((_, response) => {
    times += 1;
    response.writeHead(200, { "content-type": image.mediaType, "content-length": image.manifest.length });
    if (times < 3) response.write(image.manifest.subarray(0, 9), () => response.destroy());
    else response.end(image.manifest);
  });
  await resolve();
  assert.equal(times, 3);
});

test("the pulls that are left are told before they end, not each time", async () => {
  let left = 40;
  const { resolve, notes } = await clientFor((_, response) => {
    left = Math.max(0, left - 4);
    const headers = { "ratelimit-limit": "100;w=21600", "ratelimit-remaining": `${left};w=21600` };
    response.writeHead(200, { "content-type": image.mediaType, ...headers }).end(image.manifest);
  });
  for (let time = 0; time < 12; time += 1) await resolve();
  assert.deepEqual(notes, [
    "HOST: 24 of 100 pulls left in 6 h",
    "HOST: 12 of 100 pulls left in 6 h",
    "HOST: 4 of 100 pulls left in 6 h",
    "HOST: 0 of 100 pulls left in 6 h",
  ]);
});
