/** The connected side of an end-to-end test: a user's home with credentials, and bundles made there. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import type { RunResult } from "../lab/process.ts";
import { startUpstream, type Upstream } from "../lab/upstream.ts";
import { drydock } from "./drydock.ts";

export interface Connected {
  upstream: Upstream;
  /** where manifests, seeds and bundles lie */
  folder: string;
  /** $XDG_DATA_HOME/drydock/keys */
  keyStore: string;
  /** HOME and XDG_DATA_HOME, for runs that it has no function for */
  env: NodeJS.ProcessEnv;
  /** Runs `drydock bundle` on FOLDER/NAME.yaml, which holds `manifest`, whatever comes of it. */
  tryBundle(name: string, manifest: object, options?: BundleOptions): Promise<RunResult>;
  /** The same, and it must succeed. */
  bundle(name: string, manifest: object, options?: BundleOptions): Promise<BuiltBundle>;
  stop(): Promise<void>;
}

export interface BundleOptions {
  flags?: string[];
  env?: NodeJS.ProcessEnv;
}

export interface BuiltBundle {
  stdout: string;
  stderr: string;
  /** the archive */
  file: string;
  /** its digest, as `bundle` printed it */
  digest: string;
  /** the code that `bundle` made and printed; empty if it made none */
  paperCode: string;
  /** a file that holds the code */
  codeFile: string;
}

/** The folder is the caller's to remove, after stop(). */
export async function startConnected(folder: string): Promise<Connected> {
  const upstream = await startUpstream(folder);
  const { host, account } = upstream.closed;
  const home = join(folder, "home");
  const auth = Buffer.from(`${account.user}:${account.password}`).toString("base64");
  await mkdir(join(home, ".docker"), { recursive: true });
  await writeFile(join(home, ".docker/config.json"), JSON.stringify({ auths: { [host]: { auth } } }));

  const env = { HOME: home, XDG_DATA_HOME: join(home, "data") };
  const tryBundle: Connected["tryBundle"] = async (name, manifest, options = {}) => {
    await writeFile(join(folder, `${name}.yaml`), stringify(manifest));
    const plain = [upstream.host, host].flatMap((each) => ["--plain-http", each]);
    const args = ["bundle", `${name}.yaml`, "-o", `${name}.tar`, ...plain, ...(options.flags ?? [])];
    return await drydock(args, { cwd: folder, env: { ...env, ...options.env } });
  };
  return {
    ...{ upstream, folder, env, tryBundle, stop: upstream.stop },
    keyStore: join(home, "data/drydock/keys"),
    bundle: async (name, manifest, options) => {
      const result = await tryBundle(name, manifest, options);
      assert.equal(result.code, 0, result.stderr);
      const digest = /^digest +([0-9a-f]{64})$/m.exec(result.stdout)?.[1] ?? "";
      const paperCode = /^ +code +(\S+)$/m.exec(result.stdout)?.[1] ?? "";
      const codeFile = join(folder, `${name}.code`);
      await writeFile(codeFile, `${paperCode}\n`, { mode: 0o600 });
      const { stdout, stderr } = result;
      return { stdout, stderr, file: join(folder, `${name}.tar`), digest, paperCode, codeFile };
    },
  };
}

/** A folder below the temporary one; gone when it is disposed of. */
export async function makeFolder(label: string): Promise<{ path: string; remove(): Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), `drydock-e2e-${label}-`));
  return { path, remove: () => rm(path, { recursive: true, force: true, maxRetries: 5 }) };
}
