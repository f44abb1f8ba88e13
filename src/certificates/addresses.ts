/**
 * Names and addresses as they may stand in a server certificate (RFC 5280, 4.2.1.6: dNSName and
 * iPAddress) and as Docker accepts them in front of an image name.
 */
import { isIP, isIPv4 } from "node:net";
import { domainToASCII } from "node:url";
import { DrydockError } from "../errors.ts";

export interface Address {
  kind: "dns" | "ip";
  /** Lower case; an IPv6 address in its shortest form (RFC 5952), without brackets. */
  value: string;
}

/** One label of a host name, RFC 1123. No underscore: Docker refuses it in an image name. */
const label = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/** A last label like these makes resolvers take the whole for an IPv4 address: 10.0.0.999, 10.1, 0x7f.1 */
const numeric = /^([0-9]+|0x[0-9a-f]*)$/;

/** @throws DrydockError "input" that says what is wrong with it. */
export function checkAddress(text: string): Address {
  const value = text.toLowerCase();
  if (value === "") throw refusal(text, "it is empty");
  if (/\s/.test(value)) throw refusal(text, "it contains a space");
  if (value.includes("://")) throw refusal(text, "it is a URL", "Give the host name or IP address alone.");
  if (isIP(value) !== 0) return { kind: "ip", value: checkIp(text, value) };
  return { kind: "dns", value: checkName(text, value) };
}

function checkIp(text: string, value: string): string {
  if (isIPv4(value)) {
    const first = Number(value.split(".")[0]);
    if (first === 0) throw refusal(text, "it means “any address” and leads to no host");
    if (first >= 224) throw refusal(text, "it is a multicast or reserved address and leads to no host");
    return value;
  }
  if (value.includes("%")) throw refusal(text, "a certificate cannot hold an IPv6 zone", "Leave out the %….");
  const short = shortIPv6(value);
  if (short === "::") throw refusal(text, "it means “any address” and leads to no host");
  if (short.startsWith("ff")) throw refusal(text, "it is a multicast address and leads to no host");
  if (short.startsWith("::ffff:"))
    throw refusal(text, "it is an IPv4 address in IPv6's dress", "Give the IPv4 form.");
  return short;
}

function checkName(text: string, value: string): string {
  if (/^\[.*\]/.test(value)) throw refusal(text, "it has brackets or a port", "Give the IPv6 address alone.");
  if (/^[^:/]+:[0-9]+$/.test(value)) {
    throw refusal(text, "it has a port", "A certificate holds no ports; give the port in its own key.");
  }
  if (value.includes("/")) throw refusal(text, "it has a path or a network length");
  if (value.includes(":")) throw refusal(text, "it is no valid IPv6 address");
  if (value.includes("*")) throw refusal(text, "wildcards are not taken", "List each name.");
  if (/[^ -~]/.test(value)) throw refusal(text, "a host name is written in ASCII", asciiHint(value));
  if (value.includes("@")) throw refusal(text, "it is an e-mail address");
  if (value.length > 253) throw refusal(text, `it has ${value.length} characters, 253 are the most`);
  if (value.endsWith("."))
    throw refusal(text, "it ends with a dot", "Docker takes no dot at the end; leave it out.");
  const labels = value.split(".");
  for (const part of labels) {
    if (!label.test(part)) throw refusal(text, reasonAgainst(part));
  }
  if (numeric.test(labels.at(-1) ?? "")) throw refusal(text, "it is no possible IPv4 address");
  return value;
}

function reasonAgainst(part: string): string {
  if (part === "") return "it has two dots in a row, or begins with one";
  if (part.length > 63)
    return `its part ${JSON.stringify(part)} has ${part.length} characters, 63 are the most`;
  if (part.startsWith("-") || part.endsWith("-")) {
    return `its part ${JSON.stringify(part)} begins or ends with a hyphen`;
  }
  return `its part ${JSON.stringify(part)} has other characters than letters, digits and hyphens`;
}

function asciiHint(value: string): string | undefined {
  const ascii = domainToASCII(value);
  return ascii === "" ? undefined : `Its ASCII form is ${ascii}.`;
}

function refusal(text: string, reason: string, hint?: string): DrydockError {
  return new DrydockError("input", `address ${JSON.stringify(text)}: ${reason}`, { hint });
}

/** The URL standard's serializer writes the shortest form. `value` must be a valid IPv6 address. */
export function shortIPv6(value: string): string {
  return new URL(`http://[${value}]/`).hostname.slice(1, -1);
}

/**
 * All of them checked, each once: DNS names first, then IPs, each kind in the order given.
 * @throws DrydockError "input" as checkAddress does.
 */
export function checkAddresses(texts: readonly string[]): { names: string[]; ips: string[] } {
  const names = new Set<string>();
  const ips = new Set<string>();
  for (const text of texts) {
    const address = checkAddress(text);
    (address.kind === "dns" ? names : ips).add(address.value);
  }
  return { names: [...names], ips: [...ips] };
}
