/** Certificates in PEM (RFC 7468), taken out of whatever text stands around them. */

const block = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g;

/** One PEM block each, without carriage returns and without a line end at its end. */
export function certificatesIn(text: string): string[] {
  return (text.match(block) ?? []).map((pem) => pem.replaceAll("\r", ""));
}

/** The certificates of `all` that are not among `others`, wherever their lines are broken. */
export function without(all: readonly string[], others: readonly string[]): string[] {
  const bare = (pem: string) => pem.replace(/\s/g, "");
  const known = new Set(others.map(bare));
  return all.filter((pem) => !known.has(bare(pem)));
}

/** One text of several certificates. */
export function joined(certificates: readonly string[]): string {
  return certificates.map((pem) => `${pem}\n`).join("");
}

/** Whether a text holds all of some certificates, at least one. */
export function holdsAll(text: string | undefined, certificates: readonly string[]): boolean {
  return certificates.length > 0 && without(certificates, certificatesIn(text ?? "")).length === 0;
}
