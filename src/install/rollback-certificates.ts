/** Which certificates a release is served with when the site goes back, or forward, to it. */
import { checkCertificates } from "../certificates/inspect.ts";
import { DrydockError } from "../errors.ts";
import { type CertificateFiles, copyCertificates, readCertificates } from "../site/kept-certificates.ts";
import type { SiteLayout } from "../site/layout.ts";
import type { ReleaseRecord } from "../site/record.ts";
import { nameOf } from "./history.ts";

export interface CertificateReturn {
  /** unchanged: the release's are there. put back: they will be. kept: they would not serve; the present ones do. */
  action: "unchanged" | "put back" | "kept";
  /** what the user should know, whole sentences */
  warnings: string[];
}

/** Writes nothing. @throws DrydockError "preflight" if neither the release's nor the present ones would serve. */
export async function planReturn(
  layout: SiteLayout,
  release: ReleaseRecord,
  now: Date,
): Promise<CertificateReturn> {
  const own = await readCertificates(layout.release(release.bundleDigest));
  const present = await readCertificates(layout);
  const wrong = problemWith(own, release, now);
  const same = (["ca", "server", "key"] as const).every((one) => isSame(own[one], present[one]));
  if (wrong === undefined && same) return { action: "unchanged", warnings: [] };
  if (wrong === undefined) {
    const warnings = isSame(own.ca, present.ca)
      ? []
      : [
          "The CA of that release is another one: clients that were given only the newer one refuse the registry until `drydock trust` has run.",
        ];
    return { action: "put back", warnings };
  }
  if (problemWith(present, release, now) === undefined) {
    const warning = `The certificates of ${nameOf(release)} would not serve (${wrong}): the present ones stay.`;
    return { action: same ? "unchanged" : "kept", warnings: [warning] };
  }
  throw new DrydockError("preflight", `certificates of ${nameOf(release)}: ${wrong}`, {
    hint: "Nothing was changed. Install its bundle again with --new-certs.",
  });
}

/** Durably; writes only those that differ. @throws DrydockError "host" */
export async function returnCertificates(
  { action }: CertificateReturn,
  layout: SiteLayout,
  release: ReleaseRecord,
): Promise<void> {
  if (action === "put back") await copyCertificates(layout.release(release.bundleDigest), layout);
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
