/** The client with which upstream registries are asked. */
import { readCredentials } from "../oci/credentials.ts";
import type { TokenServers } from "../oci/registry-auth.ts";
import { type KeptContent, RegistryClient } from "../oci/registry-client.ts";
import { joinMirrors, type Mirrors } from "../oci/registry-hosts.ts";
import type { Reporter } from "../reporter.ts";
import type { Manifest } from "./manifest.ts";

export interface ConnectOptions {
  /** hosts ("HOST[:PORT]") that are asked over plain HTTP */
  plainHttp: ReadonlySet<string>;
  /** registry → the hosts to ask in its place, before those that the manifest names */
  mirrors: Mirrors;
  /** none if left out */
  tokenServers?: TokenServers;
}

/** With the user's own credentials. @param kept see RegistryClientOptions @throws as readCredentials */
export async function connectRegistries(
  { plainHttp, mirrors, tokenServers = new Map() }: ConnectOptions,
  manifest: Pick<Manifest, "mirrors">,
  reporter: Reporter,
  kept?: KeptContent,
): Promise<RegistryClient> {
  return new RegistryClient({
    credentials: await readCredentials(),
    plainHttp,
    tokenServers,
    mirrors: joinMirrors(mirrors, new Map(Object.entries(manifest.mirrors))),
    note: (text) => reporter.note(text),
    ...(kept ? { kept } : {}),
  });
}
