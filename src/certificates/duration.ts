/**
 * Durations as cfssl's files have them: Go's time.ParseDuration, of which only units that make sense
 * for a certificate are taken.
 */
import { DrydockError } from "../errors.ts";

export const hour = 3_600_000;
export const day = 24 * hour;

const unit = { h: hour, m: 60_000, s: 1000 } as const;
const pattern = /^([0-9]+(\.[0-9]+)?[hms])+$/;

/** A certificate's dates end with the year 9999 (RFC 5280, 4.1.2.5); a hundred years stay clear of it. */
const most = 100 * 366 * day;

/** @returns milliseconds. @throws DrydockError "input" beginning with `where`. */
export function parseDuration(text: string, where: string): number {
  if (!pattern.test(text)) {
    throw new DrydockError(
      "input",
      `${where}: wanted a duration such as "43800h", got ${JSON.stringify(text)}`,
    );
  }
  let sum = 0;
  for (const [, number, name] of text.matchAll(/([0-9.]+)([hms])/g)) {
    sum += Number(number) * unit[name as keyof typeof unit];
  }
  if (sum < hour || sum > most) {
    throw new DrydockError(
      "input",
      `${where}: wanted one hour to a hundred years, got ${JSON.stringify(text)}`,
    );
  }
  return sum;
}
