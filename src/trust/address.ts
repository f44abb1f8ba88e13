/**
 * The registry's names and addresses, as clients use them.
 */
import { isIP, isIPv6 } from "node:net";

/** Lower case; an IPv6 address in its one canonical form (RFC 5952), without brackets. */
export function canonicalAddress(address: string): string {
  if (!isIPv6(address)) return address.toLowerCase();
  return new URL(`http://[${address}]/`).hostname.slice(1, -1);
}

export function sameAddress(one: string, other: string): boolean {
  return canonicalAddress(one) === canonicalAddress(other);
}

/**
 * The addresses by which a client reaches the registry: the registry's name first, without the loopback
 * addresses that every certificate holds besides, which at a client mean the client itself.
 */
export function reachableAddresses(addresses: readonly string[]): string[] {
  const canonical = [...new Set(addresses.map(canonicalAddress))];
  const loopback = new Set(["127.0.0.1", "::1", "localhost"]);
  return canonical.filter((address, index) => index === 0 || !loopback.has(address));
}

/** `host:port` as in a reference or a URL: IPv6 in brackets. */
export function hostPort(address: string, port: number): string {
  return `${bracketed(address)}:${port}`;
}

/** IPv6 in brackets, all else as it is. */
export function bracketed(address: string): string {
  return isIP(address) === 6 ? `[${address}]` : address;
}

/**
 * The registry as references name it, HOST[:PORT]: the default port may stand there or not, and runtimes match it
 * to the letter.
 * @param addresses names and IP addresses as canonicalAddress gives them
 */
export function referenceNames(addresses: readonly string[], port: number): string[] {
  const names = addresses.flatMap((address) =>
    port === 443 ? [bracketed(address), hostPort(address, port)] : [hostPort(address, port)],
  );
  return checkedNames(names);
}

/** The registry as a URL's host: with the port, unless that is https's own. */
export function endpointNames(addresses: readonly string[], port: number): string[] {
  return checkedNames(
    addresses
      .map(canonicalAddress)
      .map((address) => (port === 443 ? bracketed(address) : hostPort(address, port))),
  );
}

/** They become names of directories, and stand in files. */
function checkedNames(names: readonly string[]): string[] {
  for (const name of names) {
    if (!/^(?:[a-z0-9_][a-z0-9._-]*|\[[0-9a-f:.]+\])(?::\d+)?$/.test(name))
      throw new Error(`not an address: ${name}`);
  }
  return [...new Set(names)];
}
