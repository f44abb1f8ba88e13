/** The report of the clients: a line for each of a few, what many have in common. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { clientFindings, clientReport } from "../../src/cli/describe-clients.ts";
import { hostNames } from "../../src/cli/host-names.ts";
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

test("where Docker was installed stands in one line for the same", () => {
  const installed = { engine: "20.10.24+dfsg1", packages: ["docker.io 20.10.24+dfsg1-1", "runc 1.1.5"] };
  const [web] = hosts;
  assert.ok(web);
  const some = ["web-1", "web-2", "web-3"].map((name) => ({ ...web, name, installed }));
  const report = clientReport([
    ...some,
    { ...web, installed: { engine: "28.5.1", packages: ["docker 28.5.1"] } },
  ]);
  const [, same, other] = report.split("\n\n");
  assert.equal(same, "web-1 to web-3: Docker 20.10.24+dfsg1 was installed, 2 packages");
  assert.equal(other, "web: Docker 28.5.1 was installed, 1 package");
});

test("what a client said cannot steer the terminal", () => {
  const evil = { ...hosts[3], reason: "\u001b[2Jno\r route" } as ClientResult;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  assert.doesNotMatch(clientReport([evil]), /[\u0000-\u0009\u000b-\u001f]/);
});

test("who has the very same stands together, and what to type to try again stands in the end", () => {
  const reason = "permission denied";
  const same: ClientResult[] = ["a", "b"].map((name) => ({ name, status: "refused", proven: false, reason }));
  assert.equal(
    clientReport(same, { again: "drydock trust --retry --clients hosts.ini" }),
    [
      "a  refused",
      "b  refused",
      "",
      "a, b: permission denied",
      "",
      "0 clients trust the CA, 0 proven, 2 failed",
      "To try those again: `drydock trust --retry --clients hosts.ini`",
    ].join("\n"),
  );
  assert.doesNotMatch(clientReport(hosts.slice(0, 1), { again: "drydock" }), /again/);
});

/** 300 hosts, of which every tenth has one of three troubles. */
const many: ClientResult[] = Array.from({ length: 300 }, (_, at) => {
  const name = `web-${String(at + 1).padStart(3, "0")}`;
  if (at % 10 !== 0) return { name, status: "changed", proven: true, proof: "tls", provenAs: "r.lan" };
  const hint = "Is it up, and not behind a firewall?";
  const troubles = [
    { status: "unreachable", reason: `no answer from 10.0.1.${at % 250}:22 within 20 s`, hint },
    {
      status: "refused",
      reason: `login as "root" with the key was refused`,
      hint: "Put the public key there.",
    },
    { status: "ok", reason: "not proven: its sshd forwards no streams" },
  ] as const;
  return { name, proven: false, ...troubles[(at / 10) % 3] } as ClientResult;
});

test("many are told of by what they have in common, each kind of trouble once, by name", () => {
  const names = (first: number) =>
    Array.from({ length: 10 }, (_, at) => `web-${String(first + at * 30).padStart(3, "0")}`).join(", ");
  assert.equal(
    clientReport(many),
    [
      "270  changed      proven over TLS as r.lan",
      " 10  ok           not proven",
      " 10  unreachable",
      " 10  refused",
      "",
      `10 unreachable: ${names(1)}`,
      "  for example web-001: no answer from 10.0.1.0:22 within 20 s",
      "    Is it up, and not behind a firewall?",
      "",
      `10 refused: ${names(11)}`,
      '  login as "root" with the key was refused',
      "    Put the public key there.",
      "",
      `10 ok, not proven: ${names(21)}`,
      "  not proven: its sshd forwards no streams",
      "",
      "280 clients trust the CA, 270 proven, 20 failed",
    ].join("\n"),
  );
  for (const width of [80, 120]) {
    const lines = clientReport(many, { width }).split("\n");
    assert.ok(lines.every((line) => [...line].length <= width));
    assert.ok(lines.length < 30, String(lines.length));
  }
});

test("preflight's table has a line for each of a few, and one for each kind of trouble of many", () => {
  const texts = (hosts: ClientResult[]) => clientFindings(hosts).map(({ text }) => text);
  assert.deepEqual(texts(many.slice(0, 40)), [
    "37 of 40 can be logged in to, with root's rights",
    "web-001: no answer from 10.0.1.0:22 within 20 s",
    'web-011: login as "root" with the key was refused',
    "web-031: no answer from 10.0.1.30:22 within 20 s",
  ]);
  const grouped = texts([...many, ...many.map((host) => ({ ...host, name: `x${host.name}` }))]);
  assert.equal(grouped.length, 3);
  assert.match(
    grouped[1] ?? "",
    /^web-001, .*, xweb-271, for example web-001: no answer from 10\.0\.1\.0:22/,
  );
});

test("names in a row are a range, many are cut", () => {
  for (const [names, text] of [
    [["web-2", "web-1", "web-10", "web-3", "db"], "db, web-1 to web-3, web-10"],
    [["a9.lan", "a10.lan", "a11.lan", "b1", "b2"], "a9.lan to a11.lan, b1, b2"],
    [["10.0.0.9", "10.0.0.10", "10.0.0.11", "10.0.1.12"], "10.0.0.9 to 10.0.0.11, 10.0.1.12"],
    [["r1-c2", "r2-c3", "r3-c4"], "r1-c2, r2-c3, r3-c4"],
    [[], ""],
  ] as const) {
    assert.equal(hostNames(names), text);
  }
  const apart = Array.from({ length: 90 }, (_, at) => `h${at * 2}`);
  assert.match(hostNames(apart), /^h0, h2, .*, h78 and 50 more$/);
});
