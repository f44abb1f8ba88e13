/** How a release is served: what the bundle says, what is chosen at the site, and what stays chosen. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { settingsFor } from "../../src/install/settings.ts";
import { digestOf } from "../../src/oci/digest.ts";

const index = {
  addresses: ["registry.plant7.lan", "10.0.0.10", "127.0.0.1"],
  registry: {
    reference: "registry:2",
    images: { "linux/amd64": digestOf("x") },
    port: 443,
    access: "read-only",
  },
} as const;
const bundle = { ...index, addresses: [...index.addresses] };

test("nothing chosen: as the bundle says", () => {
  const { settings, chosen } = settingsFor(bundle, {}, undefined);
  assert.deepEqual(settings, { addresses: bundle.addresses, port: 443, access: "read-only" });
  assert.deepEqual(chosen, {});
});

test("what is chosen replaces what the bundle says, in its canonical form, with the loopback address", () => {
  const choices = { addresses: ["10.1.2.3", "Registry.Ship.LAN", "10.1.2.3"], port: 8443 };
  const { settings, chosen } = settingsFor(bundle, choices, undefined);
  assert.deepEqual(settings.addresses, ["10.1.2.3", "registry.ship.lan", "127.0.0.1"]);
  assert.equal(settings.port, 8443);
  assert.deepEqual(chosen, choices);
});

test("it stays chosen for the next bundle; each choice is replaced alone", () => {
  const current = { chosen: { addresses: ["registry.ship.lan"], port: 8443 } };
  const { settings, chosen } = settingsFor(bundle, { port: 9443 }, current);
  assert.deepEqual(settings.addresses, ["registry.ship.lan", "127.0.0.1"]);
  assert.equal(settings.port, 9443);
  assert.deepEqual(chosen, { addresses: ["registry.ship.lan"], port: 9443 });
});

test("an address that no certificate can hold", () => {
  assert.throws(() => settingsFor(bundle, { addresses: ["https://x"] }, undefined), {
    kind: "input",
    message: /https:\/\/x.*URL/,
  });
});
