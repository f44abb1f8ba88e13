/** Commands in hints: as they were typed, with other flags; a shell reads them back as the same words. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { commandToType } from "../../src/install/command-to-type.ts";

test("flags are added at the end, and all else stays", () => {
  const typed = ["drydock", "install", "/media/stick/site.tar", "--site", "/data", "--clients=hosts.ini"];
  assert.equal(
    commandToType(typed, { newCertificates: true }),
    "drydock install /media/stick/site.tar --site /data --clients=hosts.ini --new-certs",
  );
  assert.equal(
    commandToType(["drydock", "install", "-"], { addresses: ["a.lan", "10.0.0.1"], newCertificates: true }),
    "drydock install - --address a.lan --address 10.0.0.1 --new-certs",
  );
});

test("flags that are changed are replaced, in both forms; --dry-run goes; what follows -- stays", () => {
  const typed = ["drydock", "install", "--address", "10.0.0.1", "--address=b.lan", "--port=443", "--dry-run"];
  const words = [...typed, "--new-certs", "--", "--site.tar"];
  assert.equal(
    commandToType(words, { addresses: ["c.lan"], port: 8443 }),
    "drydock install --new-certs --address c.lan --port 8443 -- --site.tar",
  );
  assert.equal(
    commandToType(words, { newCertificates: true }),
    "drydock install --address 10.0.0.1 --address=b.lan --port=443 --new-certs -- --site.tar",
  );
});

test("a shell reads the words as they were", () => {
  for (const word of ["/media/My Stick/site.tar", "it's", 'a"b', "$HOME", "`x`", "a;b", "*", "", "ü"]) {
    const command = commandToType(["printf", "%s\\n", word], { newCertificates: true });
    const read = execFileSync("/bin/sh", ["-c", command], { encoding: "utf8" });
    assert.equal(read, `${word}\n--new-certs\n`);
  }
});
