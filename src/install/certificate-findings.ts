/** What preflight says about certificates, and what to do about it. */
import { day } from "../certificates/duration.ts";
import {
  type CertificateProblem,
  checkCertificates,
  describeCertificate,
  readCertificate,
} from "../certificates/inspect.ts";
import type { CertificatePlan } from "./certificates.ts";
import type { Finding } from "./finding.ts";
import { minute, setTheClock } from "./preflight-system.ts";

export interface CertificateExpectations {
  /** what the certificate must speak for */
  addresses: string[];
  /** the command that makes new ones here */
  newCertificatesCommand: string;
  /** the command with other addresses, where serving under those that the certificate names is a way out */
  addressesCommand?: ((addresses: string[]) => string) | undefined;
  /** this host's clock */
  now: Date;
}

/** One line for those that are well, and warnings and errors as they are. */
export function certificateFindings({ action, findings }: CertificatePlan): Finding[] {
  if (findings.some(({ level }) => level === "error")) return findings;
  return [{ check: "certificates", level: "ok", text: actionWords[action] }, ...findings];
}

const actionWords: Record<CertificatePlan["action"], string> = {
  keep: "those at the site are kept",
  take: "the bundle's are taken",
  make: "a CA and a server certificate are made here",
  renew: "a new server certificate is made here, by the CA that clients trust",
};

function finding(text: string, hint?: string): Finding {
  return { check: "certificates", level: "error", text, ...(hint === undefined ? {} : { hint }) };
}

/** How long before its end people are told, as the connected side makes a new one by then. */
const warningTime = 60 * day;

/** @param server PEM, of a certificate that is in use */
export function endingSoon(
  server: string,
  { now, newCertificatesCommand }: CertificateExpectations,
): Finding | undefined {
  const end = readCertificate(server, "server certificate").validToDate;
  const left = end.getTime() - now.getTime();
  if (left > warningTime) return undefined;
  return {
    check: "certificates",
    level: "warning",
    text: `the server certificate ends on ${minute(end)}, in ${Math.floor(left / day)} days`,
    hint: `Install a bundle with a newer one by then, or make one here: \`${newCertificatesCommand}\``,
  };
}

/** With what to do about each: a wrong clock is set, all else ends with new certificates. */
export function problemsOf(
  problems: CertificateProblem[],
  { ca, server }: { ca: string; server: string },
  { addresses, now, newCertificatesCommand, addressesCommand }: CertificateExpectations,
): Finding[] {
  const others = problems.filter(({ about }) => about !== "not yet valid" && about !== "name");
  const names = problems.filter(({ about }) => about === "name");
  const findings = others.map(({ problem, about }) => {
    const clock =
      about === "ended" ? `This host's clock says ${minute(now)}. If that is right, have` : "Have";
    return finding(problem, `${clock} new ones made here: \`${newCertificatesCommand}\``);
  });
  if (others.length + names.length < problems.length) findings.push(notYet([ca, server], now));
  const [first] = names;
  if (first === undefined) return findings;
  const lacks = (address: string) =>
    checkCertificates({ ca, server }, { addresses: [address], now }).some(({ about }) => about === "name");
  const text = `the server certificate does not name ${addresses.filter(lacks).join(", ")}`;
  const { names: dns, ips } = describeCertificate(server);
  const named = [...dns.filter((name) => !name.includes("*")), ...ips].filter((one) => one !== "127.0.0.1");
  const stay =
    addressesCommand === undefined || named.length === 0
      ? ""
      : `To serve under what it names: \`${addressesCommand(named)}\`. `;
  const hint = `${stay}To have one made here that does: \`${newCertificatesCommand}\``;
  return [...findings, finding(text, first.hint === undefined ? hint : `${first.hint} ${hint}`)];
}

export function replacesAuthority(): Finding {
  return {
    check: "certificates",
    level: "warning",
    text: "a new CA takes the place of the one that clients trust",
    hint: "Run `drydock trust --clients INVENTORY` for every client afterwards, or install with --clients.",
  };
}

export function otherAuthority(
  misfit: string,
  what: string,
  { newCertificatesCommand }: CertificateExpectations,
): Finding {
  return finding(
    `those at the site do not fit (${misfit}), and ${what}, which no client trusts yet`,
    `To have them made here all the same: \`${newCertificatesCommand}\``,
  );
}

/** @param pems those that begin too late, or some of them; what counts is the latest */
export function notYet(pems: string[], now: Date): Finding {
  const begins = pems.map((pem) => readCertificate(pem, "certificate").validFromDate.getTime());
  const begin = new Date(Math.max(...begins));
  const clock = `this host's clock says ${minute(now)}`;
  return finding(`${clock}, and the certificate begins on ${minute(begin)}`, setTheClock);
}
