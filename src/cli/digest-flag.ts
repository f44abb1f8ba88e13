/** The flag --digest of the commands that read a bundle. */
import { Flags } from "@oclif/core";
import { DrydockError } from "../errors.ts";

export const digestFlag = Flags.string({
  helpValue: "DIGEST",
  description: "the bundle must have this digest, as `drydock bundle` printed it",
  parse: async (text) => checkDigestText(text),
});

/** 64 hexadecimal digits, with or without "sha256:". A half of them would only look like a wrong bundle. */
function checkDigestText(text: string): string {
  if (/^(sha256:)?[0-9a-f]{64}$/i.test(text)) return text;
  throw new DrydockError("usage", `--digest ${JSON.stringify(text)}: wanted 64 hexadecimal digits`, {
    hint: "Give the digest that `drydock bundle` printed, all of it.",
  });
}
