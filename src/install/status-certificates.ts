/** What `status` says of the site's certificates: until when they are good, and what is wrong with them. */
import { stat } from "node:fs/promises";
import { isDeepStrictEqual } from "node:util";
import {
  type CertificateDescription,
  type CertificateProblem,
  checkCertificates,
  describeCertificate,
} from "../certificates/inspect.ts";
import { DrydockError, errorCode } from "../errors.ts";
import { shortDigest } from "../oci/digest.ts";
import { readBytesIfThere } from "../site/json-file.ts";
import type { CertificatePaths, SiteLayout } from "../site/layout.ts";
import { readMarker } from "../site/marker.ts";
import type { ReleaseRecord } from "../site/record.ts";
import type { Finding } from "./finding.ts";
import { setTheClock } from "./preflight-system.ts";

/** So early is an end warned of. */
const warnDays = 60;
const day = 86_400_000;

/** The check's name where a certificate has ended or ends soon: it has an exit code of its own. */
export const expiry = "expiry";

export interface CertificatesStatus {
  ca?: CertificateDescription;
  server?: CertificateDescription;
}

export async function certificatesStatus(
  layout: SiteLayout,
  { bundleDigest, settings: { addresses } }: ReleaseRecord,
  now: Date,
): Promise<{ certificates: CertificatesStatus; findings: Finding[] }> {
  const { ca, server } = await publicOnes(layout);
  const othersServe = await areOthersServed(layout);
  const mend = othersServe
    ? `\`drydock rollback ${shortDigest(bundleDigest)}\` puts back those that it is served with.`
    : newOnes;
  const missing = [
    ...(ca === undefined ? [layout.caCertificate] : []),
    ...(server === undefined ? [layout.serverCertificate] : []),
  ];
  if (ca === undefined || server === undefined) {
    const text = `${missing.join(" and ")} ${missing.length === 1 ? "is" : "are"} missing`;
    return { certificates: {}, findings: [error(text, mend)] };
  }
  try {
    const certificates = { ca: describeCertificate(ca), server: describeCertificate(server) };
    const key = await readKey(layout, mend);
    const pems = { ca, server, ...(key.text === undefined ? {} : { key: key.text }) };
    const whenEnded = othersServe ? mend : await expiryHint(layout);
    const problems = checkCertificates(pems, { addresses, now });
    const findings = [
      ...problems.map((one) => findingOf(one, { whenEnded, mend })),
      ...endsSoon(certificates, now, whenEnded),
      ...key.findings,
    ];
    if (findings.length > 0) return { certificates, findings };
    const days = Math.floor((certificates.server.notAfter.getTime() - now.getTime()) / day);
    const text = `good for every address, and for ${days} more days`;
    return { certificates, findings: [{ check: "certificates", level: "ok", text }] };
  } catch (problem) {
    if (!(problem instanceof DrydockError) || problem.kind !== "input") throw problem;
    return { certificates: {}, findings: [error(problem.message, mend)] };
  }
}

const newOnes = "`drydock install BUNDLE --new-certs` makes new ones.";

function error(text: string, hint: string): Finding {
  return { check: "certificates", level: "error", text, hint };
}

/**
 * Whether certs/, which people may have changed, lacks or differs from what the registry is served with. A key that
 * we may not read says nothing.
 */
async function areOthersServed(layout: SiteLayout): Promise<boolean> {
  const { certificates } = await readMarker(layout);
  if (certificates === undefined) return false;
  const set = layout.certificateSet(certificates);
  const [served, shown] = await Promise.all(
    [set, layout].map(async (at) => ({
      ...(await publicOnes(at)),
      key: await textOf(at.serverKey).catch(() => undefined),
    })),
  );
  const isWhole = served?.ca !== undefined && served.server !== undefined;
  return isWhole && !isDeepStrictEqual(served, shown);
}

async function publicOnes(at: CertificatePaths) {
  const [ca, server] = await Promise.all([at.caCertificate, at.serverCertificate].map(textOf));
  return { ca, server };
}

async function textOf(path: string): Promise<string | undefined> {
  return (await readBytesIfThere(path))?.toString("utf8");
}

/** Only root may read it: for others the rest is checked all the same. */
async function readKey(
  { serverKey }: SiteLayout,
  mend: string,
): Promise<{ text?: string; findings: Finding[] }> {
  try {
    const text = await textOf(serverKey);
    if (text !== undefined) return { text, findings: [] };
    return { findings: [error(`${serverKey} is missing`, mend)] };
  } catch (problem) {
    const denied =
      problem instanceof DrydockError && ["EACCES", "EPERM"].includes(errorCode(problem.cause) ?? "");
    if (denied) return { findings: [] };
    throw problem;
  }
}

function findingOf(
  { about, problem, hint }: CertificateProblem,
  { whenEnded, mend }: { whenEnded: string; mend: string },
): Finding {
  if (about === "ended") return { check: expiry, level: "error", text: problem, hint: whenEnded };
  if (about === "not yet valid") return { check: "clock", level: "error", text: problem, hint: setTheClock };
  return error(problem, hint === undefined ? mend : `${hint} ${mend}`);
}

function endsSoon(certificates: Required<CertificatesStatus>, now: Date, hint: string): Finding[] {
  return (["server", "ca"] as const).flatMap((which): Finding[] => {
    const { notAfter } = certificates[which];
    const left = notAfter.getTime() - now.getTime();
    if (left < 0 || left > warnDays * day) return [];
    const days = Math.floor(left / day);
    const what = which === "ca" ? "CA certificate" : "server certificate";
    const end = notAfter.toISOString().slice(0, 10);
    const text = `the ${what} ends on ${end}, in ${days} ${days === 1 ? "day" : "days"}`;
    return [{ check: expiry, level: "warning", text, hint }];
  });
}

/** With the CA's key at the site, clients needn't be told. */
async function expiryHint({ caKey }: SiteLayout): Promise<string> {
  const own = await stat(caKey).then(
    () => true,
    () => false,
  );
  return own
    ? "`drydock install BUNDLE --new-certs` makes a new one. Where the CA goes on, so does the clients' trust."
    : "`drydock install BUNDLE --new-certs` makes a new CA and a new certificate; then `drydock trust` for every client.";
}
