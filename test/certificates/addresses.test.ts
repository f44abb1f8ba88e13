import assert from "node:assert/strict";
import { test } from "node:test";
import { checkAddress, checkAddresses } from "../../src/certificates/addresses.ts";
import { DrydockError } from "../../src/errors.ts";

const good: [string, "dns" | "ip", string][] = [
  ["Registry.Plant7.LAN", "dns", "registry.plant7.lan"],
  ["registry", "dns", "registry"],
  ["localhost", "dns", "localhost"],
  ["7.example", "dns", "7.example"],
  ["xn--mnchen-3ya.example", "dns", "xn--mnchen-3ya.example"],
  [`${"a".repeat(63)}.b`, "dns", `${"a".repeat(63)}.b`],
  ["10.0.0.10", "ip", "10.0.0.10"],
  ["127.0.0.1", "ip", "127.0.0.1"],
  ["FD00:0:0::0010", "ip", "fd00::10"],
  ["::1", "ip", "::1"],
];

for (const [text, kind, value] of good) {
  test(`the address ${text.slice(0, 30)} is taken as ${kind}`, () => {
    assert.deepEqual(checkAddress(text), { kind, value });
  });
}

const bad: [string, RegExp][] = [
  ["", /empty/],
  ["10.0.0.999", /no possible IPv4/],
  ["10.0.0", /no possible IPv4/],
  ["host.0x7f", /no possible IPv4/],
  ["010.0.0.1", /no possible IPv4/],
  ["0.0.0.0", /any address/],
  ["224.0.0.1", /multicast/],
  ["255.255.255.255", /multicast or reserved/],
  ["::", /any address/],
  ["ff02::1", /multicast/],
  ["::ffff:10.0.0.1", /IPv4/],
  ["fe80::1%eth0", /zone/],
  ["fd00:::1", /no valid IPv6/],
  ["[::1]", /brackets/],
  ["[::1]:5000", /brackets/],
  ["registry.lan:5000", /port/],
  ["10.0.0.1:443", /port/],
  ["https://registry.lan", /URL/],
  ["registry.lan/v2", /path/],
  ["10.0.0.0/24", /path or a network/],
  ["*.lan", /wildcard/],
  ["a b", /space/],
  ["registry.lan\n", /space/],
  ["a..b", /two dots/],
  [".lan", /begins with one/],
  ["registry.lan.", /ends with a dot/],
  ["-a.lan", /hyphen/],
  ["a-.lan", /hyphen/],
  ["my_host.lan", /letters, digits and hyphens/],
  ["admin@lan", /e-mail/],
  ["a\u0000b.lan", /ASCII/],
  [`${"a".repeat(64)}.lan`, /63 are the most/],
  [`${"a.".repeat(130)}lan`, /253 are the most/],
];

for (const [text, reason] of bad) {
  test(`the address ${JSON.stringify(text.slice(0, 30))} is refused`, () => {
    assert.throws(
      () => checkAddress(text),
      (error) => {
        assert.ok(error instanceof DrydockError);
        assert.equal(error.kind, "input");
        assert.match(error.message, reason);
        assert.ok(error.message.includes(JSON.stringify(text)));
        return true;
      },
    );
  });
}

test("a name that is not ASCII is refused with its ASCII form", () => {
  assert.throws(
    () => checkAddress("München.example"),
    (error) => error instanceof DrydockError && /xn--mnchen-3ya\.example/.test(error.hint ?? ""),
  );
});

test("names come before IPs, each once", () => {
  assert.deepEqual(checkAddresses(["10.0.0.1", "B.lan", "a.lan", "b.LAN", "10.0.0.1", "FD00::0"]), {
    names: ["b.lan", "a.lan"],
    ips: ["10.0.0.1", "fd00::"],
  });
});
