/** `drydock verify`: reads and checks every byte of a bundle. */
import { Args } from "@oclif/core";
import { DrydockCommand } from "../cli/base-command.ts";
import { checkDigestFlag, digestFlag } from "../cli/digest-flag.ts";
import { count, formatBytes } from "../cli/format.ts";

export default class Verify extends DrydockCommand {
  static override summary = "Read every byte of a bundle and check it.";
  static override description =
    "Checks the archive's shape, the digest of each blob, and that nothing is in it that its index does not " +
    "list. Reads on past damage and past sectors that cannot be read, and names each damaged blob, the images " +
    "that need it, and where its bytes stand, also in which part. Install does the same with what it uses; a " +
    "verify before it is not needed.";
  static override args = {
    bundle: Args.string({ required: true, description: "the bundle, or - for standard input" }),
  };
  static override flags = {
    digest: digestFlag,
  };
  static override examples = [
    "<%= config.bin %> verify /media/stick/site.tar",
    "zstd -dc site.tar.zst | <%= config.bin %> verify - --digest DIGEST",
  ];
  static override exitCodes = ["input", "integrity", "host"] as const;
  static override whenInterrupted = "Nothing was changed.";

  async run(): Promise<{ digest: string; size: number; blobs: number; verified: true }> {
    const { args, flags } = await this.parse(Verify);
    const digestWanted = checkDigestFlag(flags.digest);
    const [{ openSource }, { openBundle }, { verify }, { namingParts }] = await Promise.all([
      import("../archive/open-source.ts"),
      import("../archive/reader.ts"),
      import("../archive/verify.ts"),
      import("../archive/wrong-parts.ts"),
    ]);
    const { name, digest, size, index } = await namingParts(args.bundle, async () => {
      const bundle = await openBundle(await openSource(args.bundle), digestWanted, { goOn: true });
      await verify(bundle, this.reporter).finally(() => bundle.close());
      return bundle;
    });
    this.log(
      `${name} is whole: ${count(index.blobs.length, "blob")}, ${formatBytes(size)}\ndigest ${digest}`,
    );
    return { digest, size, blobs: index.blobs.length, verified: true };
  }
}
