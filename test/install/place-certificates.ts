/** What an install does with its plan of certificates in the end, without the rest of it. */
import { type CertificatePlan, plannedFiles } from "../../src/install/certificates.ts";
import { showCertificates } from "../../src/site/kept-certificates.ts";
import type { SiteLayout } from "../../src/site/layout.ts";

export async function placeCertificates(plan: CertificatePlan, layout: SiteLayout): Promise<void> {
  await showCertificates(await plannedFiles(plan), layout);
}
