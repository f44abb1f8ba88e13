/**
 * Whether a host is the one we know: the decision about the key it shows.
 */
import { type Client, ClientFailure } from "./client.ts";
import { fingerprint, type HostKey, type KnownHosts, keyType, knownName, lookup } from "./known-hosts.ts";

/**
 * Judges the key that a host has shown.
 * @returns the key if it is new, and new ones are accepted: it is to be remembered; undefined if it is known
 * @throws ClientFailure "refused" if the key is revoked, has changed, or is unknown
 */
export function judgeHostKey(
  client: Client,
  blob: Buffer,
  known: KnownHosts,
  acceptNew: boolean,
): HostKey | undefined {
  const port = client.port ?? 22;
  const { keys, revoked } = lookup(known, client.host, port);
  const type = keyType(blob);
  const shown = `${type} ${fingerprint(blob)}`;
  const file = JSON.stringify(known.file);
  const name = knownName(client.host, port);
  if (revoked.some((key) => key.blob.equals(blob))) {
    throw new ClientFailure(
      "refused",
      `its host key ${shown} is revoked in ${file}`,
      "Somebody may hold this key who should not. Find out before you go on.",
    );
  }
  if (keys.some((key) => key.blob.equals(blob))) return undefined;
  if (keys.length > 0) {
    const wanted = keys.map((key) => `${key.type} ${fingerprint(key.blob)}`).join(", ");
    throw new ClientFailure(
      "refused",
      `its host key has changed: ${file} has ${wanted}, it shows ${shown}`,
      "It may be another machine that answers. If its key was really changed, compare the fingerprint there, " +
        `then: ssh-keygen -R '${name}' -f '${known.file}'`,
    );
  }
  if (acceptNew) return { type, blob };
  const scan = `ssh-keyscan${port === 22 ? "" : ` -p ${port}`} ${client.host} >> '${known.file}'`;
  throw new ClientFailure(
    "refused",
    `its host key ${shown} is not in ${file}`,
    `Compare the fingerprint at the host (ssh-keygen -lf /etc/ssh/ssh_host_…_key.pub), then: ${scan} ` +
      "– or run again with --accept-new-host-keys, which takes it as it is.",
  );
}
