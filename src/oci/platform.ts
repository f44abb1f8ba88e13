/**
 * Platforms, `os/architecture[/variant]`, as in the OCI image specification (image-index.md, "platform").
 */
import { DrydockError } from "../errors.ts";

export interface Platform {
  os: string;
  architecture: string;
  variant?: string;
}

const aliases = new Map([
  ["x86_64", "amd64"],
  ["x86-64", "amd64"],
  ["aarch64", "arm64"],
]);

/** @throws DrydockError "input" if the text is not of that form. */
export function parsePlatform(text: string): Platform {
  const [os, architecture, variant, ...more] = text.toLowerCase().split("/");
  const parts = [os, architecture, ...(variant === undefined ? [] : [variant])];
  if (more.length > 0 || !parts.every((part) => part !== undefined && /^[a-z0-9_.-]+$/.test(part))) {
    throw new DrydockError("input", `read platform ${JSON.stringify(text)}: it is not os/architecture`, {
      hint: "Write it as linux/amd64 or linux/arm/v7.",
    });
  }
  const known = aliases.get(architecture ?? "") ?? architecture ?? "";
  return { os: os ?? "", architecture: known, ...(variant === undefined ? {} : { variant }) };
}

export function formatPlatform(platform: Platform): string {
  const { os, architecture, variant } = platform;
  return `${os}/${architecture}${variant === undefined || variant === "" ? "" : `/${variant}`}`;
}

/** Buildkit names the platform of what cannot run, such as an attestation, unknown/unknown. */
export function isUnknownPlatform(platform: Platform): boolean {
  return platform.os === "unknown" || platform.architecture === "unknown";
}

/** The variant that is meant where none is given: containerd's platforms.Normalize. */
function variantOf(platform: Platform): string {
  const { architecture, variant = "" } = platform;
  if (architecture === "arm64") return variant === "" ? "v8" : variant;
  if (architecture === "arm") return variant === "" ? "v7" : variant;
  if (architecture === "amd64") return variant === "" ? "v1" : variant;
  return variant;
}

/** Whether `have` is the platform wanted, to the variant: linux/arm64 is linux/arm64/v8. */
export function matchesPlatform(wanted: Platform, have: Platform): boolean {
  return (
    wanted.os === have.os &&
    wanted.architecture === have.architecture &&
    variantOf(wanted) === variantOf(have)
  );
}

/**
 * Those that are of the platform wanted. Where there is none and it is a 32-bit arm, those of the next
 * older variant, which run on it too.
 */
export function selectPlatform<T>(
  candidates: readonly T[],
  platformOf: (candidate: T) => Platform | undefined,
  wanted: Platform,
): T[] {
  const of = (platform: Platform): T[] =>
    candidates.filter((candidate) => {
      const have = platformOf(candidate);
      return have !== undefined && matchesPlatform(platform, have);
    });
  const exact = of(wanted);
  if (exact.length > 0 || wanted.architecture !== "arm") return exact;
  const newest = Number(/^v(\d)$/.exec(variantOf(wanted))?.[1] ?? 0);
  for (let version = newest - 1; version >= 5; version -= 1) {
    const older = of({ ...wanted, variant: `v${version}` });
    if (older.length > 0) return older;
  }
  return [];
}
