/** Preflight's checks of what runs on the host: the container's name and the port. */
import { readdir, readFile, readlink } from "node:fs/promises";
import { createServer } from "node:net";
import { inspectContainer } from "../engine/container.ts";
import { type Engine, engineFailure } from "../engine/engine.ts";
import { errorCode } from "../errors.ts";
import type { SiteLayout } from "../site/layout.ts";
import type { Finding } from "./finding.ts";
import { containerName, isOurs, nextName, previousName, siteLabel } from "./registry-container.ts";

/**
 * The names that the step "run" uses are free or this site's.
 * @param ways the id of the container that is taken over, or else the command that would take one over; and that
 *   which works on another site
 */
export async function checkContainer(
  engine: Engine,
  layout: SiteLayout,
  ways: {
    adopted?: string | undefined;
    toAdopt?: string | undefined;
    atSite?: (site: string) => string;
  } = {},
): Promise<Finding[]> {
  const findings = await Promise.all(
    [containerName, previousName, nextName].map(async (name): Promise<Finding[]> => {
      const info = await inspectContainer(engine, name);
      if (info === undefined || isOurs(info, layout) || info.Id === ways.adopted) return [];
      const site = info.Config.Labels?.[siteLabel];
      const whose =
        site === undefined
          ? ` (image ${info.Config.Image}), and it isn't drydock's`
          : `, which serves the site ${site}`;
      const way =
        site !== undefined
          ? ways.atSite && `To install there: \`${ways.atSite(site)}\`. `
          : name === containerName && ways.toAdopt && `To take it over: \`${ways.toAdopt}\`. `;
      return [
        {
          check: "container",
          level: "error",
          text: `there is a container "${name}"${whose}`,
          hint: `It is left alone. ${way || ""}${way ? "Or rename" : "Rename"} it (docker rename ${name} …) or remove it, then try again.`,
        },
      ];
    }),
  );
  return findings.flat();
}

/**
 * The port is free, or the site's own registry has it.
 * @param engine undefined if there is none @param command gives the command with another port, if one can be taken
 * @param adopted the id of the container that is taken over
 */
export async function checkPort(
  engine: Engine | undefined,
  layout: SiteLayout,
  port: number,
  command?: (port: number) => string,
  adopted?: string,
): Promise<Finding[]> {
  if (!(await isTaken(port))) return [{ check: "port", level: "ok", text: `${port} is free` }];
  const container = engine === undefined ? undefined : await containerOn(engine, port);
  if (container?.site === layout.root) {
    return [{ check: "port", level: "ok", text: `${port} is the registry's own` }];
  }
  if (container !== undefined && container.id === adopted) {
    return [{ check: "port", level: "ok", text: `${port} is that of the registry that is taken over` }];
  }
  const holder = container === undefined ? await processOn(port) : `container "${container.name}"`;
  const isLeft = engine !== undefined && holder?.startsWith("docker-proxy ") === true;
  const stop = isLeft ? restart : "Stop what listens there.";
  const otherwise = command
    ? `Or take another port: \`${command(await freePort())}\``
    : "Then run the same command again.";
  return [
    {
      check: "port",
      level: "error",
      text: `${port} is taken${holder === undefined ? "" : ` by ${holder}`}`,
      // Another port would not do: see checkContainer.
      hint:
        container?.name === containerName
          ? "What is done about that container does for the port, too."
          : `${stop} ${otherwise}`,
    },
  ];
}

/**
 * If the power is cut while a container is being started, Docker may start a proxy for it when it comes up, and no
 * container (seen with 20.10). Nobody else gets the port then until Docker is started once more.
 */
const restart =
  "No container of this engine is behind it: Docker may have kept the port from before it was killed, or the power " +
  "was cut. Then `systemctl restart docker` frees it.";

/** One to propose: clients then name it, as in registry.lan:8443/team/app. */
async function freePort(): Promise<number> {
  for (const port of [8443, 5000, 5443, 9443]) if (!(await isTaken(port))) return port;
  return 18443;
}

/** A listener on one address alone is found too: it is in the way of one on all of them. */
async function isTaken(port: number): Promise<boolean> {
  // One after the other, since the first would be in the second's way.
  return (await isTakenAt(port, "0.0.0.0")) || (await isTakenAt(port, "::"));
}

function isTakenAt(port: number, host: string): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    // Other errors (no IPv6, no right to ports below 1024) say nothing about who has the port.
    server.once("error", (error) => resolve(errorCode(error) === "EADDRINUSE"));
    server.listen({ port, host, ipv6Only: host === "::", exclusive: true }, () => {
      server.close(() => resolve(false));
    });
  });
}

async function containerOn(
  engine: Engine,
  port: number,
): Promise<{ id: string; name: string; site: string | undefined } | undefined> {
  const all = await engine.docker.listContainers().catch((error) => {
    throw engineFailure("list containers", error);
  });
  const found = all.find((one) => (one.Ports ?? []).some(({ PublicPort }) => PublicPort === port));
  if (found === undefined) return undefined;
  const name = (found.Names[0] ?? found.Id).replace(/^\//, "");
  return { id: found.Id, name, site: found.Labels?.[siteLabel] };
}

/** `nginx (process 123)` from /proc (proc(5)): the listening socket's inode, then who has it open. */
async function processOn(port: number): Promise<string | undefined> {
  const tables = await Promise.all(["/proc/net/tcp", "/proc/net/tcp6"].map((path) => textOf(path)));
  const sockets = new Set(
    tables
      .flatMap((table) => table.split("\n").map((line) => line.trim().split(/\s+/)))
      .filter(
        ([, local, , state]) => state === "0A" && Number.parseInt(local?.split(":")[1] ?? "", 16) === port,
      )
      .map((fields) => `socket:[${fields[9]}]`),
  );
  if (sockets.size === 0) return undefined;
  const processes = (await readdir("/proc").catch(() => [])).filter((name) => /^\d+$/.test(name));
  for (const id of processes) {
    if (await hasOpen(id, sockets)) return `${(await textOf(`/proc/${id}/comm`)).trim()} (process ${id})`;
  }
  return undefined;
}

async function hasOpen(id: string, targets: Set<string>): Promise<boolean> {
  const folder = `/proc/${id}/fd`;
  // Processes end while we look, and others' are closed to us unless we are root.
  const names = await readdir(folder).catch(() => []);
  const links = await Promise.all(names.map((name) => readlink(`${folder}/${name}`).catch(() => "")));
  return links.some((link) => targets.has(link));
}

function textOf(path: string): Promise<string> {
  return readFile(path, "utf8").catch(() => "");
}
