/**
 * Ansible's variables: which are used, which have no bearing on how a host is reached, and which are refused
 * because leaving them out would reach another host, as another user, or in another way than was meant.
 */
import { DrydockError } from "../errors.ts";

const used = new Set([
  "ansible_host",
  "ansible_port",
  "ansible_user",
  "ansible_ssh_private_key_file",
  "repo_host",
]);

/** Older spellings that Ansible still takes → the one to write. */
const oldNames: Record<string, string> = {
  ansible_ssh_host: "ansible_host",
  ansible_ssh_port: "ansible_port",
  ansible_ssh_user: "ansible_user",
  ansible_private_key_file: "ansible_ssh_private_key_file",
};

/** Values with which these variables say what is done here anyway. */
const agreeable: Record<string, RegExp> = {
  ansible_connection: /^(?:ssh|smart|paramiko|paramiko_ssh|ansible\.builtin\.ssh)$/,
  ansible_become: /^(?:true|yes|on|1|false|no|off|0)$/i,
  ansible_become_user: /^root$/,
  ansible_become_method: /^(?:sudo|ansible\.builtin\.sudo)$/,
};

/** About speed and Python, not about where a connection goes. */
const harmless = /^ansible_ssh_(?:pipelining|retries|timeout|transfer_method|control_path(?:_dir)?)$/;

const aboutConnecting =
  /^ansible_(?:ssh_|paramiko_|become|connection$|password$|private_key|host_key|sudo|su$|su_|pass$)/;

/**
 * @param where "file:line: host", for the error. The value is never shown: it may be a password.
 * @returns whether the variable is one that is used
 * @throws DrydockError "input" if it can't be left out and is not understood
 */
export function checkVariable(key: string, value: string, where: string): boolean {
  if (used.has(key)) {
    if (value === "") throw new DrydockError("input", `${where}: ${key} is empty`);
    if (!/\{[{%]/.test(value)) return true;
    throw new DrydockError("input", `${where}: ${key} holds a template, which is not read by this version`, {
      hint: "Write the value itself.",
    });
  }
  if (!aboutConnecting.test(key) || harmless.test(key) || agreeable[key]?.test(value)) return false;
  const name = oldNames[key];
  throw new DrydockError(
    "input",
    `${where}: ${key} would change how it is reached, and is not read by this version`,
    {
      hint:
        name === undefined
          ? "Clients are reached over ssh with a key or an agent, as root or with `sudo -n`."
          : `Write ${name} instead.`,
    },
  );
}
