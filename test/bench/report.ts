/** The figures as a table of at most 80 columns, and the goals beside them. */
import { columns, formatBytes } from "../../src/cli/format.ts";
import type { Machine } from "./machine.ts";
import { type Measurement, median } from "./measure.ts";
import type { BenchOptions } from "./options.ts";
import { judge, type Verdict } from "./verdict.ts";

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
  /** the median, in bytes; none for a part */
  written?: number;
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
      written: median(runs.map(({ written }) => written)),
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

/** Those that the measured ways allow. @param size of the bundle, in bytes */
export function verdicts(figures: Figures[], size: number): Verdict[] {
  const of = (name: string) => figures.find((one) => one.name === name);
  const share = (upper: string, lower: string) =>
    (of(upper)?.seconds ?? Number.NaN) / (of(lower)?.seconds ?? Number.NaN);
  const written = (of("install")?.written ?? Number.NaN) / size;
  const peaks = ours.flatMap((name) => of(name)?.peak ?? []);
  return [
    judge("install ÷ cp + sync, whole command", share("install", "cp"), "≤", 1.6),
    judge("install ÷ cp + sync, place + link", share("install: place + link", "cp"), "≤", 1.3),
    judge("sha256sum + tar zx ÷ install, whole command", share("documented", "install"), "≥"),
    judge("sha256sum + tar zx ÷ place + link", share("documented", "install: place + link"), "≥", 4),
    judge("skopeo to a registry ÷ install, whole command", share("skopeo-push", "install"), "≥"),
    judge("skopeo to a registry ÷ place + link", share("skopeo-push", "install: place + link"), "≥", 7),
    judge("1 image new: place ÷ first place, %", share("update: place", "install: place") * 100, "≤", 5),
    judge("rollback of all tags, whole command, s", of("rollback")?.seconds ?? Number.NaN, "<", 2),
    judge("install: bytes written ÷ bundle", written, "≤", 1.02),
    judge("skopeo to a directory ÷ bundle", share("skopeo-pull", "bundle"), "≥", 3),
    judge("bundle ÷ cp + sync", share("bundle", "cp"), "≤", 1.4),
    judge("bundle --reuse ÷ cp + sync", share("reuse", "cp"), "≤", 1.2),
    judge("sha256sum ÷ verify", share("sha256sum", "verify"), "≥", 0.9),
    judge("drydock's memory, MB", peaks.length > 0 ? Math.max(...peaks) / 1e6 : Number.NaN, "<", 300),
  ].flat();
}

const ours = ["install", "update", "rollback", "verify", "bundle", "reuse"];

/** What the figures were measured on. */
export function machineText({ cores, processor, memory, fileSystem, kernel, node }: Machine): string {
  return [
    `${cores} cores (${processor}), ${formatBytes(memory)} of memory, ${fileSystem},`,
    `Linux ${kernel}, Node.js ${node}.`,
  ].join("\n");
}

export function heading({ size, blobs, images }: BenchOptions, machine: Machine): string {
  const content = `${formatBytes(size)} of layers in about ${blobs} blobs, ${images + 1} images`;
  return `${content}; cold cache, medians.\n${machineText(machine)}`;
}
