/** The flag --digest of the commands that read a bundle. */
import { Flags } from "@oclif/core";
import { DrydockError } from "../errors.ts";

export const digestFlag = Flags.string({
  helpValue: "DIGEST",
  description: "the bundle must have this digest, as `drydock bundle` printed it",
});

/**
 * What was given, checked: a half of a digest would only look like a wrong bundle. (Not in the flag's own
 * `parse`: oclif writes into the errors that it throws.)
 * @throws DrydockError "usage"
 */
export function checkDigestFlag(text: string | undefined): string | undefined {
  if (text === undefined || /^(sha256:)?[0-9a-f]{64}$/i.test(text)) return text;
  throw new DrydockError("usage", `--digest ${JSON.stringify(text)}: wanted 64 hexadecimal digits`, {
    hint: "Give the digest that `drydock bundle` printed, all of it.",
  });
}
