/** The bench's own flags. */
import { tmpdir } from "node:os";
import { resolve } from "node:path";
import { parseArgs } from "node:util";

export interface BenchOptions {
  /** of all layers, in bytes */
  size: number;
  /** how many blobs, roughly: configs and layers of all images */
  blobs: number;
  /** in how many images, the registry's own aside */
  images: number;
  /** of each way; the slow ones at most three times */
  runs: number;
  /** names of the ways to measure; empty for all but "trust" */
  only: string[];
  /** for "trust": how many, each in turn */
  hosts: number[];
  /** for "trust": Ansible's, each in turn with the fewest hosts; empty: without Ansible */
  forks: number[];
  json: boolean;
  /** where everything is made; its file system is the one that is measured */
  folder: string;
  /** the launcher to measure */
  drydock: string;
}

export const usage = `npm run bench -- [--size 3G] [--blobs 600] [--images 40] [--runs 5]
                 [--only NAME]… [--json] [--folder DIR] [--drydock FILE]
       npm run bench -- --only trust [--hosts 50,300] [--forks 16,32,50]
                 [--runs 3] [--json] [--folder DIR] [--drydock FILE]

  --size     of all layers: 200M, 3G (powers of 1024)
  --blobs    in how many blobs
  --images   in how many images
  --runs     of each way; the slow ones run three times at most
  --only     measure this way (repeatable); cp is always measured. "trust" is
             measured by itself: the CA to many hosts, beside Ansible
  --hosts    to so many hosts, each in turn
  --forks    Ansible's, each in turn; with more hosts the best of them.
             --forks= is without Ansible
  --json     the figures as JSON
  --folder   where everything is made: the file system that is measured [default: ${tmpdir()}]
  --drydock  the launcher to measure, of another build for example [default: bin/drydock.js]`;

/** @throws Error, for the user, about a flag that is not right */
export function readOptions(args: string[]): BenchOptions | "help" {
  const { values } = parseArgs({
    args,
    options: {
      size: { type: "string", default: "3G" },
      blobs: { type: "string", default: "600" },
      images: { type: "string", default: "40" },
      runs: { type: "string", default: "5" },
      only: { type: "string", multiple: true, default: [] },
      hosts: { type: "string", default: "50,300" },
      forks: { type: "string", default: "16,32,50" },
      json: { type: "boolean", default: false },
      folder: { type: "string", default: tmpdir() },
      drydock: { type: "string", default: resolve(import.meta.dirname, "../../bin/drydock.js") },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return "help";
  return {
    size: parseSize(values.size),
    blobs: parseCount("--blobs", values.blobs),
    images: parseCount("--images", values.images),
    runs: parseCount("--runs", values.runs),
    only: values.only,
    hosts: values.hosts.split(",").map((text) => parseCount("--hosts", text)),
    forks: values.forks === "" ? [] : values.forks.split(",").map((text) => parseCount("--forks", text)),
    json: values.json,
    folder: resolve(values.folder),
    drydock: resolve(values.drydock),
  };
}

const units: Record<string, number> = { K: 1024, M: 1024 ** 2, G: 1024 ** 3 };

function parseSize(text: string): number {
  const [, number = "", unit = ""] = /^(\d+(?:\.\d+)?)([KMG])i?B?$/.exec(text) ?? [];
  const bytes = Math.round(Number(number) * (units[unit] ?? Number.NaN));
  if (bytes >= 1024 ** 2) return bytes;
  throw new Error(`--size ${JSON.stringify(text)}: wanted a number and a unit, 1M or more: 200M, 3G`);
}

function parseCount(flag: string, text: string): number {
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text);
  throw new Error(`${flag} ${JSON.stringify(text)}: wanted a whole number from 1 on`);
}
