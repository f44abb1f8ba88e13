/**
 * What the tests of bad input share: a desk at which bundles are tried, and how a refusal must look. Between
 * drydock and the real registry stands a proxy that counts requests, and shows faults that the real one
 * does not.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import { join } from "node:path";
import { stringify } from "yaml";
import { hostPlatform } from "../lab/host-files.ts";
import { makeImage, type TestImage } from "../lab/images.ts";
import type { RunResult } from "../lab/process.ts";
import { startRegistry } from "../lab/registry.ts";
import { pushNamed } from "../lab/upstream.ts";
import { makeFolder } from "./connected.ts";
import { drydock } from "./drydock.ts";

/** What is to be done with one request instead of answering it as the registry does. */
export type Fault =
  /** half of the body, then the connection is closed */
  | { kind: "closes in the middle" }
  /** as long as the right ones */
  | { kind: "sends other bytes" }
  /** the registry's own answer, after `during` */
  | { kind: "answers later"; during: () => Promise<void> };

export interface CountingProxy {
  /** 127.0.0.1:PORT */
  host: string;
  /** the paths asked for so far */
  asked: string[];
  /** Whatever path holds this text: a digest, say. Undefined ends it. */
  fault: { at: string; is: Fault } | undefined;
  stop(): Promise<void>;
}

export async function startProxy(registryHost: string): Promise<CountingProxy> {
  const server = createServer((incoming, response) => {
    const path = incoming.url ?? "";
    proxy.asked.push(path);
    const is = proxy.fault !== undefined && path.includes(proxy.fault.at) ? proxy.fault.is : undefined;
    forward(registryHost, incoming, response, is).catch(() => response.destroy());
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  const proxy: CountingProxy = {
    host: `127.0.0.1:${address.port}`,
    asked: [],
    fault: undefined,
    stop: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
  return proxy;
}

async function forward(
  host: string,
  { method = "GET", url, headers }: IncomingMessage,
  response: ServerResponse,
  fault: Fault | undefined,
): Promise<void> {
  if (fault?.kind === "answers later") await fault.during();
  const ask = request(`http://${host}${url}`, { method, headers: { ...headers, host } }).end();
  const [answer]: [IncomingMessage] = (await once(ask, "response")) as [IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of answer) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  if (fault?.kind === "sends other bytes")
    body.writeUInt8(body.readUInt8(body.length - 1) ^ 1, body.length - 1);
  response.writeHead(answer.statusCode ?? 500, answer.headers);
  if (fault?.kind !== "closes in the middle") return void response.end(body);
  response.write(body.subarray(0, Math.floor(body.length / 2)), () => response.destroy());
}

export interface Desk {
  /** everything is in here */
  folder: string;
  /** the registry as drydock is told to reach it; it holds `app` as team/app:1 and a registry's image */
  proxy: CountingProxy;
  app: TestImage;
  /** a manifest's beginning: name, addresses and the registry's image */
  manifest: Record<string, unknown>;
  /** Runs `drydock bundle manifest.yaml -o site.tar` in a new folder that holds these files. */
  bundle(files: { [name: string]: string | Buffer }, options?: TryOptions): Promise<Tried>;
  /** Adds an image: "team/other:1". */
  push(name: string, image: TestImage): Promise<void>;
  stop(): Promise<void>;
}

export interface TryOptions {
  /** besides -o and --plain-http */
  flags?: string[];
  /** site.tar if left out */
  output?: string;
  env?: NodeJS.ProcessEnv;
}

export interface Tried extends RunResult {
  /** the folder it ran in */
  folder: string;
  /** what stands there afterwards, sorted */
  left: string[];
}

/** What was read of upstream stays here when a build fails in its plan: site.tar is its output. */
export const journal = "site.tar.partial.journal";

/** @param options.registryImage one of a few bytes if left out, for bundles that are never installed */
export async function startDesk(label: string, options: { registryImage?: TestImage } = {}): Promise<Desk> {
  const parts = new AsyncDisposableStack();
  const { path: folder, remove } = await makeFolder(label);
  parts.defer(remove);
  try {
    const registry = await startRegistry({ folder });
    parts.defer(registry.stop);
    const proxy = await startProxy(registry.host);
    parts.defer(proxy.stop);
    const app = makeImage({ platform: hostPlatform, files: { "app.txt": "the application\n" } });
    const none = makeImage({ platform: hostPlatform, files: { "registry.txt": "no registry\n" } });
    await pushNamed(registry.host, "library/registry:2", options.registryImage ?? none);
    await pushNamed(registry.host, "team/app:1", app);
    let runs = 0;
    return {
      ...{ folder, proxy, app },
      manifest: {
        name: "plant-7",
        addresses: ["registry.site.lan", "198.18.18.10"],
        platforms: [hostPlatform],
        registry: { image: `${proxy.host}/library/registry:2` },
      },
      push: (name, image) => pushNamed(registry.host, name, image),
      bundle: async (files, { flags = [], output = "site.tar", env = {} } = {}) => {
        runs += 1;
        const at = join(folder, `run-${runs}`);
        await mkdir(at);
        for (const [name, content] of Object.entries(files)) await writeFile(join(at, name), content);
        const args = ["bundle", "manifest.yaml", "-o", output, "--plain-http", proxy.host, ...flags];
        // Nothing of whoever runs the tests: neither keys nor credentials.
        const own = {
          HOME: folder,
          XDG_DATA_HOME: join(folder, "data"),
          DOCKER_CONFIG: join(folder, "docker"),
        };
        const result = await drydock(args, { cwd: at, env: { ...own, ...env } });
        return { ...result, folder: at, left: (await readdir(at)).sort() };
      },
      stop: () => parts.disposeAsync(),
    };
  } catch (error) {
    await parts.disposeAsync();
    throw error;
  }
}

/** A manifest as a file. */
export function manifestFile(...parts: object[]): { "manifest.yaml": string } {
  return { "manifest.yaml": stringify(Object.assign({}, ...parts)) };
}

/**
 * Checks exit code, error and what stays: a first line that says what is wrong, and below it what to do.
 * @param wanted.says each must stand in the error: the input's name, and what is wrong with it
 */
export function assertRefused(
  { code, stdout, stderr }: RunResult,
  wanted: { exit: number; says: (string | RegExp)[] },
): void {
  assert.equal(code, wanted.exit, `${stdout}${stderr}`);
  assert.equal(stdout, "");
  const error = stderr.slice(stderr.search(/^Error: /m));
  assert.match(error, /^Error: \S/);
  for (const each of wanted.says) {
    const found = typeof each === "string" ? error.includes(each) : each.test(error);
    assert.ok(found, `wanted ${each} in:\n${error}`);
  }
  // Nobody should have to read what is meant for programmers.
  assert.doesNotMatch(error, /\bbug\b|^ +at |\bE[A-Z]{4,}:|undefined|\[object/m);
  if (process.env.SHOW_ERRORS !== undefined) process.stderr.write(`exit ${code}\n${error}\n`);
}
