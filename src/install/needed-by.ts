/** Who needs a damaged blob, in words. */
import { listed } from "../archive/damage.ts";

/** So many users are named; the rest is counted. */
const named = 4;

/** ", needed by team/app:1, team/app:2 and 7 more"; empty if nobody is known to. */
export function neededBy(users: readonly string[] | undefined): string {
  if (users === undefined || users.length === 0) return "";
  const shown = users.slice(0, named);
  if (users.length > named) shown.push(`${users.length - named} more`);
  return `, needed by ${listed(shown)}`;
}
