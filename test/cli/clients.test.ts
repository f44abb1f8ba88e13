/** What the flags about clients mean, and the exit code. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { clientOptions, exitCodeOf, retryCommand } from "../../src/cli/clients.ts";
import type { ClientResult } from "../../src/trust/client.ts";

const hosts: ClientResult[] = [
  { name: "web", status: "changed", proven: true, provenAs: "registry.plant7.lan" },
  { name: "db", status: "ok", proven: false },
  { name: "old", status: "refused", proven: false },
];

test("5 where some client failed, 0 where all are done, proven or not", () => {
  assert.equal(exitCodeOf(hosts), 5);
  assert.equal(exitCodeOf(hosts.slice(0, 2)), 0);
  assert.equal(exitCodeOf(hosts.slice(2)), 5);
  for (const status of ["unreachable", "refused", "failed"] as const)
    assert.equal(exitCodeOf([{ name: "x", status, proven: true }]), 5);
});

test("what the flags say about SSH reaches the library; without --known-hosts it is for SSH's configuration", () => {
  const flags = {
    "accept-new-host-keys": false,
    "allow-proxy-command": false,
    "ask-password": false,
    "ask-sudo-password": true,
  };
  assert.equal(clientOptions(flags).knownHostsFile, undefined);
  const { ask, ...options } = clientOptions({
    ...flags,
    "known-hosts": "/x",
    "ssh-config": "none",
    parallel: 64,
    timeout: 5,
  });
  assert.ok(ask === undefined || typeof ask === "function");
  assert.deepEqual(options, {
    limit: 64,
    timeoutMs: 5000,
    knownHostsFile: "/x",
    acceptNewHostKeys: false,
    allowProxyCommand: false,
    sshConfigFile: "none",
    askPassword: false,
    askSudoPassword: true,
  });
});

test("after an install the command for those that failed has the flags about clients, and no others", () => {
  const flags = {
    ...{ clients: "my hosts.ini", "accept-new-host-keys": true, "allow-proxy-command": false },
    ...{ "ask-password": false, "ask-sudo-password": true, limit: "web:!old", timeout: 5, digest: "x" },
  };
  assert.equal(
    retryCommand({ bin: "drydock", site: "/data" }, flags),
    "drydock trust --retry --clients 'my hosts.ini' --site /data --timeout 5 --limit 'web:!old' " +
      "--accept-new-host-keys --ask-sudo-password",
  );
});
