/** The bridges of an engine's networks: interfaces of the host by which its containers reach it, and nobody else. */
import type { Engine } from "./engine.ts";

/** @returns the interfaces' names; none if the engine doesn't say */
export async function containerBridges({ docker }: Engine): Promise<string[]> {
  const networks = await docker.listNetworks({ filters: { driver: ["bridge"] } }).catch(() => []);
  return networks.map(
    // Docker calls the bridge of a network that a user made after the network's id.
    ({ Id, Options }) => Options?.["com.docker.network.bridge.name"] ?? `br-${Id.slice(0, 12)}`,
  );
}
