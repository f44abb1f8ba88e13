/**
 * `npm run bench -- --only trust`: the CA to many hosts, by drydock with its proof and by an equal playbook of
 * Ansible's without one. Hosts, registry and both commands are on this machine.
 */
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { run } from "../../lab/process.ts";
import { type Site, startSite } from "../../lab/site.ts";
import { Fixtures } from "../fixtures.ts";
import { type Measurement, measure } from "../measure.ts";
import type { BenchOptions } from "../options.ts";
import { Ansible } from "./ansible.ts";
import { Hosts } from "./hosts.ts";
import type { TrustRow } from "./report.ts";

/** Ansible takes minutes. */
const mostRuns = 3;

/** @param folder a new one, the caller's to remove @param parts what is stopped in the end */
export async function measureTrust(
  options: BenchOptions,
  folder: string,
  parts: AsyncDisposableStack,
  tell: (text: string) => void,
): Promise<TrustRow[]> {
  tell("installing a registry");
  const { fixtures, site } = await installSite(options, folder, parts);
  tell(`starting ${Math.max(...options.hosts)} hosts`);
  const hosts = await Hosts.start(site, join(folder, "hosts"), options.hosts, parts);
  const ca = join(site.siteDir, "certs/ca.pem");
  const caLine = (await readFile(ca, "utf8")).split("\n")[1] ?? "";
  const trust = (number: number) => {
    const args = ["trust", "--clients", hosts.inventory(number), "--known-hosts", hosts.knownHosts];
    const { program, args: words } = fixtures.drydock(...args);
    const [enter, all] = site.enter(program, words);
    return { program: enter, args: all, env: site.env };
  };
  const once = trust(Math.min(...options.hosts));
  await run(once.program, once.args, { env: site.env });
  const files = await hosts.filesWith(caLine);
  tell(`what is written on each host: ${files.join(", ")}`);
  const ansible = await Ansible.prepare(join(folder, "ansible"), {
    ...{ site, ca, files, knownHosts: hosts.knownHosts },
  });

  const rows: TrustRow[] = [];
  const runs = Math.min(options.runs, mostRuns);
  let forks = options.forks;
  for (const number of [...options.hosts].sort((one, other) => one - other)) {
    const own: TrustRow[] = [
      { hosts: number, name: "trust", title: "drydock trust", runs: [] },
      { hosts: number, name: "again", title: "drydock trust, again", runs: [] },
      ...forks.map((count) => ({
        ...{ hosts: number, name: `ansible-${count}`, title: `ansible-playbook, ${count} forks`, runs: [] },
      })),
    ];
    rows.push(...own);
    for (let round = 1; round <= runs; round++) {
      for (const row of own) {
        const count = Number(/^ansible-(\d+)$/.exec(row.name)?.[1]);
        if (row.name !== "again") await hosts.remove(files, number);
        const command = count > 0 ? await ansible.command(hosts.inventory(number), count) : trust(number);
        const { said, ...measured } = await measure(command, { warm: true });
        if (!(count > 0) && !said.includes(`${number} proven`))
          throw new Error(`all ${number} hosts were to be proven:\n${said}`);
        await hosts.check(files, caLine, number);
        row.runs.push({ ...measured, parts: {} } satisfies Measurement);
        tell(`${number} hosts, run ${round} of ${runs}: ${row.title}: ${measured.seconds.toFixed(2)} s`);
      }
    }
    // With more hosts only the number of forks that was best.
    forks = bestForks(own);
  }
  return rows;
}

function bestForks(rows: TrustRow[]): number[] {
  const fastest = ({ runs }: TrustRow) => Math.min(...runs.map(({ seconds }) => seconds));
  const [best] = rows
    .filter(({ name }) => name.startsWith("ansible-"))
    .sort((one, other) => fastest(one) - fastest(other));
  return best === undefined ? [] : [Number(best.name.slice("ansible-".length))];
}

/** A registry at a site, of one small image. */
async function installSite(
  options: BenchOptions,
  folder: string,
  parts: AsyncDisposableStack,
): Promise<{ fixtures: Fixtures; site: Site }> {
  const content = join(folder, "content");
  await mkdir(content);
  const fixtures = await Fixtures.make(content, { ...options, size: 1024 ** 2, blobs: 2, images: 1 });
  parts.defer(() => fixtures.stop());
  await fixtures.bundle();
  const site = await startSite({ folder: join(folder, "site"), name: "bench", clients: false });
  parts.defer(site.stop);
  const passphrase = ["--passphrase-file", fixtures.path("passphrase")];
  const command = fixtures.drydock("install", fixtures.path("bundle.tar"), ...passphrase);
  await site.run(command.program, command.args);
  return { fixtures, site };
}
