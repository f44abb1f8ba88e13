/**
 * Runs a test file on a host of its own: a network namespace without a way out, its own /etc, /run and
 * /srv, and a real Docker engine. The file asks for it first of all; from outside it is then started once
 * more inside, reports from there to the test runner, and the process outside ends with its exit code.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { startEngine } from "../lab/engine.ts";
import { startHost } from "../lab/host.ts";
import { makeNetns } from "../lab/netns.ts";

/** The host's addresses besides 127.0.0.1. */
export const hostAddress = "198.18.21.10";
export const secondAddress = "198.18.21.11";

const marker = "DRYDOCK_INSIDE";

/**
 * @param file the test file's own import.meta.url
 * @returns a folder for its files, inside only; DOCKER_HOST names the engine there
 */
export async function goInside(file: string): Promise<string> {
  const there = process.env[marker];
  if (there !== undefined) return there;
  process.exit(await respawn(fileURLToPath(file)));
}

async function respawn(file: string): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), "drydock-inside-"));
  await using undo = new AsyncDisposableStack();
  undo.defer(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }));
  const netns = await makeNetns("install", [hostAddress, secondAddress]);
  undo.defer(netns.delete);
  const host = await startHost({ folder, netns: netns.name, hosts: [] });
  undo.defer(host.stop);
  // Its containers are asked through their published ports alone, which need no rules of the firewall.
  const args = ["--iptables=false"];
  const engine = await startEngine(host, { folder, name: netns.name, args });
  undo.defer(engine.stop);

  const context = process.env.NODE_TEST_CONTEXT;
  const env = {
    ...host.env,
    [marker]: folder,
    ...(context === undefined ? {} : { NODE_TEST_CONTEXT: context }),
  };
  const [program, words] = host.enter(process.execPath, [...process.execArgv, file]);
  const child = spawn(program, words, { env, stdio: ["ignore", "inherit", "inherit"] });
  const stop = (signal: NodeJS.Signals) => child.kill(signal);
  process.on("SIGTERM", stop).on("SIGINT", stop);
  const [code] = await once(child, "exit");
  return typeof code === "number" ? code : 1;
}
