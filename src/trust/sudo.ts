/**
 * Why root's rights were not to be had, from what sudo said. It is asked to speak English (LC_ALL=C).
 */
import { ClientFailure } from "./client.ts";

const seeDocs = "docs/sudo.md has the lines for sudoers that are enough.";

/** sudo wants a terminal to be there ("Defaults requiretty"). */
export function wantsTerminal(said: string): boolean {
  return /must have a tty|a terminal is required/.test(said);
}

export function wantsPassword(said: string): boolean {
  return said.includes("a password is required");
}

/** @param all that was said instead of beginning @param sent whether a password was sent */
export function noRights(user: string, all: string, sent: boolean): ClientFailure {
  // A host whose own name is not in its /etc/hosts: sudo says so each time, and goes on.
  const said = all.replace(/sudo: unable to resolve host .*?(?=sudo: |Sorry|\n|$)/g, "");
  const who = JSON.stringify(user);
  const refused = (text: string, hint: string) => new ClientFailure("refused", text, hint);
  if (/incorrect password|try again|no password was provided/.test(said)) {
    return refused(`sudo does not take the password of ${who}`, "It was sent once. Try again.");
  }
  if (/not in the sudoers file/.test(said)) {
    return refused(
      `${who} is not in the sudoers file there`,
      `Log in as root (ansible_user=root). ${seeDocs}`,
    );
  }
  if (/not allowed to|may not run sudo/.test(said)) {
    return refused(`${who} may not run this with sudo there: ${words(said)}`, seeDocs);
  }
  if (wantsTerminal(said)) {
    return refused(`sudo wants a terminal (requiretty), which could not be had: ${words(said)}`, seeDocs);
  }
  if (/sudo: (?:command )?not found|not found.*sudo|sudo: No such file/.test(said)) {
    return refused(`${who} is not root, and there is no sudo there`, "Log in as root (ansible_user=root).");
  }
  if (wantsPassword(said) && !sent) {
    return refused(
      `${who} can't become root there without a password: ${words(said)}`,
      `Ask for it with --ask-sudo-password, log in as root (ansible_user=root), or let sudo ask for none. ${seeDocs}`,
    );
  }
  return refused(`${who} can't become root there: ${words(said)}`, seeDocs);
}

/** The last line, shortened, without control characters. */
export function words(said: string): string {
  const line = said.trim().split("\n").at(-1) ?? "";
  return line.replace(/\p{Cc}/gu, " ").slice(0, 300);
}
