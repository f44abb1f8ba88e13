/** `drydock inspect`: what is inside a bundle, or a seed. */
import { Args, Flags } from "@oclif/core";
import type { BundleIndex } from "../archive/bundle-index.ts";
import type { ByteSource } from "../archive/source.ts";
import type { SeedReport } from "../bundle/seed-report.ts";
import type { CertificateDescription } from "../certificates/inspect.ts";
import { DrydockCommand } from "../cli/base-command.ts";
import { describeContents } from "../cli/describe-bundle.ts";
import { describeSeed } from "../cli/describe-seed.ts";
import { checkDigestFlag, digestFlag } from "../cli/digest-flag.ts";
import { columns, printable } from "../cli/format.ts";
import { type ImageName, namesAtSite } from "../cli/names-at-site.ts";
import { exitCodes } from "../errors.ts";
import { runStep } from "../reporter.ts";

interface InspectedBundle {
  digest: string;
  size: number;
  signatures: string[];
  /** what is known not to be there: the archive's end, or parts of it */
  lacking: string[];
  certificates: { ca?: CertificateDescription; server?: CertificateDescription };
  bundle: BundleIndex;
}

interface InspectedNames {
  digest: string;
  lacking: string[];
  names: ImageName[];
}

interface InspectedSeed {
  seed: SeedReport;
}

export default class Inspect extends DrydockCommand {
  static override summary = "Show what is inside a bundle or a seed.";
  static override description =
    "Of a bundle it reads the top only, and checks it: the digest, the images with their digests, sizes, " +
    "certificates, and whether a key is inside. That much is told of a bundle that is cut, or of which a part is " +
    "missing, too, with exit code 4. To check every byte, use verify. A seed (a tarball of a " +
    "registry's storage) is read whole, each blob hashed: every tag with its image manifests, configs and " +
    "layers, what nothing needs, what is damaged or missing, what a site would serve and need. If a site could " +
    "not serve all of it, the exit code is that with which `bundle` would refuse the seed: 4 if a blob has " +
    "other content than its name says, else 3.";
  static override args = {
    file: Args.string({ required: true, description: "the bundle or seed, or - for standard input" }),
  };
  static override flags = {
    digest: digestFlag,
    names: Flags.boolean({
      description:
        "of a bundle, print nothing but the images' names: a line each, with the name upstream and the name at the site",
    }),
  };
  static override examples = [
    "<%= config.bin %> inspect site.tar",
    "<%= config.bin %> inspect site.tar --json | jq .bundle.blobs",
    "<%= config.bin %> inspect site.tar --names",
    "<%= config.bin %> inspect seed.tar.gz --json | jq -r '.seed.serves[]'",
  ];
  static override exitCodes = ["input", "integrity", "host"] as const;
  static override whenInterrupted = "Nothing was changed.";

  async run(): Promise<InspectedBundle | InspectedNames | InspectedSeed> {
    const { args, flags } = await this.parse(Inspect);
    const digestWanted = checkDigestFlag(flags.digest);
    const { beginningOf, openSource } = await import("../archive/open-source.ts");
    const { namingParts } = await import("../archive/wrong-parts.ts");
    return await namingParts(args.file, async () => {
      const { kind, source } = await beginningOf(await openSource(args.file));
      // Whoever names a bundle's digest wants a bundle.
      const mayBeSeed = kind === "tarball" && digestWanted === undefined && !flags.names;
      const seed = mayBeSeed ? await this.#inspectSeed(source) : undefined;
      return seed ?? (await this.#inspectBundle(source, digestWanted, flags.names));
    });
  }

  /** @returns undefined if it is no seed */
  async #inspectSeed(source: ByteSource): Promise<InspectedSeed | undefined> {
    const { chunksOf } = await import("../archive/open-source.ts");
    const { NoSeed, reportSeed } = await import("../bundle/seed-report.ts");
    const { name, size } = source;
    try {
      const seed = await runStep(this.reporter, `read ${name}`, async (step) => {
        if (size !== undefined) step.total(size);
        return await reportSeed(chunksOf(source), name, step);
      });
      await source.close();
      this.log(describeSeed(seed, process.stdout.columns));
      const [first] = seed.defects;
      if (first !== undefined) process.exitCode = exitCodes[first.kind];
      return { seed };
    } catch (error) {
      if (error instanceof NoSeed) return undefined;
      await source.close();
      throw error;
    }
  }

  async #inspectBundle(
    source: ByteSource,
    digestWanted: string | undefined,
    namesAlone: boolean,
  ): Promise<InspectedBundle | InspectedNames> {
    const { damageError } = await import("../archive/damage.ts");
    const { openBundle } = await import("../archive/reader.ts");
    const { describeCertificate } = await import("../certificates/inspect.ts");
    const bundle = await openBundle(source, digestWanted, { goOn: true });
    const damage = await bundle.damage().finally(() => bundle.close());
    if (damage.length > 0) throw damageError(bundle, damage, "`drydock verify` reads the rest, too.");
    const { digest, size, signatures, index, lacking } = bundle;
    for (const text of lacking) this.reporter.warn(text);
    if (lacking.length > 0) process.exitCode = exitCodes.integrity;
    if (namesAlone) {
      const names = namesAtSite(index);
      this.log(printable(columns(names.map(({ from, to }) => [from, to])), true));
      return { digest, lacking, names };
    }
    const { ca, server } = index.certificates;
    const describe = (name: typeof ca) => {
      const bytes = name && bundle.certificates.get(name);
      return bytes && describeCertificate(bytes.toString("utf8"));
    };
    const certificates = { ...present("ca", describe(ca)), ...present("server", describe(server)) };
    this.log(`digest        ${digest}\n${describeContents(index, size, process.stdout.columns)}`);
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
    return { digest, size, signatures, lacking, certificates, bundle: index };
  }
}

function present<K extends string, V>(key: K, value: V | undefined): { [P in K]?: V } {
  return value === undefined ? {} : ({ [key]: value } as { [P in K]: V });
}
