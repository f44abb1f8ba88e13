/** What --limit refuses; what it takes is held against Ansible in inventory-ansible.test.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { DrydockError } from "../../../src/errors.ts";
import { Inventory } from "../../../src/trust/inventory/hosts-and-groups.ts";
import { readIni } from "../../../src/trust/inventory/ini.ts";
import { limitHosts } from "../../../src/trust/inventory/limit.ts";

const inventory = new Inventory();
readIni(inventory, "[web]\nweb[1:3]\n[db]\ndb1\nfd00::1\n[none]\n", "hosts");
inventory.finish();

for (const [limit, message] of [
  ["wbe", /--limit "wbe": "wbe" is no group and no host/],
  ["web:!tpyo", /"tpyo" is no group and no host/],
  ["web:&tpyo", /"tpyo" is no group and no host/],
  ["web:&db", /leaves no host/],
  ["none", /leaves no host/],
  ["web[3]", /"web\[3\]": there are only 3 hosts/],
  ["web[5:9]", /there are only 3 hosts/],
  ["@failed.txt", /"@failed.txt": files are not read/],
  ["", /names nothing/],
  [" , ", /names nothing/],
  ["~web(", /"~web\(" is no regular expression/],
  ["web:!db,db", /"web:!db" is no group/],
] as const) {
  test(`--limit ${JSON.stringify(limit)} is refused`, () => {
    assert.throws(
      () => limitHosts(inventory, limit),
      (error) => error instanceof DrydockError && error.kind === "input" && message.test(error.message),
    );
  });
}

test("a group or host that is misspelt is named rightly in the hint", () => {
  assert.throws(() => limitHosts(inventory, "webb"), { hint: 'Did you mean "web"?' });
  assert.throws(() => limitHosts(inventory, "elsewhere"), { hint: undefined });
});

test("blanks and empty parts don't matter, and the inventory's order is kept", () => {
  const names = limitHosts(inventory, " db1 , ,web[0], fd00::1").map(({ name }) => name);
  assert.deepEqual(names, ["web1", "db1", "fd00::1"]);
});
