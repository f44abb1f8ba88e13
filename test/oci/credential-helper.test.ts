/** Credential helpers: small programs that speak the helpers' protocol, and those that do not. */
import assert from "node:assert/strict";
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { inspect } from "node:util";
import { askHelper } from "../../src/oci/credential-helper.ts";
import { type Credentials, readCredentials } from "../../src/oci/credentials.ts";

const secret = "S3cret-of-the-helper";
let folder: string;
let environment: Record<string, string>;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-helper-"));
  environment = { PATH: `${folder}:${process.env.PATH}`, HOME: folder, DOCKER_CONFIG: folder };
  const found = `{"ServerURL":"x","Username":"u","Secret":"${secret}"}`;
  const helpers: Record<string, string> = {
    // It notes what it was asked: its arguments, and what it read.
    good: `read -r server; echo "$* $server" >> ${folder}/asked
case $server in
  quay.io|https://index.docker.io/v1/) echo '${found}';;
  token.example) echo '{"Username":"<token>","Secret":"${secret}"}';;
  *) echo "credentials not found in native keychain"; exit 1;;
esac`,
    broken: `echo "cannot open ${secret}"; exit 3`,
    garbled: `echo '{"Secret": "${secret}'`,
    long: "yes 'credentials not found'",
    slow: "exec sleep 30",
    deaf: `exec <&-; echo '${found}'`,
  };
  for (const [name, text] of Object.entries(helpers)) {
    const path = join(folder, `docker-credential-${name}`);
    await writeFile(path, `#!/bin/sh\n${text}\n`);
    await chmod(path, 0o755);
  }
});
after(() => rm(folder, { recursive: true }));

async function config(value: object): Promise<Credentials> {
  await writeFile(join(folder, "config.json"), JSON.stringify(value));
  return await readCredentials(environment);
}
const base64 = (text: string): string => Buffer.from(text).toString("base64");

test("the store and the hosts' own helpers are asked, each once", async () => {
  await rm(join(folder, "asked"), { force: true });
  const credentials = await config({
    auths: { "https://index.docker.io/v1/": {} },
    credHelpers: { "token.example": "good" },
    credsStore: "good",
  });
  const from = "of docker-credential-good";
  const password = { kind: "password", user: "u", password: secret, from };
  assert.deepEqual(await credentials.forHost("quay.io", "a/b"), password);
  assert.deepEqual(await credentials.forHost("quay.io", "c"), password);
  assert.deepEqual(await credentials.forHost("docker.io", "library/a"), password);
  const token = { kind: "identity-token", token: secret, from };
  assert.deepEqual(await credentials.forHost("token.example", "a"), token);
  assert.equal(await credentials.forHost("nobody.example", "a"), undefined);
  const asked = (await readFile(join(folder, "asked"), "utf8")).trim().split("\n");
  assert.deepEqual(asked, [
    "get quay.io",
    "get https://index.docker.io/v1/",
    "get token.example",
    "get nobody.example",
  ]);
});

test("a helper that fails is named where it is needed; nothing it says is shown", async () => {
  for (const [name, message] of Object.entries({
    broken: /"docker-credential-broken": it ends with exit code 3/,
    garbled: /not the JSON of Username and Secret/,
    long: /says over 65536 bytes/,
    absent: /there is no such program/,
  })) {
    const credentials = await config({ credHelpers: { "quay.io": name } });
    await assert.rejects(
      async () => await credentials.forHost("quay.io", "a"),
      (error: Error & { kind?: string }) => {
        assert.equal(error.kind, "input");
        assert.match(error.message, message);
        assert.ok(!inspect(error, { depth: 9 }).includes(secret.slice(0, 6)), inspect(error));
        return true;
      },
    );
    // A store that nobody logged in with must not keep one from what is open to all.
    const store = await config({ credsStore: name });
    assert.equal(await store.forHost("quay.io", "a"), undefined);
  }
  const both = await config({ auths: { "quay.io": { auth: base64("a:b") } }, credsStore: "absent" });
  assert.deepEqual(await both.forHost("quay.io", "x"), { kind: "password", user: "a", password: "b" });
});

test("one that does not answer is ended; one that does not read is no trouble", async () => {
  await assert.rejects(askHelper("slow", "quay.io", environment, 200), { message: /within 0\.2 s/ });
  assert.deepEqual(await askHelper("deaf", "quay.io", environment), { user: "u", secret });
});

test("a name that is more than a name is refused", async () => {
  for (const name of ["../good", "good; id", "good get", "GOOD", "a/b", ""]) {
    await assert.rejects(askHelper(name, "quay.io", environment), {
      kind: "input",
      message: /not a credential/,
    });
  }
});

test("auth.json: the longest path that fits; REGISTRY_AUTH_FILE and Podman's places", async () => {
  const auth = (user: string): object => ({ auth: base64(`${user}:p`) });
  const auths = {
    "quay.io": auth("host"),
    "quay.io/team": auth("team"),
    "quay.io/team/app": auth("app"),
    "docker.io/library": auth("hub"),
  };
  await config({ auths: { "quay.io": auth("docker"), "only.example": auth("docker") } });
  const file = join(folder, "named.json");
  await writeFile(file, JSON.stringify({ auths }));
  await mkdir(join(folder, "run", "containers"), { recursive: true });
  await writeFile(join(folder, "run", "containers", "auth.json"), JSON.stringify({ auths }));
  const users = async (more: Record<string, string>): Promise<(string | undefined)[]> => {
    const { DOCKER_CONFIG: _, ...rest } = environment;
    const credentials = await readCredentials({ ...rest, ...more });
    const asked = [
      ["quay.io", "team/app"],
      ["quay.io", "team/app2"],
      ["quay.io", "teams"],
      ["docker.io", "library/alpine"],
      ["only.example", "a"],
    ];
    return await Promise.all(
      asked.map(async ([host = "", repository = ""]) => {
        const found = await credentials.forHost(host, repository);
        return found?.kind === "password" ? found.user : undefined;
      }),
    );
  };
  const expected = ["app", "team", "host", "hub"];
  assert.deepEqual(await users({ REGISTRY_AUTH_FILE: file, DOCKER_CONFIG: folder }), [...expected, "docker"]);
  assert.deepEqual(await users({ XDG_RUNTIME_DIR: join(folder, "run") }), [...expected, undefined]);
  const docker = await users({ XDG_RUNTIME_DIR: join(folder, "run"), DOCKER_CONFIG: folder });
  assert.deepEqual(docker, ["docker", "docker", "docker", "hub", "docker"]);
  await assert.rejects(users({ REGISTRY_AUTH_FILE: join(folder, "absent.json") }), {
    kind: "input",
    message: /absent\.json.*no such file/,
  });
});
