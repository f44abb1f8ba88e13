/** Preflight's check of the registry's addresses against those that this host has. */
import { isIP } from "node:net";
import { networkInterfaces } from "node:os";
import type { Finding } from "./finding.ts";
import { hostAddresses } from "./prove.ts";

export interface AddressCheck {
  /** the bundle's own */
  bundled: readonly string[];
  /** whether `addresses` were given now, instead of the bundle's */
  areChosen: boolean;
  /** interfaces of this host that lead to containers alone, as the engine says */
  bridges: readonly string[];
  /** gives the command with other addresses */
  command: (addresses: string[]) => string;
  /** this host's, by their names */
  interfaces?: NodeJS.Dict<{ address: string }[]>;
}

export function checkAddresses(addresses: readonly string[], check: AddressCheck): Finding[] {
  const { bundled, areChosen, bridges, command, interfaces = networkInterfaces() } = check;
  const here = hostAddresses(interfaces);
  const strange = addresses.filter((address) => isIP(address) !== 0 && !here.includes(address));
  const lost = addresses.some(isName) ? [] : bundled.filter(isName);
  if (strange.length === 0) {
    if (areChosen && lost.length > 0) return [lostName(lost, addresses, command)];
    return [{ check: "addresses", level: "ok", text: addresses.join(", ") }];
  }
  const own = reachableAddresses(interfaces, bridges);
  const instead = [
    ...addresses.filter(isName),
    ...lost,
    ...new Set([...addresses.filter((one) => own.includes(one)), ...own]),
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

function isName(address: string): boolean {
  return isIP(address) === 0;
}

function lostName(
  lost: readonly string[],
  addresses: readonly string[],
  command: AddressCheck["command"],
): Finding {
  const all = [...lost, ...addresses.filter((address) => address !== "127.0.0.1")];
  return {
    check: "addresses",
    level: "warning",
    text: `clients that know the registry as ${lost.join(", ")} could not use it: --address takes the place of all that the bundle says`,
    hint: `To keep the name: \`${command(all)}\``,
  };
}

/** What container engines and virtual machines on a host call their interfaces. A host's own bridge may be br0 or br-lan. */
const virtual =
  /^(docker|br-[0-9a-f]{12}$|veth|cni|podman|virbr|lxcbr|lxdbr|incusbr|flannel|cali|cilium|weave|kube|vxlan|tunl)/;

/** The addresses by which other hosts reach this one: without loopback, link-local, and containers' bridges. */
function reachableAddresses(
  interfaces: NodeJS.Dict<{ address: string }[]>,
  bridges: readonly string[],
): string[] {
  return Object.entries(interfaces)
    .filter(([name]) => !virtual.test(name) && !bridges.includes(name))
    .flatMap(([, list]) => list ?? [])
    .map(({ address }) => address)
    .filter((address) => !/^(127\.|169\.254\.|::1$|fe[89ab])/.test(address));
}
