/** Whose work failed last is remembered, in the site or in the user's state, and nothing else of them. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { siteLayout } from "../../src/site/layout.ts";
import { claimSite } from "../../src/site/marker.ts";
import type { Client, ClientResult } from "../../src/trust/client.ts";
import { failedOf, lastRunFile, rememberFailed } from "../../src/trust/last-run.ts";

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-last-run-"));
});
after(() => rm(folder, { recursive: true }));

const client = (name: string): Client => ({ name, host: name, where: "c:1" });
const result = (name: string, status: ClientResult["status"]): ClientResult => ({
  name,
  status,
  proven: false,
});
const failed = async (file: string, ...names: string[]) => {
  const { clients, others } = await failedOf(file, names.map(client));
  return [clients.map(({ name }) => name), others];
};

describe("the failed clients", () => {
  it("are remembered by name, for this user alone; each by its own last run", async () => {
    const file = join(folder, "state/drydock/clients.json");
    await assert.rejects(failed(file, "a"), /clients\.json": no run is remembered there/);
    await rememberFailed(
      file,
      [result("a", "failed"), result("b", "ok"), result("c", "unreachable"), result("d", "refused")],
      true,
    );
    assert.equal(await readFile(file, "utf8"), '{\n  "failed": [\n    "a",\n    "c",\n    "d"\n  ]\n}\n');
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    assert.equal((await stat(join(folder, "state/drydock"))).mode & 0o777, 0o700);
    assert.deepEqual(await failed(file, "d", "b", "a"), [["d", "a"], ["c"]]);

    // Some of them: what is known of the others stays.
    await rememberFailed(file, [result("a", "changed"), result("e", "failed")], false);
    assert.deepEqual(await failed(file, "a", "c", "d", "e"), [["c", "d", "e"], []]);
    const before = (await stat(file, { bigint: true })).mtimeNs;
    await rememberFailed(file, [result("a", "ok")], false);
    assert.equal((await stat(file, { bigint: true })).mtimeNs, before);
    await rememberFailed(file, [result("a", "ok")], true);
    assert.deepEqual(await failed(file, "a", "c"), [[], []]);

    await writeFile(file, "[1]");
    await assert.rejects(failed(file, "a"), /wanted \{"failed": \[names\]\}/);
  });

  it("stand in the site, or where there is none of drydock's in the user's state", async () => {
    const site = join(folder, "site");
    const environment = { XDG_STATE_HOME: join(folder, "xdg"), HOME: "/nowhere" };
    assert.equal(await lastRunFile(site, environment), join(folder, "xdg/drydock/clients.json"));
    await mkdir(site);
    assert.equal(await lastRunFile(site, environment), join(folder, "xdg/drydock/clients.json"));
    await claimSite(siteLayout(site));
    assert.equal(await lastRunFile(site, environment), join(site, "clients.json"));
    const other = { HOME: join(folder, "home"), XDG_STATE_HOME: "relative" };
    assert.equal(
      await lastRunFile(join(folder, "none"), other),
      join(folder, "home/.local/state/drydock/clients.json"),
    );
  });
});
