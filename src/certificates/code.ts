/**
 * Codes that people copy onto paper and type in again at the site. The letters are Crockford's base32:
 * no I, L, O and U, so that nothing is taken for something else.
 */
import { randomBytes } from "node:crypto";

const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const pattern = new RegExp(`^[${alphabet}]{20}$`);

/** A new code such as `7GQ2-M4XA-9T0C-KD3E-WZ51`: twenty letters of five bits, 100 random bits. */
export function makeCode(): string {
  let letters = "";
  // 256 is a multiple of 32: each letter is equally likely
  for (const byte of randomBytes(20)) letters += alphabet.charAt(byte % alphabet.length);
  return grouped(letters);
}

/**
 * What makeCode printed, out of what was typed: lower case, spaces, other or missing dashes, O for 0 and
 * I or L for 1 are put right. A text that cannot be such a code comes back as it is.
 */
export function normalizeCode(text: string): string {
  const letters = text
    .toUpperCase()
    .replace(/[\s\p{Pd}_.−]/gu, "")
    .replaceAll("O", "0")
    .replace(/[IL]/g, "1");
  return pattern.test(letters) ? grouped(letters) : text;
}

function grouped(letters: string): string {
  return (letters.match(/.{4}/g) ?? []).join("-");
}
