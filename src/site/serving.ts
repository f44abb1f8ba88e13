/** What the site serves now: the CA to trust, and the addresses of the registry. */
import { readFile } from "node:fs/promises";
import { DrydockError } from "../errors.ts";
import { currentRelease, findSite } from "./record.ts";

export interface Serving {
  /** the CA's certificate, PEM */
  ca: string;
  /** the registry's names and IP addresses, its name first */
  addresses: string[];
  port: number;
}

/** @param site the site's directory, if given @throws DrydockError "input" if nothing is installed there. */
export async function readServing(site?: string): Promise<Serving> {
  const layout = await findSite(site);
  const release = await currentRelease(layout);
  if (!release) {
    throw new DrydockError(
      "input",
      `read site ${JSON.stringify(layout.root)}: no release is installed there`,
      {
        hint: "Install a bundle first, or name the site's directory with --site.",
      },
    );
  }
  const ca = await readFile(layout.caCertificate, "utf8");
  const { addresses, port } = release.settings;
  return { ca, addresses, port };
}
