/** `drydock inspect`: what is inside a bundle. */
import { Args } from "@oclif/core";
import type { BundleIndex } from "../archive/bundle-index.ts";
import { openSource } from "../archive/open-source.ts";
import { openBundle } from "../archive/reader.ts";
import { type CertificateDescription, describeCertificate } from "../certificates/inspect.ts";
import { DrydockCommand } from "../cli/base-command.ts";
import { describeContents } from "../cli/describe-bundle.ts";
import { checkDigestFlag, digestFlag } from "../cli/digest-flag.ts";
import { columns } from "../cli/format.ts";

interface Inspected {
  digest: string;
  size: number;
  signatures: string[];
  certificates: { ca?: CertificateDescription; server?: CertificateDescription };
  bundle: BundleIndex;
}

export default class Inspect extends DrydockCommand {
  static override summary = "Show what is inside a bundle.";
  static override description =
    "Reads the top of the archive only, and checks it: the digest, the images with their digests, sizes, " +
    "certificates, and whether a key is inside. To check every byte, use verify.";
  static override args = {
    bundle: Args.string({ required: true, description: "the bundle, or - for standard input" }),
  };
  static override flags = {
    digest: digestFlag,
  };
  static override examples = [
    "<%= config.bin %> inspect site.tar",
    "<%= config.bin %> inspect site.tar --json | jq .bundle.blobs",
  ];
  static override exitCodes = ["input", "integrity", "host"] as const;
  static override whenInterrupted = "Nothing was changed.";

  async run(): Promise<Inspected> {
    const { args, flags } = await this.parse(Inspect);
    const digestWanted = checkDigestFlag(flags.digest);
    const bundle = await openBundle(await openSource(args.bundle), digestWanted);
    await bundle.close();
    const { digest, size, signatures, index } = bundle;
    const { ca, server } = index.certificates;
    const describe = (name: typeof ca) => {
      const bytes = name && bundle.certificates.get(name);
      return bytes && describeCertificate(bytes.toString("utf8"));
    };
    const certificates = { ...present("ca", describe(ca)), ...present("server", describe(server)) };
    this.log(`digest        ${digest}\n${describeContents(index, size)}`);
    const rows = Object.entries(certificates).map(([name, one]) => [
      name === "ca" ? "CA" : name,
      one.subject,
      `until ${one.notAfter.toISOString().slice(0, 10)}`,
    ]);
    if (rows.length > 0) this.log(`\ncertificates\n${columns(rows, { indent: 2 })}`);
    if (signatures.length > 0)
      this.log(
        `\nsignatures, not checked\n${columns(
          signatures.map((name) => [name]),
          { indent: 2 },
        )}`,
      );
    return { digest, size, signatures, certificates, bundle: index };
  }
}

function present<K extends string, V>(key: K, value: V | undefined): { [P in K]?: V } {
  return value === undefined ? {} : ({ [key]: value } as { [P in K]: V });
}
