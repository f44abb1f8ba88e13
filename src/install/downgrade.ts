/** Preflight's look at the release's number: a site refuses to go back by accident. */
import type { BundleIndex } from "../archive/bundle-index.ts";
import { shortDigest } from "../oci/digest.ts";
import type { ReleaseRecord } from "../site/record.ts";
import { commandToType, siteWords } from "./command-to-type.ts";
import type { Finding } from "./finding.ts";
import { nameOf } from "./history.ts";

type Named = Pick<ReleaseRecord, "name" | "release">;

export interface DowngradeCheck {
  /** the release that is served now */
  served: Named | undefined;
  /** those that were installed here: `rollback` goes to any of them */
  records: readonly Pick<ReleaseRecord, "name" | "release" | "bundleDigest">[];
  /** whether the user said that it may be an older one */
  allowed: boolean;
  /** the command's words as they were typed */
  typed: readonly string[];
}

export function checkDowngrade(
  bundle: Pick<BundleIndex, "name" | "release">,
  { served, records, allowed, typed }: DowngradeCheck,
): Finding[] {
  const { name, release } = bundle;
  if (served === undefined || served.name !== name || served.release <= release) return [];
  const text = `${nameOf(served)}, is served here, and the bundle is the older release ${release}`;
  if (allowed) return [{ check: "release", level: "warning", text }];
  const here = records.find((one) => one.name === name && one.release === release);
  const back =
    here === undefined
      ? ""
      : `Release ${release} was here before. To go back to it, without the bundle: \`${rollback(here, records, typed)}\`. `;
  const all = here === undefined ? "To install it" : "To install it from the bundle";
  const command = commandToType(typed, { allowDowngrade: true });
  return [{ check: "release", level: "error", text, hint: `${back}${all} all the same: \`${command}\`` }];
}

/** By its number, unless several releases have it. */
function rollback(
  { release, bundleDigest }: DowngradeCheck["records"][number],
  records: DowngradeCheck["records"],
  typed: readonly string[],
): string {
  const isOnly = records.filter((one) => one.release === release).length === 1;
  const which = isOnly ? String(release) : shortDigest(bundleDigest);
  const [program = "drydock"] = typed;
  return commandToType([program, "rollback", which, ...siteWords(typed)], {});
}
