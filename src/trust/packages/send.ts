/**
 * Sends packages to a client, into a folder of the login user's that nobody else can look into. Each is checked
 * by its digest once it is there; if one isn't as it should be, or doesn't come whole, the folder goes again.
 */
import { createReadStream } from "node:fs";
import { errorText } from "../../errors.ts";
import { hexOf } from "../../oci/digest.ts";
import type { SitePackage } from "../../site/packages.ts";
import { ClientFailure } from "../client.ts";
import type { Connection } from "../connection.ts";
import { mark } from "../remote-functions.ts";
import { runAsUser } from "../remote-shell.ts";

/**
 * One command for all files, which come on stdin one after the other: whenever the connection breaks, something is
 * there to take the folder away. The words are of each file: its name, its size, its SHA-256.
 */
const receive = [
  `folder=$(mktemp -d "\${TMPDIR:-/tmp}/drydock.XXXXXXXXXX") || problem "make a temporary folder there";`,
  'trap "rm -rf $folder" EXIT; trap : PIPE HUP;',
  "while [ $# -gt 0 ]; do f=$folder/$1;",
  '  said=$( { head -c $2 >$f; } 2>&1 ) && [ "$(digest $f)" = $3 ] ||',
  `    { echo "${mark}bad $1" $said; exit 0; };`,
  "  shift 3;",
  `done; if echo ${mark}folder $folder; then trap - EXIT; fi; exit 0`,
];

/** @returns the folder, there; it is for whoever uses the files to remove @throws ClientFailure */
export async function sendPackages(connection: Connection, files: readonly SitePackage[]): Promise<string> {
  const args = files.flatMap(({ name, size, digest }) => [name, String(size), hexOf(digest)]);
  const lines = await runAsUser(connection, receive, args, read(files));
  // Nothing but a name that mktemp gave.
  const folder = /^folder (\/[\w./-]+)$/m.exec(lines.join("\n"))?.[1];
  if (folder !== undefined) return folder;
  const [, name = "packages", said = ""] = /^bad (\S+) ?(.*)$/m.exec(lines.join("\n")) ?? [];
  const text = `send ${name}: what arrived has another sha256 ${said}`;
  throw new ClientFailure("failed", text.trim(), whatToLookAt);
}

const whatToLookAt =
  "Is there room in /tmp there? `drydock status --deep` reads what the site has of the packages.";

/** Of each file as much as it shall have, so that a damaged one is told of by its own name. */
async function* read(files: readonly SitePackage[]): AsyncGenerator<Uint8Array, void> {
  for (const { name, path, size } of files) {
    try {
      yield* createReadStream(path, { end: size - 1 });
    } catch (error) {
      const text = `read package ${name} at the site: ${errorText(error)}`;
      throw new ClientFailure("failed", text, "drydock status names what is damaged at the site.");
    }
  }
}
