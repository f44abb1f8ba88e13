/** The figures of `trust` as a table, and the goals beside them. */
import { columns } from "../../../src/cli/format.ts";
import { type Measurement, median } from "../measure.ts";
import { judge, type Verdict } from "../verdict.ts";

export interface TrustRow {
  hosts: number;
  name: string;
  title: string;
  runs: Measurement[];
}

export interface TrustFigures {
  hosts: number;
  name: string;
  title: string;
  seconds: number;
  fastest: number;
  slowest: number;
  /** the highest of all runs, in bytes */
  peak: number;
  runs: number;
}

export function trustFigures(rows: TrustRow[]): TrustFigures[] {
  return rows.map(({ hosts, name, title, runs }) => {
    const seconds = runs.map((one) => one.seconds);
    return {
      ...{ hosts, name, title, seconds: median(seconds), runs: runs.length },
      ...{ fastest: Math.min(...seconds), slowest: Math.max(...seconds) },
      peak: Math.max(...runs.map(({ peak }) => peak)),
    };
  });
}

export function trustTable(figures: TrustFigures[]): string {
  const head = ["", "hosts", "seconds", "from – to", "per host", "memory", "runs"];
  const rows = figures.map((one) => [
    one.title,
    String(one.hosts),
    one.seconds.toFixed(2),
    `${one.fastest.toFixed(1)} – ${one.slowest.toFixed(1)}`,
    `${((one.seconds / one.hosts) * 1000).toFixed(0)} ms`,
    `${(one.peak / 1e6).toFixed(0)} MB`,
    String(one.runs),
  ]);
  return columns([head, ...rows], { right: [1, 2, 3, 4, 5, 6] });
}

/** Linear is a time per host that grows by no more than this from the fewest hosts to the most. */
const linear = 1.2;

export function trustVerdicts(figures: TrustFigures[]): Verdict[] {
  const numbers = [...new Set(figures.map(({ hosts }) => hosts))].sort((one, other) => one - other);
  const of = (hosts: number, name: string) =>
    figures.find((one) => one.hosts === hosts && one.name === name)?.seconds ?? Number.NaN;
  const found = numbers.flatMap((hosts) => {
    const ansible = figures.filter((one) => one.hosts === hosts && one.name.startsWith("ansible-"));
    const best = Math.min(...ansible.map(({ seconds }) => seconds));
    return [
      ...judge(`Ansible at its best ÷ drydock trust, ${hosts} hosts`, best / of(hosts, "trust"), "≥", 12),
      ...judge(`again ÷ first, ${hosts} hosts`, of(hosts, "again") / of(hosts, "trust"), "≤", 1),
    ];
  });
  const [fewest = 0, most = 0] = [numbers[0], numbers.at(-1)];
  if (most > fewest) {
    const growth = of(most, "trust") / most / (of(fewest, "trust") / fewest);
    found.push(...judge(`time per host, of ${most} ÷ of ${fewest}`, growth, "≤", linear));
  }
  const ours = figures.filter(({ name }) => !name.startsWith("ansible-"));
  found.push(...judge("drydock's memory, MB", Math.max(...ours.map(({ peak }) => peak)) / 1e6, "<", 250));
  return found;
}
