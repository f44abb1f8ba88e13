/** Upstream registries that lack what is asked for, refuse it, or break: no bundle comes of it. */
import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { startRegistry, type TestRegistry } from "../lab/registry.ts";
import { assertRefused, type Desk, type Fault, journal, manifestFile, startDesk } from "./bad-input.ts";

const keptNames = ["site.tar.partial", journal];

describe("an upstream registry", () => {
  let desk: Desk;
  let closed: TestRegistry;
  const account = { user: "carrier", password: "the right one" };
  before(async () => {
    desk = await startDesk("bad-upstream");
    closed = await startRegistry({ folder: desk.folder, htpasswd: account });
  });
  after(async () => {
    await closed.stop();
    await desk.stop();
  });

  /** @param kept what stays of what was fetched: if it fails in its plan, that of the plan */
  async function refused(
    image: string,
    exit: number,
    says: (string | RegExp)[],
    { env = {}, kept = [journal] }: { env?: NodeJS.ProcessEnv; kept?: string[] } = {},
  ): Promise<void> {
    const files = manifestFile(desk.manifest, { images: [image] });
    const tried = await desk.bundle(files, { flags: ["--plain-http", closed.host], env });
    assertRefused(tried, { exit, says });
    assert.deepEqual(tried.left, ["manifest.yaml", ...kept]);
    assert.ok(desk.proxy.asked.length > 0, "nothing went through the proxy");
  }

  it("without the repository or the tag", async () => {
    const { host } = desk.proxy;
    await refused(`${host}/team/none:1`, 7, [
      `read ${host}/team/none:1`,
      `${host} has no repository "team/none"`,
      "spelling",
    ]);
    await refused(`${host}/team/app:9`, 7, [
      `read ${host}/team/app:9`,
      'no such tag "9"',
      `skopeo list-tags docker://${host}/team/app`,
    ]);
  });

  it("that nothing answers for, or that has no TLS", async () => {
    await refused("127.0.0.1:1/team/app:1", 7, [
      "read 127.0.0.1:1/team/app:1: cannot reach 127.0.0.1:1",
      "is the port right?",
      'bytes are kept in "site.tar.partial.journal"; the same command goes on with it',
    ]);
    const plain = desk.proxy.host.replace("127.0.0.1", "localhost");
    await refused(`${plain}/team/app:1`, 7, [`${plain} does not speak TLS`, `--plain-http ${plain}`]);
  });

  it("that refuses the credentials, or wants some", async () => {
    const image = `${closed.host}/secret/app:1`;
    const login = `Log in with: docker login ${closed.host}`;
    await refused(image, 7, [`read ${image}`, "wants credentials", login]);

    const DOCKER_CONFIG = join(desk.folder, "wrong");
    const auth = Buffer.from(`${account.user}:a-wrong-one`).toString("base64");
    await mkdir(DOCKER_CONFIG);
    await writeFile(
      join(DOCKER_CONFIG, "config.json"),
      JSON.stringify({ auths: { [closed.host]: { auth } } }),
    );
    await refused(image, 7, [`read ${image}`, "refuses the credentials in Docker's config.json", login], {
      env: { DOCKER_CONFIG },
    });
  });

  const faults: { kind: Fault["kind"]; is: Fault; exit: number; says: (string | RegExp)[] }[] = [
    {
      kind: "closes in the middle",
      is: { kind: "closes in the middle" },
      exit: 7,
      says: ["broke off", "Run it again"],
    },
    { kind: "sends other bytes", is: { kind: "sends other bytes" }, exit: 4, says: ["other bytes"] },
  ];
  for (const { kind, is, exit, says } of faults) {
    it(`that ${kind} of a blob`, async () => {
      const [, layer] = desk.app.blobs;
      assert.ok(layer);
      desk.proxy.fault = { at: layer.digest, is };
      try {
        await refused(
          `${desk.proxy.host}/team/app:1`,
          exit,
          ["team/app", layer.digest, ...says, 'kept in "site.tar.partial"; the same command goes on with it'],
          { kept: keptNames },
        );
      } finally {
        desk.proxy.fault = undefined;
      }
    });
  }

  it("that sends another image than the digest asked for", async () => {
    const { proxy, app } = desk;
    const image = `${proxy.host}/team/app@${app.digest}`;
    proxy.fault = { at: `manifests/${app.digest}`, is: { kind: "sends other bytes" } };
    await refused(image, 4, [image, `${proxy.host}`]);
  });
});
