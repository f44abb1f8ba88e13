/** The report of the clients, and the exit code that it gives. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { clientOptions, clientReport, exitCodeOf } from "../../src/cli/clients.ts";
import type { ClientResult } from "../../src/trust/client.ts";

const hosts: ClientResult[] = [
  { name: "web", status: "changed", proven: true, proof: "engine", provenAs: "registry.plant7.lan" },
  { name: "db-2", status: "ok", proven: false, reason: "forwarding is off", hint: "Allow it." },
  { name: "old", status: "refused", proven: false, reason: "permission denied", hint: "Add the key." },
  { name: "gone", status: "unreachable", proven: false, reason: "no route" },
];

test("a line for each client, the reasons with their hints, and a sum", () => {
  assert.equal(
    clientReport(hosts),
    [
      "web   changed      proven by its Docker engine as registry.plant7.lan",
      "db-2  ok           not proven",
      "old   refused",
      "gone  unreachable",
      "",
      "db-2: forwarding is off\n  Allow it.",
      "",
      "old: permission denied\n  Add the key.",
      "",
      "gone: no route",
      "",
      "2 clients trust the CA, 1 proven, 2 failed",
    ].join("\n"),
  );
});

test("one client, all well: singular, and nothing about failures", () => {
  assert.equal(
    clientReport(hosts.slice(0, 1)),
    "web  changed  proven by its Docker engine as registry.plant7.lan\n\n1 client trusts the CA, 1 proven",
  );
});

test("what a client said cannot steer the terminal", () => {
  const evil = { ...hosts[3], reason: "\u001b[2Jno\r route" } as ClientResult;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  assert.doesNotMatch(clientReport([evil]), /[\u0000-\u0009\u000b-\u001f]/);
});

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
