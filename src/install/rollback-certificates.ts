/** Which certificates a release is served with when the site goes back, or forward, to it. */
import { checkCertificates } from "../certificates/inspect.ts";
import { DrydockError } from "../errors.ts";
import { readInterrupted } from "../site/journal.ts";
import { type CertificateFiles, readCertificates } from "../site/kept-certificates.ts";
import type { SiteLayout } from "../site/layout.ts";
import type { ReleaseRecord } from "../site/record.ts";
import { certificatesBefore } from "./change.ts";
import { nameOf } from "./history.ts";

export interface CertificateReturn {
  /** unchanged: the release's are there. put back: they will be. kept: they would not serve; the present ones do. */
  action: "unchanged" | "put back" | "kept";
  /** what certs/ will hold, and the registry be served with */
  files: CertificateFiles;
  /** what the user should know, whole sentences */
  warnings: string[];
}

/** Writes nothing. @throws DrydockError "preflight" if neither the release's nor the present ones would serve. */
export async function planReturn(
  layout: SiteLayout,
  release: ReleaseRecord,
  now: Date,
): Promise<CertificateReturn> {
  const own = await certificatesOf(layout, release);
  const present = await certificatesBefore(layout, await readInterrupted(layout));
  // A CA's key that has come since stays, if the CA does.
  const files = { ...own, caKey: own.caKey ?? (isSame(own.ca, present.ca) ? present.caKey : undefined) };
  const wrong = problemWith(own, release, now);
  const same = (["ca", "server", "key"] as const).every((one) => isSame(own[one], present[one]));
  if (wrong === undefined && same) return { action: "unchanged", files, warnings: [] };
  if (wrong === undefined) {
    // One that is missing from certs/ was no newer one.
    const warnings =
      present.ca === undefined || isSame(own.ca, present.ca)
        ? []
        : [
            "The CA of that release is another one: clients that were given only the newer one refuse the registry until `drydock trust` has run.",
          ];
    return { action: "put back", files, warnings };
  }
  if (problemWith(present, release, now) === undefined) {
    const warning = `The certificates of ${nameOf(release)} would not serve (${wrong}): the present ones stay.`;
    return { action: same ? "unchanged" : "kept", files: present, warnings: [warning] };
  }
  throw new DrydockError("preflight", `certificates of ${nameOf(release)}: ${wrong}`, {
    hint: "Nothing was changed. Install its bundle again with --new-certs.",
  });
}

/** Those that it was served with when it was complete. An earlier drydock kept them in the release's own folder. */
async function certificatesOf(
  layout: SiteLayout,
  { bundleDigest, certificates }: ReleaseRecord,
): Promise<CertificateFiles> {
  const at = certificates === undefined ? layout.release(bundleDigest) : layout.certificateSet(certificates);
  return await readCertificates(at);
}

/** Why clients would refuse them, in plain words. */
function problemWith(
  { ca, server, key }: CertificateFiles,
  { settings }: ReleaseRecord,
  now: Date,
): string | undefined {
  if (ca === undefined || server === undefined || key === undefined) return "they are not all there";
  const pems = { ca: ca.toString("utf8"), server: server.toString("utf8"), key: key.toString("utf8") };
  return checkCertificates(pems, { addresses: settings.addresses, now })[0]?.problem;
}

function isSame(one: Buffer | undefined, other: Buffer | undefined): boolean {
  return one !== undefined && other !== undefined && one.equals(other);
}
