/** Users of a lab host, with passwords and sudo: shell lines for startSshd's `run`. */
import { execFileSync } from "node:child_process";

export interface LabUser {
  name: string;
  uid?: number;
  /** default /bin/sh */
  shell?: string;
  /** default /tmp, root's /root */
  home?: string;
  /** without one, no password logs in */
  password?: string;
  /** it has to be changed at the next login */
  expired?: boolean;
}

/** Puts these users before those of the host's own /etc/passwd and /etc/shadow; the first one of a name counts. */
export function withUsers(...users: LabUser[]): string[] {
  const passwd = users.map(
    ({ name, uid = 4711, shell = "/bin/sh", home = name === "root" ? "/root" : "/tmp" }) => {
      return `${name}:x:${name === "root" ? 0 : uid}:${name === "root" ? 0 : uid}::${home}:${shell}`;
    },
  );
  const shadow = users.map(
    ({ name, password, expired = false }) => `${name}:${hash(password)}:${expired ? 0 : 20000}:0:99999:7:::`,
  );
  return [
    `{ printf '%s\\n' ${passwd.map((line) => `'${line}'`).join(" ")}; cat /etc/passwd; } > $FOLDER/passwd`,
    "mount --bind $FOLDER/passwd /etc/passwd",
    `umask 077; { printf '%s\\n' ${shadow.map((line) => `'${line}'`).join(" ")}; cat /etc/shadow; } > $FOLDER/shadow`,
    "mount --bind $FOLDER/shadow /etc/shadow; umask 022",
  ];
}

/** The password goes to openssl by stdin. */
function hash(password: string | undefined): string {
  if (password === undefined) return "*";
  return execFileSync("openssl", ["passwd", "-6", "-stdin"], { input: password, encoding: "utf8" }).trim();
}

/** The host's /etc/sudoers has these lines alone, and root's. */
export function withSudoers(...lines: string[]): string[] {
  const all = ["root ALL=(ALL) ALL", ...lines].map((line) => `'${line}'`).join(" ");
  return [
    `printf '%s\\n' ${all} > $FOLDER/sudoers; chmod 440 $FOLDER/sudoers`,
    "mount --bind $FOLDER/sudoers /etc/sudoers",
  ];
}
