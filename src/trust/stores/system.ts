/**
 * The store of the system itself, which all programs use. A CA in it can speak for any name, not only for the
 * registry's, so it is worked on only where it is named (--stores system). One file for each certificate: of
 * several in a file Debian's program links the first one alone.
 */
import { X509Certificate } from "node:crypto";
import { ownFilesIn, ownPattern, ownStem } from "./own-file.ts";
import { joined } from "./pem.ts";
import type { Seen } from "./seen.ts";
import { type AfterChange, noPlan, type Store } from "./store.ts";

/** Of those that are there, with their program, the first one is the system's. */
export const systemPlaces = [
  // RHEL, Fedora and theirs; SUSE; Debian, Ubuntu, Alpine
  { folder: "/etc/pki/ca-trust/source/anchors", program: "update-ca-trust" },
  { folder: "/etc/pki/trust/anchors", program: "update-ca-certificates" },
  { folder: "/usr/local/share/ca-certificates", program: "update-ca-certificates" },
] as const;

type Place = (typeof systemPlaces)[number];

export const system: Store = {
  name: "system",
  isRoots: true,
  programs: [...new Set(systemPlaces.map(({ program }) => program))],
  looksAt: () => systemPlaces.flatMap(({ folder }) => [folder, ownPattern(folder)]),
  isThere: () => false,
  install: (seen, wanted) => {
    const place = placeOf(seen);
    const plan = noPlan();
    if (place === undefined) {
      const reason = "the system's store of CAs is in none of the places that are known";
      const hint = `Known are ${systemPlaces.map(({ folder }) => folder).join(", ")}, each with its program.`;
      plan.findings.push({ level: "error", reason, hint });
      return plan;
    }
    const files = wanted.authorities.map((pem) => ({
      path: `${place.folder}/${systemFile(ownStem(wanted), pem)}`,
      content: joined([pem]),
      ours: true,
    }));
    plan.files.push(...files);
    if (wanted.removeOld) {
      const kept = new Set(files.map(({ path }) => path));
      plan.gone.push(...ownFilesIn(place.folder, seen, wanted).filter((path) => !kept.has(path)));
    }
    plan.afterwards = update(place, plan.gone);
    return plan;
  },
  remove: (seen, wanted) => {
    const place = placeOf(seen);
    if (place === undefined) return noPlan();
    const gone = ownFilesIn(place.folder, seen, wanted);
    return { ...noPlan(), gone, afterwards: update(place, gone) };
  },
};

/** Debian's program leaves its links to what is gone, unless it makes all of them anew. */
function update({ program }: Place, gone: readonly string[]): AfterChange {
  const isFresh = gone.length > 0 && program === "update-ca-certificates";
  return { do: "run", words: isFresh ? [program, "--fresh"] : [program] };
}

function placeOf(seen: Seen): Place | undefined {
  return systemPlaces.find(({ folder, program }) => seen.at(folder) !== undefined && seen.has(program));
}

/** Its name ends with the beginning of the certificate's SHA-256, 16 hexadecimal digits. */
export function systemFile(stem: string, pem: string): string {
  const sha256 = new X509Certificate(pem).fingerprint256.replaceAll(":", "").toLowerCase();
  return `${stem}-${sha256.slice(0, 16)}.crt`;
}
