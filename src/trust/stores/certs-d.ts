/**
 * A certs.d directory: NAME/ca.crt for each name of the registry. Docker, Podman, CRI-O and skopeo read every
 * *.crt of the directory that has the reference's own HOST[:PORT] as its name, at each request, with several
 * certificates in a file. https://docs.docker.com/engine/security/certificates/
 */
import { certificateFiles } from "../places.ts";
import { isMarked } from "./mark.ts";
import { certificatesIn, holdsAll, joined, without } from "./pem.ts";
import type { Seen } from "./seen.ts";
import { noPlan, type StoreFinding, type StorePlan, type Wanted, type WantedFile } from "./store.ts";

/** @param base the certs.d directory */
export function certsDPatterns(base: string): string[] {
  return [`${base}/*`, `${base}/*/*.crt`];
}

/**
 * The CA beside whatever other *.crt is there, in a file of our own. A CA that we put there earlier stays after
 * it in the same file, until it is to be removed.
 */
export function inCertsD(base: string, seen: Seen, wanted: Wanted): StorePlan {
  const plan = noPlan();
  for (const name of wanted.names) {
    const directory = `${base}/${name}`;
    const hasOwn = certificateFiles.some((each) => isMarked(seen.at(`${directory}/${each}`)?.text));
    if (!hasOwn && holds(seen, directory, wanted.authorities)) continue; // by somebody else
    const file = caFile(directory, seen, wanted);
    if ("reason" in file) plan.findings.push(file);
    else plan.files.push(file);
  }
  return plan;
}

/** A file of our own with the CA, beside whatever is there. */
export function caFile(directory: string, seen: Seen, wanted: Wanted): WantedFile | StoreFinding {
  const textOf = (name: string) => seen.at(`${directory}/${name}`)?.text;
  const own = certificateFiles.find((name) => isMarked(textOf(name)));
  const name = own ?? certificateFiles.find((each) => seen.at(`${directory}/${each}`) === undefined);
  if (name === undefined) {
    return {
      level: "error",
      reason: `${certificateFiles.map((each) => `${directory}/${each}`).join(" and ")} are not drydock's`,
      hint: "Rename one of them: every *.crt there is read, whatever its name.",
    };
  }
  const old = wanted.removeOld ? [] : without(certificatesIn(textOf(name) ?? ""), wanted.authorities);
  const content = joined([...wanted.authorities, ...old]);
  return { path: `${directory}/${name}`, content, ours: true };
}

/** Whether the *.crt files of a directory hold all of the certificates. */
export function holds(seen: Seen, directory: string, authorities: readonly string[]): boolean {
  const files = seen.in(directory).filter((name) => name.endsWith(".crt"));
  const there = files.flatMap((name) => certificatesIn(seen.at(`${directory}/${name}`)?.text ?? ""));
  return without(authorities, there).length === 0;
}

/**
 * What is drydock's and this registry's: under one of its names, or with its CA in it. A client may trust
 * several registries that drydock installed.
 */
export function outOfCertsD(base: string, seen: Seen, wanted: Wanted): StorePlan {
  const isThisRegistrys = (directory: string, text?: string) =>
    wanted.names.includes(directory) || holdsAll(text, wanted.authorities);
  const gone = seen.in(base).flatMap((directory) =>
    certificateFiles
      .map((name) => `${base}/${directory}/${name}`)
      .filter((path) => {
        const text = seen.at(path)?.text;
        return isMarked(text) && isThisRegistrys(directory, text);
      }),
  );
  return { ...noPlan(), gone };
}
