/** A real registry (Debian's docker-registry, distribution 2.8) as a process on a port of its own. */
import { mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { stringify } from "yaml";
import { run, startService, waitFor } from "./process.ts";

export interface TestRegistry {
  /** `127.0.0.1:PORT`, as it stands in a reference */
  host: string;
  /** the folder that holds docker/registry/v2 */
  storage: string;
  /** what it has said so far */
  log: string;
  stop(): Promise<void>;
}

export interface RegistryOptions {
  /** Its configuration, log and (unless `storage` says otherwise) storage go into a new folder in this one. */
  folder: string;
  storage?: string;
  htpasswd?: { user: string; password: string };
  /** file paths */
  tls?: { certificate: string; key: string };
  /** 127.0.0.1 if left out */
  address?: string;
  /** a free one if left out */
  port?: number;
  readOnly?: boolean;
  /** the name of a network namespace below /run/netns */
  netns?: string;
}

/** Starts a registry, which answers when this returns. */
export async function startRegistry(options: RegistryOptions): Promise<TestRegistry> {
  await mkdir(options.folder, { recursive: true });
  const home = await mkdtemp(join(resolve(options.folder), "registry-"));
  const storage = resolve(options.storage ?? join(home, "storage"));
  await mkdir(storage, { recursive: true });
  const config = join(home, "config.yml");
  await writeFile(config, stringify(await configuration(options, home, storage)));

  const command = ["docker-registry", "serve", config];
  if (options.netns !== undefined) command.unshift("nsenter", `--net=/run/netns/${options.netns}`);
  const [program = "", ...args] = command;
  const service = await startService(program, args, { log: join(home, "registry.log") });
  try {
    // It says so when it has bound its port: from then on the kernel keeps a connection until it is answered.
    const port = await waitFor("the registry", service, 20, async () => {
      return /listening on [^"]*:(\d+)/.exec(await service.readLog())?.[1];
    });
    const host = `${options.address ?? "127.0.0.1"}:${port}`;
    return { host, storage, log: service.log, stop: service.stop };
  } catch (error) {
    await service.stop();
    throw error;
  }
}

async function configuration(options: RegistryOptions, home: string, storage: string): Promise<object> {
  const http: Record<string, unknown> = {
    addr: `${options.address ?? "127.0.0.1"}:${options.port ?? 0}`,
    secret: "several registries over one storage would share it",
  };
  if (options.tls !== undefined) http.tls = options.tls;
  const config: Record<string, unknown> = {
    version: 0.1,
    storage: {
      filesystem: { rootdirectory: storage },
      delete: { enabled: true },
      maintenance: {
        uploadpurging: { enabled: false },
        readonly: { enabled: options.readOnly ?? false },
      },
    },
    http,
  };
  if (options.htpasswd !== undefined) {
    const path = join(home, "htpasswd");
    const { user, password } = options.htpasswd;
    await writeFile(path, `${user}:${await bcrypt(password)}\n`, { mode: 0o600 });
    config.auth = { htpasswd: { realm: "the lab's registry", path } };
  }
  return config;
}

/** The only form that the registry takes. Perl is on every Debian, and its crypt() is libxcrypt's. */
async function bcrypt(password: string): Promise<string> {
  const script = 'chomp(my $p = <STDIN>); print crypt($p, q($2b$04$) . "abcdefghijklmnopqrstuu")';
  const { stdout } = await run("perl", ["-e", script], { input: `${password}\n` });
  if (!stdout.startsWith("$2b$")) throw new Error(`hash a password: perl gave ${JSON.stringify(stdout)}`);
  return stdout;
}
