/** SHA256SUMS, the root of trust, in the form that `sha256sum -c` reads. */
import { DrydockError } from "../errors.ts";
import { type Digest, digestOf, hexOf } from "../oci/digest.ts";

export interface SummedFile {
  name: string;
  digest: Digest;
}

export function formatSums(files: { name: string; bytes: Uint8Array }[]): string {
  return files.map(({ name, bytes }) => `${hexOf(digestOf(bytes))}  ${name}\n`).join("");
}

/** @throws DrydockError "integrity" if a line has another form or a name stands twice. */
export function parseSums(text: string): SummedFile[] {
  const files = text.split("\n").map((line, number): SummedFile | undefined => {
    const found = /^([0-9a-f]{64}) {2}([A-Za-z0-9._-]+)$/.exec(line);
    if (found) return { digest: `sha256:${found[1]}`, name: String(found[2]) };
    if (line === "" && number > 0 && text.endsWith("\n")) return undefined;
    throw new DrydockError("integrity", `read SHA256SUMS: line ${number + 1} is not "<sha256>  <name>"`);
  });
  const listed = files.filter((file) => file !== undefined);
  if (listed.length !== files.length - 1 || new Set(listed.map(({ name }) => name)).size !== listed.length) {
    throw new DrydockError("integrity", "read SHA256SUMS: an empty line, or a name that stands twice");
  }
  return listed;
}
