/** A receipt as one page of text, at most 80 columns wide, for people and for a folder of paper. */
import { basename } from "node:path";
import { hexOf, shortDigest } from "../oci/digest.ts";
import type { DatedProof, Receipt } from "./receipt.ts";

const width = 80;
/** Where the second column begins. */
const column = 14;
/** Longer lists of images are cut; receipt.json has all. */
const imagesShown = 60;

export function receiptPage(receipt: Receipt): string {
  const { proof, lastProof, settings } = receipt;
  const sections = [
    [`Receipt: ${receipt.name}, release ${receipt.release}, ${receipt.result}`],
    [
      ...fact("digest", hexOf(receipt.bundleDigest)),
      ...fact("host", receipt.host),
      ...fact("site", receipt.site),
      ...fact("addresses", settings.addresses.join(", ")),
      ...fact("port", `${settings.port}, ${settings.access === "push" ? "takes pushes" : "read-only"}`),
      ...fact("begun", withSeconds(receipt.begunAt)),
      ...fact("ended", withSeconds(receipt.endedAt)),
      ...receipt.steps.flatMap(({ step, seconds }, at) =>
        fact(at === 0 ? "steps" : "", `${step.padEnd(16)} ${seconds.toFixed(1).padStart(8)} s`),
      ),
    ],
    ["What was done", ...doneLines(receipt).flatMap((line) => wrapped(line, "  "))],
    [
      "Proof",
      ...proofLines(proof),
      ...(lastProof.at === proof.at ? [] : ["", "Last proof", ...proofLines(lastProof)]),
    ],
    ["Certificates", ...certificateLines(receipt)],
    ["To trust the registry from a client", ...trustLines(receipt)],
    [imagesTitle(receipt), ...imageLines(receipt)],
  ];
  return `${sections.map((lines) => lines.join("\n")).join("\n\n")}\n`;
}

function doneLines({ done, images }: Receipt): string[] {
  return [
    placedLine(done),
    done.tagsMoved === images.length
      ? `moved all tags of the release: ${images.length}`
      : `moved ${done.tagsMoved} of the release's ${images.length} tags; the rest stood already`,
    `certificates: ${certificateWords[done.certificates]}`,
    `container "registry": ${done.container ?? "unchanged"}`,
  ];
}

/** A release may share blobs with others, and an install that went on found what the try before had placed. */
function placedLine({ placed, total = placed }: Receipt["done"]): string {
  const all = `${total.blobs} ${total.blobs === 1 ? "blob" : "blobs"}`;
  if (placed.blobs === total.blobs) return `placed all of the release: ${all}, ${sizeText(total.bytes)}`;
  const part = `placed ${placed.blobs} of the release's ${all}, ${sizeText(placed.bytes)} of ${sizeText(total.bytes)}`;
  return `${part}; the rest was here`;
}

const certificateWords: Record<Receipt["done"]["certificates"], string> = {
  keep: "those that were there",
  take: "the bundle's",
  make: "made here; the CA's key stays here",
  renew: "a new server certificate of the CA here",
};

function proofLines({ at, tags, pulled, addresses }: DatedProof): string[] {
  const names = [...new Set(addresses.map(({ as }) => as))].join(", ");
  const asked = `${tags} ${tags === 1 ? "tag" : "tags"} asked for, each as in the bundle`;
  const read =
    pulled === undefined
      ? []
      : [`${pulled.blobs} blobs pulled and hashed (${sizeText(pulled.bytes)}), all as in the bundle`];
  const connected = [...new Set(addresses.map(({ connect }) => connect))].join(", ");
  const lines = [
    `${dateTime(at)}, over TLS, trusting this CA alone`,
    `answered as ${names}; connected to ${connected}`,
    asked,
    ...read,
  ];
  return lines.flatMap((line) => wrapped(line, "  "));
}

function certificateLines({ certificates }: Receipt): string[] {
  const line = (what: string, end: string | Date, subject: string) =>
    fact(`  ${what}`, `ends ${dateTime(new Date(end).toISOString())}  ${subject}`);
  const { ca, server } = certificates;
  return [...line("server", server.notAfter, server.subject), ...line("CA", ca.notAfter, ca.subject)];
}

function trustLines({ trust }: Receipt): string[] {
  const fingerprint = trust.fingerprint256.split(":");
  const half = fingerprint.length / 2;
  return [
    "  drydock trust --clients INVENTORY does it over SSH. By hand, copy",
    ...wrapped(trust.ca, "    "),
    "  from this host to, on the client, for each name by which it is used:",
    ...trust.docker.flatMap((path) => wrapped(path, "    ")),
    "  Docker needs no restart. To compare, on the client,",
    `    openssl x509 -in ${basename(trust.docker[0] ?? "ca.crt")} -noout -fingerprint -sha256`,
    "  must print:",
    `    ${fingerprint.slice(0, half).join(":")}:`,
    `    ${fingerprint.slice(half).join(":")}`,
  ];
}

function imagesTitle({ images }: Receipt): string {
  return `Images: ${images.length} (digests are cut; receipt.json has them whole)`;
}

function imageLines({ images }: Receipt): string[] {
  const shown = images.slice(0, imagesShown);
  // A digest's twelve digits, two spaces between, two before.
  const room = width - 16;
  const lines = shown.flatMap(({ name, digest }) => {
    if (name.length <= room) return [`  ${shortDigest(digest)}  ${name}`];
    const [first = "", ...others] = pieces(name, room);
    return [`  ${shortDigest(digest)}  ${first}`, ...others.map((rest) => `${" ".repeat(16)}${rest}`)];
  });
  const more = images.length - shown.length;
  return more > 0 ? [...lines, `  and ${more} more, in receipt.json`] : lines;
}

/** A label and its value, which may go on in further lines. */
function fact(label: string, value: string): string[] {
  const [first = "", ...others] = wrapped(value, "", width - column);
  return [`${label.padEnd(column)}${first}`, ...others.map((line) => " ".repeat(column) + line)];
}

/** Breaks between words, and within a word that is longer than a line. */
function wrapped(text: string, indent: string, columns = width): string[] {
  const room = columns - indent.length;
  const lines: string[] = [];
  let line = "";
  // Spaces stay with the word before them, so that columns within the text keep their places.
  for (const word of text.split(/(?<= )(?! )/).flatMap((one) => pieces(one, room))) {
    if (line !== "" && (line + word).trimEnd().length > room) {
      lines.push(line);
      line = "";
    }
    line += word;
  }
  return [...lines, line].map((one) => (indent + one).trimEnd());
}

function pieces(text: string, length: number): string[] {
  if (text.trimEnd().length <= length) return [text];
  return [text.slice(0, length), ...pieces(text.slice(length), length)];
}

/** "2026-11-23 18:26 UTC" */
function dateTime(at: string): string {
  return `${at.slice(0, 10)} ${at.slice(11, 16)} UTC`;
}

/** "2026-11-23 18:26:05 UTC" */
function withSeconds(at: string): string {
  return `${at.slice(0, 10)} ${at.slice(11, 19)} UTC`;
}

/** In powers of 1024 (IEC 80000-13), as the command line shows sizes. */
function sizeText(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10));
  const value = bytes / 1024 ** power;
  return `${power === 0 ? value : value.toFixed(1)} ${units[power]}`;
}
