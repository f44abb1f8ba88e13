/** The CA in a folder that other files are in as well: a file of its own, named after the registry. */
import { isMarked } from "./mark.ts";
import { certificatesIn, holdsAll, joined, without } from "./pem.ts";
import type { Seen } from "./seen.ts";
import type { Wanted, WantedFile } from "./store.ts";

/** Of this registry, or of any that drydock installed. */
export function ownPattern(folder: string): string {
  return `${folder}/drydock-*.crt`;
}

/** "registry.plant7.lan:443" → "drydock-registry.plant7.lan" */
export function ownStem({ names }: Pick<Wanted, "names">): string {
  const name = (names[0] ?? "").replace(/:\d+$/, "").replace(/[^a-z0-9.-]+/g, "_");
  return `drydock-${name}`;
}

/** A CA that was there stays behind the new one, until it is to be removed. */
export function ownFile(folder: string, seen: Seen, wanted: Wanted): WantedFile {
  const path = `${folder}/${ownStem(wanted)}.crt`;
  const { text } = seen.at(path) ?? {};
  const old =
    wanted.removeOld || !isMarked(text) ? [] : without(certificatesIn(text ?? ""), wanted.authorities);
  return { path, content: joined([...wanted.authorities, ...old]), ours: true };
}

/** The files in the folder that are this registry's: by their names, or with its CA in them. */
export function ownFilesIn(folder: string, seen: Seen, wanted: Wanted): string[] {
  return seen
    .in(folder)
    .filter((name) => {
      const { text } = seen.at(`${folder}/${name}`) ?? {};
      if (!name.startsWith("drydock-") || !isMarked(text)) return false;
      return isNamed(name, ownStem(wanted)) || holdsAll(text, wanted.authorities);
    })
    .map((name) => `${folder}/${name}`);
}

/** The second form is where a file holds one certificate, and has its fingerprint's beginning in the name. */
function isNamed(name: string, stem: string): boolean {
  return name === `${stem}.crt` || (name.startsWith(`${stem}-`) && /-[0-9a-f]{16}\.crt$/.test(name));
}
