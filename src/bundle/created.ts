/** When a bundle was made: now, or what SOURCE_DATE_EPOCH says (reproducible-builds.org's specification). */
import { DrydockError } from "../errors.ts";

/** @returns RFC 3339, in UTC, whole seconds @throws DrydockError "usage" if SOURCE_DATE_EPOCH is no time. */
export function createdTime(now = new Date(), epoch = process.env.SOURCE_DATE_EPOCH): string {
  if (epoch !== undefined && !/^\d{1,11}$/.test(epoch)) {
    throw new DrydockError(
      "usage",
      `read SOURCE_DATE_EPOCH: ${JSON.stringify(epoch)} is not a number of seconds`,
    );
  }
  const time = epoch === undefined ? now : new Date(Number(epoch) * 1000);
  return `${time.toISOString().slice(0, 19)}Z`;
}
