/**
 * Installs Docker on a client that lacks it, offline, from packages that the site has: nothing else that is there
 * is upgraded, replaced or removed, or it is not begun.
 */
import { describeMatch, type PackageKind } from "../../archive/packages.ts";
import type { SitePackages } from "../../site/packages.ts";
import { type Client, ClientFailure, type InstalledDocker, type Note } from "../client.ts";
import type { Connection } from "../connection.ts";
import { mark } from "../remote-functions.ts";
import { runAsRoot, runAsUser } from "../remote-shell.ts";
import { choosePackages } from "./choose.ts";
import { installDeb } from "./deb.ts";
import { describeHost, type Host, isRunning, lookAtHost } from "./host.ts";
import { installRpm } from "./rpm.ts";
import { sendPackages } from "./send.ts";
import { installStatic, unit } from "./static.ts";

export interface PackagesWork {
  /** if Docker was installed */
  installed?: InstalledDocker;
  /** what is to be known about the engine there */
  findings: Note[];
}

/** Packages unpack and start for minutes on a slow disk, and another installation may be waited for. */
const patienceMs = 20 * 60_000;

/**
 * refuse TEXT SAID     ends the script before anything was changed
 * installed NAME=VER   tells of a package
 *
 * The first word is the folder with the files, which goes whatever happens. Nothing that ends the connection
 * stops an installation that has begun: half of one would be worse.
 */
const begin = [
  `refuse() { echo "${mark}refused $1" $2; exit 0; };`,
  `installed() { echo ${mark}installed $1; };`,
  'files=$1; shift; trap "undo; rm -rf $files" EXIT; trap "" HUP INT TERM; umask 022;',
  "PATH=/usr/local/sbin:/usr/local/bin:$PATH;",
];

const scripts: Record<PackageKind, readonly string[]> = {
  deb: installDeb,
  rpm: installRpm,
  static: installStatic,
};

/** RPM packages leave it to whoever installs them to start the service. */
const end = [
  'version=$(dockerd --version 2>&1) || problem "it is installed there, but dockerd does not run:" "$version";',
  `version=\${version#*version }; echo ${mark}engine \${version%%,*};`,
  "if [ -d /run/systemd/system ]; then",
  "  said=$(root systemctl enable --now docker.service 2>&1) ||",
  '    problem "Docker is installed there, and systemd does not start it:" "$said"; fi;',
  `if ${isRunning}; then echo ${mark}runs; fi; exit 0`,
];

/** What to do about an installation that did not come to its end. */
const afterwards: Record<PackageKind, string> = {
  deb: "`dpkg --configure -a` there goes on with what is unpacked. Then run the same command again.",
  rpm: "Look there, and run the same command again.",
  static: "Look there, and run the same command again.",
};

const asDocumented = "docs/packages.md says how to collect packages.";

/**
 * @param options.tell is told what is being done
 * @param options.changing is called before anything is installed: the connection may break on the way
 * @throws ClientFailure "failed": there are none for this host, or they can't be installed; as runAsRoot
 */
export async function installPackages(
  connection: Connection,
  client: Client,
  options: { sets: readonly SitePackages[]; tell: (doing: string) => void; changing: () => void },
): Promise<PackagesWork> {
  const { sets, tell, changing } = options;
  const host = await lookAtHost(connection);
  if (host.running) return { findings: [] };
  if (host.dockerd !== undefined && !host.halfInstalled) return { findings: [notRunning(host)] };
  const set = chosen(host, sets);
  // Before anything is sent in vain.
  await runAsRoot(connection, client, ["exit 0"]);
  tell("sending packages");
  const folder = await sendPackages(connection, set.files);
  tell("installing packages");
  changing();
  try {
    return await install(connection, client, set, folder);
  } finally {
    if (connection.isOpen()) await runAsUser(connection, ["rm -rf $1; exit 0"], [folder]).catch(() => {});
  }
}

function chosen(host: Host, sets: readonly SitePackages[]): SitePackages {
  const set = choosePackages(host, sets);
  if (set === undefined) {
    const has = [...new Set(sets.map(({ match }) => describeMatch(match)))].join(", ");
    const text = `it has no Docker, and the site has no packages for ${describeHost(host)}, only for ${has}`;
    throw new ClientFailure("failed", text, `Carry some for it in the next bundle: ${asDocumented}`);
  }
  if (set.kind === "static" && !host.systemd) {
    const text = "it has no Docker, and Docker's tarball takes systemd, which does not run there";
    throw new ClientFailure("failed", text, "Install Docker there by hand, or leave the host out.");
  }
  return set;
}

async function install(
  connection: Connection,
  client: Client,
  { kind, files, match }: SitePackages,
  folder: string,
): Promise<PackagesWork> {
  const script = [...begin, ...scripts[kind], ...end];
  const args = [folder, ...files.map(({ name }) => name)];
  const payload = kind === "static" ? unit : "";
  const running = runAsRoot(connection, client, script, args, payload, patienceMs);
  const lines = await running.catch((error: unknown) => {
    if (!(error instanceof ClientFailure) || error.status !== "failed") throw error;
    throw new ClientFailure("failed", error.message, error.hint ?? afterwards[kind]);
  });
  const after = (word: string) =>
    lines.filter((line) => line.startsWith(`${word} `)).map((line) => line.slice(word.length + 1));
  const [refused] = after("refused");
  if (refused !== undefined) {
    const text = `Docker can't be installed from the packages for ${describeMatch(match)}: ${refused.slice(0, 600)}`;
    throw new ClientFailure("failed", text, `Nothing was installed there. ${asDocumented}`);
  }
  const packages = after("installed").map((line) => line.replace("=", " "));
  const installed = { engine: after("engine")[0] ?? "", packages };
  return { installed, findings: lines.includes("runs") ? [] : [notStarted] };
}

function notRunning({ dockerd, systemd }: Host): Note {
  const hint = systemd ? "Start it there: `systemctl enable --now docker`." : notStarted.hint;
  return { reason: `${dockerd} is there, and does not run`, hint };
}

const notStarted = {
  reason: "Docker is installed, and no service manager has started it: systemd does not run there",
  hint: "Start dockerd there, and see to it that it starts with the host.",
};
