/** The client with which upstream registries are asked. */
import { readCredentials } from "../oci/credentials.ts";
import { RegistryClient } from "../oci/registry-client.ts";

export interface ConnectOptions {
  /** hosts ("HOST[:PORT]") that are asked over plain HTTP */
  plainHttp: ReadonlySet<string>;
  /** registry → the host to ask in its place */
  mirrors: ReadonlyMap<string, string>;
}

/** With the user's own credentials. @throws as readCredentials */
export async function connectRegistries({ plainHttp, mirrors }: ConnectOptions): Promise<RegistryClient> {
  return new RegistryClient({ credentials: await readCredentials(), plainHttp, mirrors });
}
