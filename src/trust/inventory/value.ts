/**
 * A variable's value, as far as the files say it: texts, numbers and truths are read, and of all else is kept
 * what it is, to be named if it turns out to be of use.
 */

export type Scalar = string | number | boolean | null;

export type Value = {
  /** "file:line" that sets it */
  where: string;
} & (
  | {
      /** null is "not set", as for Ansible */
      scalar: Scalar;
    }
  | {
      /** "a list": what stands there instead */
      unread: string;
    }
);

/** By the variable's name; only of those that may be of use, see `isOfUse`. */
export type Variables = Map<string, Value>;

/** Whether a variable may say something about how a host is reached; all others may hold what they like. */
export function isOfUse(key: string): boolean {
  return key.startsWith("ansible_") || key === "repo_host";
}
