/** The figures as a table of at most 80 columns, and the goals beside them. */
import { columns, formatBytes } from "../../src/cli/format.ts";
import type { Machine } from "./machine.ts";
import { type Measurement, median } from "./measure.ts";
import type { BenchOptions } from "./options.ts";

export interface Row {
  name: string;
  title: string;
  runs: Measurement[];
}

export interface Figures {
  name: string;
  title: string;
  seconds: number;
  fastest: number;
  slowest: number;
  /** 10^6 bytes of content in a second */
  rate: number;
  /** the highest of all runs, in bytes; none for a part */
  peak?: number;
  /** of `seconds` to those of cp + sync */
  ratio: number;
  runs: number;
}

/** A row, and one more for each of its parts. @param size of the bundle, in bytes */
export function figuresOf(rows: Row[], size: number): Figures[] {
  const floor = median(rows.find(({ name }) => name === "cp")?.runs.map(({ seconds }) => seconds) ?? []);
  const figures = (name: string, title: string, seconds: number[]): Figures => ({
    name,
    title,
    seconds: median(seconds),
    fastest: Math.min(...seconds),
    slowest: Math.max(...seconds),
    rate: size / median(seconds) / 1e6,
    ratio: median(seconds) / floor,
    runs: seconds.length,
  });
  return rows.flatMap(({ name, title, runs }) => [
    {
      ...figures(
        name,
        title,
        runs.map(({ seconds }) => seconds),
      ),
      peak: Math.max(...runs.map(({ peak }) => peak)),
    },
    ...Object.keys(runs[0]?.parts ?? {}).map((part) =>
      figures(
        `${name}: ${part}`,
        `  of which ${part}`,
        runs.map(({ parts }) => parts[part] ?? Number.NaN),
      ),
    ),
  ]);
}

/** The table. */
export function table(figures: Figures[]): string {
  const head = ["", "seconds", "from – to", "MB/s", "memory", "× cp", "runs"];
  const rows = figures.map((one) => [
    one.title,
    one.seconds.toFixed(2),
    `${one.fastest.toFixed(1)} – ${one.slowest.toFixed(1)}`,
    one.rate.toFixed(0),
    one.peak === undefined ? "" : `${(one.peak / 1e6).toFixed(0)} MB`,
    one.ratio.toFixed(2),
    String(one.runs),
  ]);
  return columns([head, ...rows], { right: [1, 2, 3, 4, 5, 6] });
}

export interface Verdict {
  what: string;
  value: number;
  goal: string;
  reached: boolean;
}

/** Those that the measured ways allow. */
export function verdicts(figures: Figures[]): Verdict[] {
  const of = (name: string) => figures.find((one) => one.name === name)?.seconds;
  const found: Verdict[] = [];
  const compare = (what: string, upper: string, lower: string, relation: "≤" | "≥", goal: number) => {
    const [above, below] = [of(upper), of(lower)];
    if (above === undefined || below === undefined) return;
    const value = above / below;
    const reached = relation === "≤" ? value <= goal : value >= goal;
    found.push({ what, value, goal: `${relation} ${goal}`, reached });
  };
  compare("install ÷ cp + sync", "install", "cp", "≤", 1.6);
  compare("place + link ÷ cp + sync", "install: place + link", "cp", "≤", 1.3);
  compare("sha256sum + tar zx ÷ install", "documented", "install", "≥", 4);
  compare("skopeo sync to a registry ÷ install", "skopeo-push", "install", "≥", 7);
  compare("skopeo sync to a directory ÷ bundle", "skopeo-pull", "bundle", "≥", 3);
  compare("bundle ÷ cp + sync", "bundle", "cp", "≤", 1.4);
  compare("bundle --reuse ÷ cp + sync", "reuse", "cp", "≤", 1.2);
  compare("sha256sum ÷ verify", "sha256sum", "verify", "≥", 0.9);
  const ours = figures.filter(({ name }) => ["install", "verify", "bundle", "reuse"].includes(name));
  const peak = Math.max(...ours.map((one) => one.peak ?? 0)) / 1e6;
  if (ours.length > 0)
    found.push({ what: "drydock's memory, MB", value: peak, goal: "< 300", reached: peak < 300 });
  return found;
}

export function verdictLines(found: Verdict[]): string {
  const rows = found.map(({ what, value, goal, reached }) => [
    what,
    value >= 100 ? value.toFixed(0) : value.toFixed(2),
    `goal ${goal}`,
    reached ? "reached" : "NOT reached",
  ]);
  return columns(rows, { right: [1] });
}

export function heading(options: BenchOptions, machine: Machine): string {
  const { cores, processor, memory, fileSystem, kernel, node } = machine;
  return [
    `${formatBytes(options.size)} of layers in about ${options.blobs} blobs, ${options.images + 1} images; cold cache, medians.`,
    `${cores} cores (${processor}), ${formatBytes(memory)} of memory, ${fileSystem},`,
    `Linux ${kernel}, Node.js ${node}.`,
  ].join("\n");
}
