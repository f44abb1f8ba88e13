/** Preflight's look at the release's number: a site refuses to go back by accident. */
import type { BundleIndex } from "../archive/bundle-index.ts";
import type { ReleaseRecord } from "../site/record.ts";
import type { Finding } from "./finding.ts";

/** @param served the release that is served now @param allowed whether the user said that it may be an older one */
export function checkDowngrade(
  { name, release }: Pick<BundleIndex, "name" | "release">,
  served: Pick<ReleaseRecord, "name" | "release"> | undefined,
  allowed: boolean,
): Finding[] {
  if (served === undefined || served.name !== name || served.release <= release) return [];
  const text = `${name}, release ${served.release}, is served here, and the bundle is release ${release}`;
  if (allowed) return [{ check: "release", level: "warning", text: `${text}: an older one` }];
  return [
    {
      check: "release",
      level: "error",
      text: `${text}: an older one`,
      hint: "`drydock rollback` goes back to a release that was here before. To install this one all the same, add --allow-downgrade.",
    },
  ];
}
