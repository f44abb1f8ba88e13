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
      credsStore: "absent",
    }),
  );
  assert.deepEqual(await credentials.forHost("docker.io", "a"), {
    kind: "password",
    user: "hub",
    password: "p:w",
  });
  assert.deepEqual(await credentials.forHost("quay.io", "a"), { kind: "password", user: "u", password: "p" });
  assert.deepEqual(await credentials.forHost("old.example", "a"), {
    kind: "password",
    user: "o",
    password: "p",
  });
  assert.deepEqual(await credentials.forHost("azure.example:8443", "a"), {
    kind: "identity-token",
    token: "refresh",
  });
  assert.equal(await credentials.forHost("azure.example", "a"), undefined);
  // There it would have to be asked; of other hosts it knows nothing.
  await assert.rejects(
    async () => await credentials.forHost("stored.example", "a"),
    /docker-credential-absent/,
  );
  assert.equal(await credentials.forHost("other.example", "a"), undefined);
});

test("without a file there are none; HOME is where it is looked for", async () => {
  const home = join(folder, "home");
  assert.equal(await (await readCredentials({ HOME: home })).forHost("quay.io", "a"), undefined);
  await mkdir(join(home, ".docker"), { recursive: true });
  const text = JSON.stringify({ auths: { "quay.io": { auth: base64("a:b") } } });
  await writeFile(join(home, ".docker", "config.json"), text);
  assert.notEqual(await (await readCredentials({ HOME: home })).forHost("quay.io", "a"), undefined);
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
