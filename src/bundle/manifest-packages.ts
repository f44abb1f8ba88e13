/** One entry of a manifest's `packages`: what its patterns match must be packages of one kind. */
import { open } from "node:fs/promises";
import { basename } from "node:path";
import { type PackageKind, type PackageMatch, packageKind, packageName } from "../archive/packages.ts";
import { DrydockError, fileErrorText } from "../errors.ts";
import { carriedFiles, type ManifestCarriedFile } from "./manifest-files.ts";

export interface ManifestPackages {
  match: PackageMatch;
  /** names are without a folder; sorted by them */
  files: ManifestCarriedFile[];
}

/** What a file of each kind begins with: ar(5) as deb(5) says it, RPM's lead, gzip (RFC 1952). */
const beginnings: Record<PackageKind, Buffer> = {
  deb: Buffer.from("!<arch>\n"),
  rpm: Buffer.from("edabeedb", "hex"),
  static: Buffer.from("1f8b", "hex"),
};

/** @throws DrydockError "input" where it is for no certain hosts: without a distribution, only a tarball will do. */
export function checkMatch({ id, version }: PackageMatch, kind: PackageKind): void {
  if (id === undefined && version !== undefined) {
    throw new DrydockError("input", "`version` says nothing without `id`");
  }
  if (id === undefined && kind !== "static") {
    throw new DrydockError("input", `.${kind} packages are for one distribution`, {
      hint: "Name it with `id`, as its /etc/os-release has it.",
    });
  }
}

/**
 * What the patterns match below `folder`.
 * @throws DrydockError "input": they match nothing, or files that are no set, or no packages
 */
export async function packageFiles(
  folder: string,
  patterns: readonly string[],
): Promise<{ kind: PackageKind; files: ManifestCarriedFile[] }> {
  const found = new Map<string, ManifestCarriedFile>();
  for (const pattern of patterns) {
    for (const { name: below, path } of await carriedFiles(folder, pattern)) {
      const name = basename(below);
      if (!new RegExp(packageName).test(name))
        throw new DrydockError("input", `package ${JSON.stringify(below)}: such a name cannot be carried`);
      const other = found.get(name);
      if (other !== undefined && other.path !== path)
        throw new DrydockError("input", `two packages have the name ${JSON.stringify(name)}`);
      found.set(name, { name, path });
    }
  }
  const files = [...found.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  const names = files.map(({ name }) => name);
  const kind = packageKind(names);
  if (kind === undefined) {
    const shown = names.length > 3 ? [...names.slice(0, 3), "…"] : names;
    throw new DrydockError(
      "input",
      `wanted .deb or .rpm packages, or one docker-VERSION.tgz, got ${shown.join(", ")}`,
    );
  }
  for (const { name, path } of files) await checkBeginning(name, path, beginnings[kind]);
  return { kind, files };
}

/** A download that failed is often a page that says so. */
async function checkBeginning(name: string, path: string, wanted: Buffer): Promise<void> {
  let bytes: Buffer;
  try {
    const file = await open(path);
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(wanted.length), 0, wanted.length, 0);
      bytes = buffer.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  } catch (error) {
    throw new DrydockError("input", `read ${JSON.stringify(name)}: ${fileErrorText(error)}`, {
      cause: error,
    });
  }
  if (!bytes.equals(wanted))
    throw new DrydockError("input", `${JSON.stringify(name)} is not what its name says`, {
      hint: "Was it downloaded whole?",
    });
}
