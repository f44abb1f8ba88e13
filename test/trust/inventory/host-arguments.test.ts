import assert from "node:assert/strict";
import { test } from "node:test";
import { DrydockError } from "../../../src/errors.ts";
import { readHostArguments } from "../../../src/trust/inventory/host-arguments.ts";

test("hosts on the command line, in all their forms", () => {
  const texts = [
    ...[
      "root@10.0.0.5",
      "admin@host2:2222",
      "[::1]:22",
      "ssh://user@h",
      "ssh://h2:2200/",
      "fd00::5",
      "[fd00::6]",
    ],
    ...["DOM\\ops@h3", "me@corp@h4", "root@10.0.0.5", "same:22", "same:23"],
  ];
  const clients = readHostArguments(texts).map(({ where, ...client }) => {
    assert.match(where, /^host "/);
    return client;
  });
  assert.deepEqual(clients, [
    { name: "10.0.0.5", host: "10.0.0.5", user: "root" },
    { name: "host2", host: "host2", port: 2222, user: "admin" },
    { name: "::1", host: "::1", port: 22 },
    { name: "h", host: "h", user: "user" },
    { name: "h2", host: "h2", port: 2200 },
    { name: "fd00::5", host: "fd00::5" },
    { name: "fd00::6", host: "fd00::6" },
    { name: "h3", host: "h3", user: "DOM\\ops" },
    { name: "h4", host: "h4", user: "me@corp" },
    { name: "same:22", host: "same", port: 22 },
    { name: "same:23", host: "same", port: 23 },
  ]);
});

for (const text of [
  ...[
    "",
    "-oProxyCommand=x",
    "root@",
    "@h",
    "h:",
    "h:0",
    "h:65536",
    "h:22x",
    "a b",
    "-l@h",
    "h;id",
    "$(id)@h",
  ],
  ...["[h]:22", "[::1", "http://h", "ssh://", "a/b", "[fd00::1]2222"],
]) {
  test(`${JSON.stringify(text)} is refused`, () => {
    assert.throws(
      () => readHostArguments([text]),
      (error) =>
        error instanceof DrydockError &&
        error.kind === "usage" &&
        error.message.includes("wanted [USER@]HOST"),
    );
  });
}
