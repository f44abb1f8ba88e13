/** The playbook that does the same: the same files on the same hosts, without facts, and as fast as Ansible goes. */
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Site } from "../../lab/site.ts";
import type { Command } from "../measure.ts";

export class Ansible {
  readonly #folder: string;
  readonly #site: Site;
  #runs = 0;

  private constructor(folder: string, site: Site) {
    this.#folder = folder;
    this.#site = site;
  }

  /** @param ca the file to carry @param files where it goes @param knownHosts so that host keys are checked here too */
  static async prepare(
    folder: string,
    { site, ca, files, knownHosts }: { site: Site; ca: string; files: string[]; knownHosts: string },
  ): Promise<Ansible> {
    await mkdir(folder, { recursive: true });
    const list = (values: string[]) => JSON.stringify([...new Set(values)]);
    const playbook = [
      "- hosts: all",
      "  gather_facts: false",
      "  tasks:",
      '    - file: {path: "{{ item }}", state: directory, mode: "0755"}',
      `      loop: ${list(files.map((file) => dirname(file)))}`,
      `    - copy: {src: ${JSON.stringify(ca)}, dest: "{{ item }}", mode: "0644"}`,
      `      loop: ${list(files)}`,
      "",
    ];
    const settings = [
      "[defaults]",
      "interpreter_python = /usr/bin/python3",
      "retry_files_enabled = false",
      // Many at once on few cores may be slow to begin.
      "timeout = 60",
      "[ssh_connection]",
      "pipelining = true",
      `ssh_args = -o ControlMaster=auto -o ControlPersist=10s -o UserKnownHostsFile=${knownHosts} -o StrictHostKeyChecking=yes`,
      "",
    ];
    await writeFile(join(folder, "playbook.yml"), playbook.join("\n"));
    await writeFile(join(folder, "ansible.cfg"), settings.join("\n"));
    return new Ansible(folder, site);
  }

  /** Each run makes connections of its own. */
  async command(inventory: string, forks: number): Promise<Command> {
    // A socket's path may have 107 bytes: not far below the temporary folder.
    const sockets = join(this.#folder, `c${++this.#runs}`);
    await mkdir(sockets);
    const [program, args] = this.#site.enter("ansible-playbook", [
      ...["-i", inventory, "--forks", String(forks), join(this.#folder, "playbook.yml")],
    ]);
    const env = {
      ...this.#site.env,
      ANSIBLE_CONFIG: join(this.#folder, "ansible.cfg"),
      ANSIBLE_SSH_CONTROL_PATH_DIR: sockets,
      ANSIBLE_NOCOLOR: "1",
    };
    return { program, args, env };
  }
}
