import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { test } from "node:test";

const program = join(import.meta.dirname, "frame.ts");

function drydock(...argv: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, ...argv], { encoding: "utf8" });
  return { status, stdout, stderr };
}

test("a command's result goes to stdout, as text or as JSON", () => {
  assert.deepEqual(drydock("work", "a"), { status: 0, stdout: "worked on a\n", stderr: "" });
  assert.deepEqual(JSON.parse(drydock("work", "a", "--json").stdout), { thing: "a" });
});

test("help lists the commands", () => {
  for (const argv of [[], ["--help"], ["-h"], ["help"]]) {
    const { status, stdout, stderr } = drydock(...argv);
    assert.equal(status, 0);
    assert.match(stdout, /work +Works, or fails as it is told\./);
    assert.equal(stderr, "");
  }
});

test("a command's help has its examples and its exit codes", () => {
  for (const argv of [
    ["work", "--help"],
    ["help", "work"],
    ["work", "a", "-h"],
  ]) {
    const { status, stdout } = drydock(...argv);
    assert.equal(status, 0);
    assert.match(stdout, /\$ drydock work b --size 3/);
    assert.match(
      stdout,
      /EXIT CODES\n {4}0 {2}done\n {4}1 {2}a bug.*\n {4}2 .*\n {4}4 .*\n {2}130 {2}interrupted/,
    );
  }
});

test("an unknown flag ends with 2 and the flag that was probably meant", () => {
  assert.deepEqual(drydock("work", "--sise", "3"), {
    status: 2,
    stdout: "",
    stderr: "Error: nonexistent flag: --sise\nDid you mean --size? See `drydock work --help`.\n",
  });
});

test("an unknown command ends with 2 and the one that was probably meant", () => {
  assert.deepEqual(drydock("wrok"), {
    status: 2,
    stdout: "",
    stderr: 'Error: there is no command "wrok"\nDid you mean `drydock work`? See `drydock --help`.\n',
  });
  assert.equal(drydock("--wrok").status, 2);
});

test("wrong usage dumps neither argv nor configuration with --json", () => {
  for (const argv of [["--sise"], ["--fail", "no"], ["--size", "x"], ["a", "b"], ["--size"]]) {
    const { status, stdout, stderr } = drydock("work", ...argv, "--json");
    assert.equal(status, 2, argv.join(" "));
    const { error, ...rest } = JSON.parse(stdout);
    assert.deepEqual(rest, {});
    assert.deepEqual(Object.keys(error).sort(), ["exitCode", "hint", "kind", "message"]);
    assert.deepEqual([error.kind, error.exitCode], ["usage", 2]);
    assert.equal(stderr, "");
  }
  assert.equal(JSON.parse(drydock("wrok", "--json").stdout).error.kind, "usage");
});

test("an expected error shows message and hint, no stack, no control characters", () => {
  assert.deepEqual(drydock("work", "--fail", "expected"), {
    status: 4,
    stdout: "",
    stderr: 'Error: read "x": wanted 3 bytes, got 2\nCopy it again.\n',
  });
  const { status, stdout } = drydock("work", "--fail", "expected", "--json");
  assert.equal(status, 4);
  assert.equal(JSON.parse(stdout).error.hint, "Copy it again.");
  assert.equal(JSON.parse(stdout).error.kind, "integrity");
});

test("--json after -- is an argument", () => {
  assert.equal(drydock("work", "--", "--json").stdout, "worked on --json\n");
});

test("a bug shows its stack and asks for a report", () => {
  for (const [how, text] of [
    ["bug", "x is not iterable"],
    ["later", "thrown where nobody waits"],
  ] as const) {
    const { status, stderr } = drydock("work", "--fail", how);
    assert.equal(status, 1);
    assert.match(stderr, /^Error: this is a bug in drydock; please report it/);
    assert.match(stderr, new RegExp(`TypeError: ${text}\n +at .*frame\\.ts`));
  }
  const { error } = JSON.parse(drydock("work", "--fail", "bug", "--json").stdout);
  assert.match(error.stack, /frame\.ts/);
});

test("a full disk that nobody has put into words is the host's failure, no bug", () => {
  const { status, stderr } = drydock("work", "--fail", "disk");
  assert.equal(status, 9);
  assert.equal(stderr, "Error: ENOSPC: no space left on device, write\n");
});

test("an interruption ends with 130 and says what is kept", async () => {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    const child = spawn(process.execPath, [program, "work", "--wait"], { stdio: ["ignore", "pipe", "pipe"] });
    let stderr = "";
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
      if (!stderr.includes("waiting") && `${stderr}${chunk}`.includes("waiting")) child.kill(signal);
      stderr += chunk;
    });
    const [code] = await once(child, "close");
    assert.equal(code, 130);
    assert.match(stderr, /Interrupted: The half of it is kept\.\n$/);
  }
});

test("a reader that closes the pipe is no error", async () => {
  const child = spawn(process.execPath, [program, "work", "a"], { stdio: ["ignore", "pipe", "pipe"] });
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
    stderr += chunk;
  });
  child.stdout.destroy();
  const [code] = await once(child, "close");
  assert.deepEqual([code, stderr], [0, ""]);
});
