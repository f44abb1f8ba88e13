/** This host itself as a client, in a namespace where /etc/docker is the test's own. */
import assert from "node:assert/strict";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import type { ClientResult } from "../../src/trust/client.ts";
import { localConnection } from "../../src/trust/local.ts";
import { inOwnNamespace } from "../lab/own-namespace.ts";
import { freePort } from "../lab/sshd.ts";
import { withSudoers, withUsers } from "../lab/users.ts";
import { assertGivesStreams, limitMs } from "./given-streams.ts";
import { type Certificates, makeCertificates, startTlsServer } from "./tls-server.ts";

const canary = "canary-local";
let folder: string;
let certificates: Certificates;
let server: { port: number; stop(): void };
let program: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-local-"));
  await chmod(folder, 0o755);
  certificates = await makeCertificates(folder, "good", "IP:127.0.0.2");
  server = await startTlsServer(certificates);
  await writeFile(join(folder, "ca"), certificates.ca);
  program = join(folder, "trust.mts");
  const source = (name: string) => JSON.stringify(join(import.meta.dirname, "../../src", name));
  await writeFile(
    program,
    `import { readFileSync } from "node:fs";
    import { trust } from ${source("trust/trust.ts")};
    import { silentReporter } from ${source("reporter.ts")};
    const clients = [{ name: "here", host: "here", where: "c:1", local: true }];
    const asked = [];
    const results = await trust(clients, {
      ca: readFileSync(${JSON.stringify(join(folder, "ca"))}, "utf8"),
      ...{ addresses: ["127.0.0.2"], port: ${server.port}, acceptNewHostKeys: false },
      askSudoPassword: process.argv[2] === "ask",
      ask: async (question) => (asked.push(question), ${JSON.stringify(canary)}),
    }, silentReporter);
    console.log(JSON.stringify({ results, asked }));`,
  );
});
after(async () => {
  server.stop();
  await rm(folder, { recursive: true });
});

interface Told {
  results: ClientResult[];
  asked: string[];
}

async function trustHere(etc: string, sudoers: string[], command: string[]): Promise<Told> {
  await mkdir(join(folder, etc), { recursive: true });
  const users = withUsers({ name: "ops", password: canary });
  const setup = [...users, ...withSudoers(...sudoers), `mount --bind $FOLDER/${etc} /etc/docker`];
  return JSON.parse(await inOwnNamespace(folder, setup, command)) as Told;
}

const asOps = ["setpriv", "--reuid=4711", "--regid=4711", "--clear-groups"];

describe("this host itself", () => {
  it("gets the CA without SSH, as root and by sudo, and is proven", async () => {
    for (const [etc, sudoers, command, asked] of [
      ["root", [], [process.execPath, program], []],
      ["free", ["ops ALL=(root) NOPASSWD: ALL"], [...asOps, process.execPath, program], []],
      [
        "asks",
        ["ops ALL=(root) ALL"],
        [...asOps, process.execPath, program, "ask"],
        ["sudo password of ops on 1 host: "],
      ],
    ] as const) {
      const told = await trustHere(etc, [...sudoers], [...command]);
      const done = { name: "here", status: "changed", proven: true, proof: "tls", provenAs: "127.0.0.2" };
      assert.deepEqual(told, { results: [done], asked });
      const file = join(folder, etc, `certs.d/127.0.0.2:${server.port}/ca.crt`);
      assert.ok((await readFile(file, "utf8")).endsWith(certificates.ca));
      assert.equal((await stat(file)).uid, 0);
      const again = await trustHere(etc, [...sudoers], [...command]);
      assert.equal(again.results[0]?.status, "ok");
    }
  });

  it("is refused where sudo wants what it can't have, and nothing is left", async () => {
    const sudoers = ["ops ALL=(root) NOPASSWD: ALL", "Defaults requiretty"];
    const before = await readdir(tmpdir());
    const { results } = await trustHere("tty", sudoers, [
      "setsid",
      "-w",
      ...asOps,
      process.execPath,
      program,
    ]);
    assert.equal(results[0]?.status, "refused");
    assert.match(results[0]?.reason ?? "", /sudo wants a terminal/);
    const after = (await readdir(tmpdir())).filter(
      (name) => name.startsWith("tmp.") && !before.includes(name),
    );
    const ours = await Promise.all(
      after.map(async (name) => (await stat(join(tmpdir(), name)).catch(() => undefined))?.uid),
    );
    assert.ok(!ours.includes(4711));
  });

  it("runs commands within their time, and opens streams", async () => {
    const connection = localConnection(500);
    const result = await connection.exec("cat; echo oops >&2; exit 3", "given");
    assert.deepEqual(result, { code: 3, signal: undefined, stdout: "given", stderr: "oops\n" });
    await assert.rejects(connection.exec("sleep 600 & sleep 600"), /did not end within 0\.5 s/);
    await assert.rejects(connection.forward("127.0.0.1", await freePort()), /ECONNREFUSED/);
    const stream = await connection.forward("127.0.0.2", server.port);
    stream.destroy();
    connection.close();
    assert.equal(connection.isOpen(), false);
  });

  it("gives a command what a stream gives, as it takes it", async () => {
    await assertGivesStreams(localConnection(limitMs));
  });
});
