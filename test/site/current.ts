/** A site whose current release is said to be one, served with what its certs/ hold, as a completed action says it. */
import type { Digest } from "../../src/oci/digest.ts";
import { keepCertificates, readCertificates } from "../../src/site/kept-certificates.ts";
import type { SiteLayout } from "../../src/site/layout.ts";
import { completeAction } from "../../src/site/record.ts";

export async function makeCurrent(
  layout: SiteLayout,
  current: Digest,
  begunAt = new Date().toISOString(),
): Promise<void> {
  const certificates = await keepCertificates(layout, await readCertificates(layout));
  await completeAction(layout, { current, certificates, begunAt });
}
