/** Whether two hosts belong to one owner, as far as names tell it: by the Public Suffix List (publicsuffix.org). */
import { getDomain } from "tldts";

/**
 * Whether both are under one domain that somebody has registered: a.co.uk and b.co.uk are not, nor are two
 * customers of github.io. Addresses, and names of one label, have no domain: they must be the same.
 * @param one a URL's hostname
 */
export function isSameDomain(one: string, other: string): boolean {
  if (one === other) return true;
  const domain = domainOf(one);
  return domain !== null && domain === domainOf(other);
}

/** Private suffixes are those under which a company lets others have names. */
function domainOf(host: string): string | null {
  return getDomain(host, { allowPrivateDomains: true });
}
