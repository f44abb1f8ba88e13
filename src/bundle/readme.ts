/** README.txt of a bundle: what to do on arrival, for somebody who has only the stick. */
import type { BundleIndex } from "../archive/bundle-index.ts";
import { describeMatch } from "../archive/packages.ts";

export function readmeOf(index: BundleIndex): string {
  const { name, release, created, addresses, registry, repositories } = index;
  const [address = ""] = addresses;
  const port = registry.port === 443 ? "" : `:${registry.port}`;
  const tags = Object.entries(repositories).flatMap(([repository, { tags }]) =>
    Object.keys(tags).map((tag) => `  ${address}${port}/${repository}:${tag}`),
  );
  return `This archive is a drydock bundle: a Docker registry with its content, ready to run.

Name:     ${name}, release ${release}, made ${created}
Registry: ${addresses.join(", ")}, port ${registry.port}

On the isolated host, as root, with Docker running:

  drydock install FILE.tar --digest DIGEST

DIGEST is what "drydock bundle" printed. It came another way than this file, on paper say;
with stock tools it is:

  tar xOf FILE.tar SHA256SUMS | sha256sum

Install checks every byte that it uses.${keyText(index)}

To see what is inside:      drydock inspect FILE.tar
To check every byte of it:  drydock verify FILE.tar
To make clients trust it:   drydock trust --clients INVENTORY
${packagesText(index)}
Images, as they are named at the site:

${tags.join("\n")}
`;
}

function packagesText({ packages }: BundleIndex): string {
  if (packages.length === 0) return "";
  const hosts = packages.map(({ match }) => describeMatch(match)).join(", ");
  return `With --install-packages it installs Docker where it is missing, on ${hosts}.\n`;
}

function keyText({ certificates }: BundleIndex): string {
  if (certificates.from === "site") return " It makes the certificates there.";
  if (!certificates.keyEncrypted)
    return "\nThe server's private key is in it unencrypted: whoever has this file has the key.";
  return "\nThe server's private key is encrypted: have the code or passphrase at hand that was\nshown or chosen when the bundle was made.";
}
