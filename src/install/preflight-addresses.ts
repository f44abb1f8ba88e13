/** Preflight's check of the registry's addresses against those that this host has. */
import { isIP } from "node:net";
import { networkInterfaces } from "node:os";
import type { Finding } from "./finding.ts";
import { hostAddresses } from "./prove.ts";

/** @param command gives the command with other addresses */
export function checkAddresses(
  addresses: readonly string[],
  command: (addresses: string[]) => string,
): Finding[] {
  const here = hostAddresses();
  const strange = addresses.filter((address) => isIP(address) !== 0 && !here.includes(address));
  if (strange.length === 0) {
    return [{ check: "addresses", level: "ok", text: addresses.join(", ") }];
  }
  const own = networkAddresses();
  const instead = [
    ...addresses.filter((address) => isIP(address) === 0),
    ...new Set([...addresses.filter((one) => isIP(one) !== 0 && own.includes(one)), ...own]),
  ];
  const otherwise =
    own.length === 0 ? "else clients won't find the registry." : `else: \`${command(instead)}\``;
  return [
    {
      check: "addresses",
      level: "warning",
      text: `${strange.join(", ")} ${strange.length === 1 ? "is" : "are"} on no interface of this host (${own.join(", ") || "it has none but loopback"})`,
      hint: `That is well if the address is translated on the way here; ${otherwise}`,
    },
  ];
}

/** The addresses by which other hosts reach this one: without loopback, link-local, and containers' bridges. */
function networkAddresses(): string[] {
  return Object.entries(networkInterfaces())
    .filter(([name]) => !/^(docker|br-|veth|cni|podman|virbr|flannel|cali|vxlan)/.test(name))
    .flatMap(([, list]) => list ?? [])
    .map(({ address }) => address)
    .filter((address) => !/^(127\.|169\.254\.|::1$|fe[89ab])/.test(address));
}
