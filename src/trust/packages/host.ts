/**
 * What a client is, as far as packages go: whether it has a Docker engine, its distribution, its processor, its
 * service manager. One look, with the login user's rights; it changes nothing.
 */
import { type Architecture, architectures, type PackageKind } from "../../archive/packages.ts";
import type { Connection } from "../connection.ts";
import { mark } from "../remote-functions.ts";
import { runAsUser } from "../remote-shell.ts";

export interface Host {
  /** where dockerd is, if it is */
  dockerd?: string;
  /** dockerd is there because a package was unpacked, whose installation did not come to its end */
  halfInstalled: boolean;
  /** whether a dockerd runs there, whoever's */
  running: boolean;
  /** whether systemd runs there */
  systemd: boolean;
  /** of os-release(5): ID, the words of ID_LIKE, VERSION_ID; empty where it says nothing */
  id: string;
  like: string[];
  version: string;
  /** for each kind of packages what their own tool says; undefined without the tool, or where it is another one */
  architectures: Record<PackageKind, Architecture | undefined>;
}

/** Other users' processes may be hidden from this one (hidepid, proc(5)), but not what systemd says. */
export const isRunning =
  "{ set +f; grep -sqx dockerd /proc/[0-9]*/comm || systemctl is-active -q docker; } 2>/dev/null";

/** Written as remote-functions.ts explains. */
const script = [
  "PATH=$PATH:/usr/local/sbin:/usr/local/bin:/snap/bin:$HOME/bin;",
  `if f=$(command -v dockerd); then echo ${mark}dockerd $f;`,
  `  if owner=$(dpkg-query -S $f 2>/dev/null); then echo ${mark}dpkg $(dpkg-query -s \${owner%%:*} | grep ^Status:); fi; fi;`,
  `if ${isRunning}; then echo ${mark}running yes; fi;`,
  `if [ -d /run/systemd/system ]; then echo ${mark}systemd yes; fi;`,
  "( if [ -r /etc/os-release ]; then . /etc/os-release; else . /usr/lib/os-release; fi 2>/dev/null;",
  `  echo "${mark}id $ID"; echo "${mark}like $ID_LIKE"; echo "${mark}version $VERSION_ID" );`,
  `if a=$(dpkg --print-architecture 2>/dev/null); then echo ${mark}deb $a; fi;`,
  `if a=$(rpm --eval %_arch 2>/dev/null); then echo ${mark}rpm $a; fi;`,
  `echo ${mark}static $(uname -m); exit 0`,
];

/** @throws ClientFailure */
export async function lookAtHost(connection: Connection): Promise<Host> {
  return readHost(await runAsUser(connection, script));
}

export function readHost(lines: readonly string[]): Host {
  const after = (word: string) => lines.find((line) => line.startsWith(`${word} `))?.slice(word.length + 1);
  const words = (word: string) => (after(word) ?? "").trim().split(/\s+/).filter(Boolean);
  const dockerd = after("dockerd");
  const status = after("dpkg");
  return {
    ...(dockerd === undefined ? {} : { dockerd }),
    halfInstalled: status !== undefined && !/ ok installed$/.test(status),
    running: after("running") !== undefined,
    systemd: after("systemd") !== undefined,
    id: words("id")[0] ?? "",
    like: words("like"),
    version: words("version")[0] ?? "",
    architectures: {
      deb: architectureOf(words("deb")[0]),
      rpm: architectureOf(words("rpm")[0]),
      static: architectureOf(words("static")[0]),
    },
  };
}

/** dpkg's, RPM's and the kernel's own names, where they are others than Docker's. */
const names: Record<string, Architecture> = {
  ...{ x86_64: "amd64", aarch64: "arm64", armhf: "arm", armv7hl: "arm", armv7l: "arm", ppc64el: "ppc64le" },
};

function architectureOf(name = ""): Architecture | undefined {
  return names[name] ?? architectures.find((one) => one === name);
}

/** "debian 12 amd64" */
export function describeHost({ id, version, architectures: of }: Host): string {
  const architecture = of.deb ?? of.rpm ?? of.static ?? "of an unknown processor";
  return [id || "a host without os-release", version, architecture].filter((part) => part !== "").join(" ");
}
