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

const makeFolder = [
  `folder=$(mktemp -d "\${TMPDIR:-/tmp}/drydock.XXXXXXXXXX") || problem "make a temporary folder there";`,
  `echo ${mark}folder $folder; exit 0`,
];

/** The words are: the folder, the file's name, its SHA-256. The file comes on stdin. */
const receive = [
  "folder=$1; f=$1/$2; trap : PIPE HUP;",
  'said=$( { cat >$f; } 2>&1 ) && [ "$(digest $f)" = $3 ] && exit 0;',
  `rm -rf $folder; echo "${mark}bad" $said; exit 0`,
];

/** @returns the folder, there; it is for whoever uses the files to remove @throws ClientFailure */
export async function sendPackages(connection: Connection, files: readonly SitePackage[]): Promise<string> {
  const lines = await runAsUser(connection, makeFolder);
  // Nothing but a name that mktemp gave.
  const folder = /^folder (\/[\w./-]+)$/m.exec(lines.join("\n"))?.[1];
  if (folder === undefined) throw new ClientFailure("failed", "make a temporary folder there: got no name");
  for (const file of files) {
    const args = [folder, file.name, hexOf(file.digest)];
    const [bad] = await runAsUser(connection, receive, args, read(file));
    if (bad === undefined) continue;
    const text = `send ${file.name}: what arrived has another sha256 ${bad.slice("bad ".length)}`;
    throw new ClientFailure("failed", text.trim(), whatToLookAt);
  }
  return folder;
}

const whatToLookAt =
  "Is there room in /tmp there? `drydock status --deep` reads what the site has of the packages.";

async function* read({ name, path }: SitePackage): AsyncGenerator<Uint8Array, void> {
  try {
    yield* createReadStream(path);
  } catch (error) {
    const text = `read package ${name} at the site: ${errorText(error)}`;
    throw new ClientFailure("failed", text, "drydock status names what is damaged at the site.");
  }
}
