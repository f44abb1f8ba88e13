/**
 * Digests, as in the OCI image specification ("Digests" in descriptor.md). Only sha256 is used: the
 * registry's storage knows no other canonical algorithm, and so does the bundle.
 */
import { createHash } from "node:crypto";
import { DrydockError } from "../errors.ts";

/** `sha256:` and 64 lower-case hexadecimal digits. */
export type Digest = `sha256:${string}`;

const pattern = /^sha256:[0-9a-f]{64}$/;

export function isDigest(text: string): text is Digest {
  return pattern.test(text);
}

/** @param where names the place in the error's text. @throws DrydockError "integrity" if it is none. */
export function parseDigest(text: unknown, where: string): Digest {
  if (typeof text === "string" && isDigest(text)) return text;
  throw new DrydockError("integrity", `${where}: ${JSON.stringify(text)} is not a sha256 digest`);
}

/** The 64 digits alone. */
export function hexOf(digest: Digest): string {
  return digest.slice("sha256:".length);
}

export function digestOf(bytes: Uint8Array | string): Digest {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

/** The first twelve digits, for people. */
export function shortDigest(digest: Digest): string {
  return hexOf(digest).slice(0, 12);
}
