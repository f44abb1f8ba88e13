import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { describe, it } from "node:test";
import { promisify } from "node:util";
import { splitWords } from "../../../src/trust/inventory/shell-words.ts";
import { readSshArguments } from "../../../src/trust/inventory/ssh-arguments.ts";

const run = promisify(execFile);

describe("arguments for ssh", () => {
  for (const text of [
    "-J bastion",
    "-Jops@bastion:2200,second",
    "-o ProxyJump=[fd00::1]:2200 -C -q",
    "-oProxyJump=none",
    "-o 'ProxyJump ops@bastion'",
    "-o ProxyJump=a -o ProxyJump=b",
    "-qCp 2201 -lops -i /etc/passwd -i /etc/group",
    '-o Port=9 -p 10 -o "User = them" -o \'IdentityFile="/etc/passwd"\'',
    "-o ControlMaster=auto -o ControlPersist=60s -o ServerAliveInterval=5 -o StrictHostKeyChecking=yes",
    "-o ProxyCommand='nc -x proxy:1080 %h %p' -o ProxyJump=b",
    "-o ProxyJump=b -o ProxyCommand='nc %h %p'",
    "",
  ]) {
    it(`${JSON.stringify(text)} mean to us what they mean to ssh`, async () => {
      const words = splitWords(text, { comments: false }) ?? [];
      // It only says what it would do: the host is not connected to.
      const { stdout } = await run("ssh", ["-F", "none", "-G", ...words, "host.lan"]);
      const theirs = (key: string) =>
        stdout
          .split("\n")
          .find((line) => line.startsWith(`${key} `))
          ?.slice(key.length + 1);
      const ours = readSshArguments(text);
      assert.ok(ours !== undefined);
      assert.deepEqual([ours.ignored, ours.unread], [[], []]);
      assert.equal(String(ours.port ?? 22), theirs("port"));
      if (ours.user !== undefined) assert.equal(ours.user, theirs("user"));
      if (ours.key !== undefined) assert.equal(ours.key, theirs("identityfile"));
      const jumps = ours.jumps?.map(({ host, port, user }) => {
        const name = port !== undefined && host.includes(":") ? `[${host}]` : host;
        return `${user === undefined ? "" : `${user}@`}${name}${port === undefined ? "" : `:${port}`}`;
      });
      assert.equal(
        jumps === undefined || jumps.length === 0 ? undefined : jumps.join(","),
        theirs("proxyjump"),
      );
      assert.equal(ours.proxyCommand, theirs("proxycommand"));
    });
  }

  for (const [text, jumps] of [
    ['-o ProxyCommand="ssh -W %h:%p -q ops@gw.lan"', [{ host: "gw.lan", user: "ops" }]],
    ['-o ProxyCommand="ssh gw -W %h:%p"', [{ host: "gw" }]],
    [
      '-o ProxyCommand="exec /usr/bin/ssh -qW [%h]:%p -p2200 -l ops gw"',
      [{ host: "gw", port: 2200, user: "ops" }],
    ],
    [
      '-o ProxyCommand="ssh -i ~/.ssh/gw -W %h:%p -J first ssh://gw:22"',
      [{ host: "first" }, { host: "gw", port: 22, key: "~/.ssh/gw" }],
    ],
    ["-o ProxyCommand=none", []],
  ] as const) {
    it(`${text} is a jump, made without a command`, () => {
      const said = readSshArguments(text);
      assert.deepEqual(said, { ignored: [], unread: [], jumps });
    });
  }

  for (const command of [
    "ssh gw nc %h %p",
    "ssh -W %h:%p gw; id",
    "ssh -W %h:22 gw",
    "ssh -F other -W %h:%p gw",
    "sshpass -p x ssh -W %h:%p gw",
    "ssh -W %h:%p $GW",
    "ssh -W %h:%p -oProxyCommand=x gw",
  ]) {
    it(`${JSON.stringify(command)} stays a command`, () => {
      assert.equal(readSshArguments(`-o ProxyCommand="${command}"`)?.proxyCommand, command);
    });
  }

  it("that are less strict, or others, are named", () => {
    const said = readSshArguments(
      "-o StrictHostKeyChecking=no -A -o UserKnownHostsFile=/dev/null -4 -F x host -oX=1",
    );
    assert.deepEqual(said?.ignored, ["StrictHostKeyChecking", "-A", "UserKnownHostsFile"]);
    assert.deepEqual(said?.unread, ["-4", "-F", "X", '"host"']);
    assert.equal(readSshArguments("-o 'x"), undefined);
  });
});
