/** Client hosts for the bench: each a real sshd on an address of its own, with an /etc of its own, and Docker alone. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import pLimit from "p-limit";
import { makeKeys, without, writeInventory, writeKnownHosts } from "../../lab/clients.ts";
import { run } from "../../lab/process.ts";
import type { Site } from "../../lab/site.ts";
import { startSshd, type TestSshd } from "../../lab/sshd.ts";

export class Hosts {
  /** of the first so many: Ansible's form, which both read */
  readonly inventory: (number: number) => string;
  readonly knownHosts: string;
  readonly #all: TestSshd[];

  private constructor(folder: string, all: TestSshd[]) {
    this.#all = all;
    this.inventory = (number) => join(folder, `${number}.ini`);
    this.knownHosts = join(folder, "known_hosts");
  }

  /** @param numbers how many hosts are measured: the largest is started @param parts what is stopped in the end */
  static async start(
    site: Site,
    folder: string,
    numbers: number[],
    parts: AsyncDisposableStack,
  ): Promise<Hosts> {
    const addresses = Array.from({ length: Math.max(...numbers) }, (_, at) => addressOf(at));
    const input = addresses.map((address) => `address add ${address}/32 dev lo\n`).join("");
    await run("ip", ["-netns", site.netns, "-batch", "-"], { input });
    const { file: keyFile, ours: authorizedKey } = await makeKeys(join(folder, "keys"));
    const limit = pLimit(8);
    const all = await Promise.all(
      addresses.map((address, at) =>
        limit(async () => {
          const own = join(folder, `host-${at}`);
          await mkdir(own, { recursive: true });
          await writeFile(
            join(own, "hosts"),
            `127.0.0.1 localhost\n${site.addresses[0]} ${site.registryName}\n`,
          );
          const sshd = await startSshd({
            ...{ folder: own, address, netns: site.netns, authorizedKey },
            run: without("podman", "skopeo", "buildah", "crio"),
          });
          parts.defer(sshd.stop);
          return sshd;
        }),
      ),
    );
    const hosts = new Hosts(folder, all);
    for (const number of numbers) {
      const clients = all.slice(0, number).map(({ address, port }, at) => {
        return { name: `host-${at}`, address, port, user: "root", keyFile };
      });
      await writeInventory(clients, hosts.inventory(number));
    }
    await writeKnownHosts(all, hosts.knownHosts);
    return hosts;
  }

  /** The files of /etc in which the first host has this text, a line of the CA say. */
  async filesWith(text: string): Promise<string[]> {
    const { stdout } = await this.#at(0, ["grep", "-rlF", "--", text, "/etc"], true);
    return stdout.split("\n").filter(Boolean).sort();
  }

  /** Takes these files and the folders that hold nothing else away from the first so many. */
  async remove(files: string[], number: number): Promise<void> {
    const script = 'for file; do rm -f "$file"; rmdir -p "$(dirname "$file")" 2>/dev/null || :; done';
    await this.#each(number, ["sh", "-c", script, "sh", ...files]);
  }

  /** @throws Error if one of the first so many lacks this line in one of these files. */
  async check(files: string[], line: string, number: number): Promise<void> {
    const script = 'line=$1; shift; for file; do grep -qxF -- "$line" "$file"; done';
    await this.#each(number, ["sh", "-ec", script, "sh", line, ...files]);
  }

  async #each(number: number, command: string[]): Promise<void> {
    const limit = pLimit(8);
    await Promise.all(Array.from({ length: number }, (_, at) => limit(() => this.#at(at, command))));
  }

  #at(at: number, command: string[], mayFail = false) {
    return run("nsenter", ["--target", String(this.#all[at]?.pid), "--mount", "--", ...command], { mayFail });
  }
}

/** 198.18.64.1, 198.18.64.2 … 198.18.65.1 …: of the range for benchmarks, RFC 2544. */
function addressOf(at: number): string {
  return `198.18.${64 + Math.floor(at / 250)}.${(at % 250) + 1}`;
}
