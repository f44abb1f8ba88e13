import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { inspect } from "node:util";
import { type Credentials, readCredentials } from "../../src/oci/credentials.ts";

const folder = await mkdtemp(join(tmpdir(), "drydock-credentials-"));
after(() => rm(folder, { recursive: true }));

async function read(text: string): Promise<Credentials> {
  await writeFile(join(folder, "config.json"), text);
  return await readCredentials({ DOCKER_CONFIG: folder });
}
const base64 = (text: string): string => Buffer.from(text).toString("base64");

test("each way in which Docker writes an entry", async () => {
  const credentials = await read(
    JSON.stringify({
      auths: {
        "https://index.docker.io/v1/": { auth: base64("hub:p:w") },
        "quay.io": { username: "u", password: "p" },
        "https://old.example/v2/": { auth: base64("o:p") },
        "Azure.example:8443": { auth: base64("<token>:"), identitytoken: "refresh" },
        "stored.example": {},
      },
      credsStore: "desktop",
    }),
  );
  assert.deepEqual(credentials.forHost("docker.io"), { kind: "password", user: "hub", password: "p:w" });
  assert.deepEqual(credentials.forHost("quay.io"), { kind: "password", user: "u", password: "p" });
  assert.deepEqual(credentials.forHost("old.example"), { kind: "password", user: "o", password: "p" });
  assert.deepEqual(credentials.forHost("azure.example:8443"), { kind: "identity-token", token: "refresh" });
  assert.equal(credentials.forHost("azure.example"), undefined);
  assert.equal(credentials.forHost("stored.example"), undefined);
  assert.equal(credentials.forHost("other.example"), undefined);
});

test("without a file there are none; HOME is where it is looked for", async () => {
  const home = join(folder, "home");
  assert.equal((await readCredentials({ HOME: home })).forHost("quay.io"), undefined);
  await mkdir(join(home, ".docker"), { recursive: true });
  const text = JSON.stringify({ auths: { "quay.io": { auth: base64("a:b") } } });
  await writeFile(join(home, ".docker", "config.json"), text);
  assert.notEqual((await readCredentials({ HOME: home })).forHost("quay.io"), undefined);
});

test("a broken file is named, and what it holds is not shown", async () => {
  const secret = base64("user:very-secret");
  const broken = [
    `{"auths": {"quay.io": {"auth": "${secret}" oops`,
    `"${secret}"`,
    JSON.stringify({ auths: { "quay.io": { auth: base64("very-secret") } } }),
  ];
  for (const text of broken) {
    await assert.rejects(read(text), (error: Error) => {
      const shown = inspect(error, { depth: 9 });
      assert.match(shown, /config\.json/);
      assert.doesNotMatch(
        shown,
        new RegExp(`very-secret|${secret.slice(0, 8)}|${base64("very-secret").slice(0, 8)}`),
      );
      return (error as Error & { kind: string }).kind === "input";
    });
  }
});
