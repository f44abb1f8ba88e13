import assert from "node:assert/strict";
import { after, test } from "node:test";
import { openDownload } from "../../src/bundle/download.ts";
import { startServer } from "../oci/faulty-server.ts";

const stops: (() => Promise<void>)[] = [];
after(async () => {
  for (const stop of stops.reverse()) await stop();
});

test("a download that breaks off goes on at its byte, behind the same redirect", async () => {
  const bytes = Buffer.from(Array.from({ length: 900_000 }, (_, at) => (at * 7) % 251));
  const ranges: (string | undefined)[] = [];
  const server = await startServer((request, response) => {
    if (request.url === "/seed") return void response.writeHead(302, { location: "/stored" }).end();
    const { range } = request.headers;
    ranges.push(range);
    const start = Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1] ?? 0);
    response.writeHead(start > 0 ? 206 : 200, {
      "content-length": bytes.length - start,
      ...(start > 0 ? { "content-range": `bytes ${start}-${bytes.length - 1}/${bytes.length}` } : {}),
    });
    if (ranges.length > 2) response.end(bytes.subarray(start));
    else response.write(bytes.subarray(start, start + 300_000), () => response.destroy());
  });
  stops.push(server.stop);
  const { size, body, close } = await openDownload(`http://${server.host}/seed`, "the seed");
  stops.push(close);
  assert.equal(size, bytes.length);
  assert.ok(Buffer.concat(await Array.fromAsync(body)).equals(bytes));
  assert.equal(ranges.length, 3);
  assert.match(ranges[2] ?? "", /^bytes=[1-9]\d*-$/);
});
