/**
 * Ansible's variables: which are followed, which have no bearing on how a host is reached, and which are refused
 * because leaving them out would reach another host, as another user, or in another way than was meant.
 * https://docs.ansible.com/ansible/latest/reference_appendices/special_variables.html
 */
import { DrydockError } from "../../errors.ts";
import type { Scalar, Value, Variables } from "./value.ts";

/** The names of one thing; of several that are set the last has its way, as with Ansible. */
const names = {
  host: ["ansible_host", "ansible_ssh_host"],
  port: ["ansible_port", "ansible_ssh_port"],
  user: ["ansible_user", "ansible_ssh_user"],
  key: ["ansible_private_key_file", "ansible_ssh_private_key_file"],
  connection: ["ansible_connection"],
  become: ["ansible_become"],
  repoHost: ["repo_host"],
} as const;

/** Arguments for ssh: those before what the other variables say, and those after. */
export const earlyArguments = ["ansible_ssh_args"] as const;
export const lateArguments = ["ansible_ssh_common_args", "ansible_ssh_extra_args"] as const;

const followed = new Set<string>([...Object.values(names).flat(), ...earlyArguments, ...lateArguments]);

/** Passwords are asked for. They are never taken from a file, whatever it says. */
const secret =
  /^ansible_(?:ssh_|become_|sudo_|su_)?pass(?:word|phrase)?$|^ansible_ssh_private_key_passphrase$/;

/** Values with which these variables say what is done here anyway. */
const agreeable: Record<string, RegExp> = {
  ansible_become_user: /^root$/,
  ansible_become_method: /^(?:ansible\.builtin\.)?sudo$/,
  ansible_become_exe: /^(?:\/usr\/bin\/)?sudo$/,
  ansible_become_flags: /^(?:\s*-[EHSn]+)*\s*$/,
  ansible_sudo_user: /^root$/,
  ansible_sudo_exe: /^(?:\/usr\/bin\/)?sudo$/,
  ansible_sudo_flags: /^(?:\s*-[EHSn]+)*\s*$/,
  ansible_shell_type: /^(?:sh|csh|fish)$/,
  ansible_ssh_executable: /^(?:\/usr\/bin\/)?ssh$/,
};

/** About speed, Python and terminals, not about where a connection goes. */
const harmless =
  /^ansible_ssh_(?:pipelining|retries|timeout|transfer_method|use_tty|control_path(?:_dir)?|(?:sftp|scp)_.*)$/;

const aboutConnecting =
  /^ansible_(?:ssh_|paramiko_|become|private_key|sudo|su$|su_|pass$|shell_type$|host_key_checking$)/;

/** What they are without sudo: nothing. */
const aboutBecoming = /^ansible_(?:become|sudo|su)_/;

/** One host's variables, and the errors about them. */
export class HostVariables {
  readonly #host: string;
  readonly #variables: Variables;

  constructor(host: string, variables: Variables) {
    this.#host = host;
    this.#variables = variables;
  }

  /**
   * @returns the text, which is not empty, or undefined where it is not set
   * @throws DrydockError "input" if it can't be read
   */
  text(of: keyof typeof names): { key: string; text: string; where: string } | undefined {
    for (const key of [...names[of]].reverse()) {
      const found = this.named(key);
      if (found === undefined) continue;
      if (found.text === "") throw this.fault(key, "is empty");
      return { key, ...found };
    }
    return undefined;
  }

  /** As `text`, by the variable's own name, and maybe empty. */
  named(key: string): { text: string; where: string } | undefined {
    const value = this.#variables.get(key);
    const scalar = value === undefined ? null : this.#scalar(key, value);
    if (value === undefined || scalar === null) return undefined;
    if (typeof scalar === "string") return { text: scalar, where: value.where };
    if (Number.isSafeInteger(scalar)) return { text: String(scalar), where: value.where };
    throw this.fault(key, `is ${String(scalar)}, and not text`, "Put it in quotes.");
  }

  /** @throws DrydockError "input" if it says neither yes nor no */
  become(): boolean | undefined {
    const [key] = names.become;
    const value = this.#variables.get(key);
    const scalar = value === undefined ? null : this.#scalar(key, value);
    if (scalar === null) return undefined;
    const text = String(scalar).trim().toLowerCase();
    if (/^(?:y|yes|on|1|true|t)$/.test(text)) return true;
    if (/^(?:n|no|off|0|false|f)$/.test(text)) return false;
    throw this.fault(key, `is ${JSON.stringify(text)}: wanted true or false`);
  }

  /**
   * Looks at all that is not followed.
   * @param options.local no SSH is spoken to it, and what is said about SSH means nothing
   * @param options.become false: nobody becomes root
   * @param note is told of what is stricter here
   * @throws DrydockError "input" if something can't be left out
   */
  checkOthers(options: { local: boolean; become: boolean }, note: (text: string) => void): void {
    for (const [key, value] of this.#variables) {
      if (secret.test(key)) {
        throw this.fault(
          key,
          "is a password; none is ever read from a file",
          "Take it out of the inventory: --ask-password and --ask-sudo-password ask for it at the terminal.",
        );
      }
      if (followed.has(key) || harmless.test(key) || !aboutConnecting.test(key)) continue;
      if (aboutBecoming.test(key) ? !options.become : options.local) continue;
      if ("scalar" in value && value.scalar === null) continue;
      if (/^ansible_(?:ssh_)?host_key_checking$/.test(key)) {
        if (!("scalar" in value) || !/^(?:true|yes|on|1)$/i.test(String(value.scalar)))
          note(`${value.where}: ${key} is not followed: host keys are always checked`);
        continue;
      }
      const scalar = this.#scalar(key, value);
      if (agreeable[key]?.test(String(scalar))) continue;
      throw this.fault(
        key,
        "would change how it is reached, and is not followed",
        "Clients are reached over SSH, and worked on as root or with sudo. To leave it out: --limit.",
      );
    }
  }

  /** The value is never shown by itself: it may be a password. */
  fault(key: string, what: string, hint?: string): DrydockError {
    const place = this.place(this.#variables.get(key)?.where ?? "");
    return new DrydockError("input", `${place}: ${key} ${what}`, { hint });
  }

  /** What an error begins with: `file:line: host "name"`. */
  place(where: string): string {
    return `${where}: host ${JSON.stringify(this.#host)}`;
  }

  #scalar(key: string, value: Value): Scalar {
    if ("unread" in value) {
      const hint = value.unread.includes("vault") ? "Write the value itself: it is no secret." : undefined;
      throw this.fault(key, `is ${value.unread}, which is not read`, hint);
    }
    if (typeof value.scalar === "string" && /\{[{%#]/.test(value.scalar))
      throw this.fault(key, "holds a template, which is not read", "Write the value itself.");
    return value.scalar;
  }
}
