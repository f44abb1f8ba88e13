/**
 * A drop-in for registries.conf: Podman, Buildah, CRI-O and skopeo look for the images of an upstream in the
 * registry first. Of two drop-ins for one upstream the later one would win, so where somebody else's names it, ours
 * does not. https://github.com/containers/image/blob/main/docs/containers-registries.conf.5.md
 */
import { isMarked } from "./mark.ts";
import type { Seen } from "./seen.ts";
import { noPlan, type StorePlan, type Wanted } from "./store.ts";
import { isTable, parseToml, type TomlTable } from "./toml.ts";

const configFile = "/etc/containers/registries.conf";
const folder = "/etc/containers/registries.conf.d";
const dropIn = `${folder}/drydock.conf`;

export const mirrorPatterns = [configFile, `${folder}/*.conf`];

export function addMirrors(seen: Seen, wanted: Wanted): StorePlan {
  const plan = noPlan();
  if (wanted.mirrors.length === 0) return plan;
  const upstreams = upstreamsIn(seen.at(dropIn)?.text);
  for (const upstream of wanted.mirrors) {
    const other = whoNames(upstream, seen);
    if (other === undefined) {
      const others = (upstreams.get(upstream) ?? []).filter((name) => !wanted.endpoints.includes(name));
      upstreams.set(upstream, [...wanted.endpoints, ...others]);
      continue;
    }
    upstreams.delete(upstream);
    if (wanted.endpoints.every((name) => other.mirrors.includes(name))) continue;
    plan.findings.push({
      level: "error",
      reason: `${other.path} says already where ${upstream} is, and is left as it is`,
      hint: `Put the mirror there: [[registry.mirror]] with location = "${wanted.endpoints[0]}"`,
    });
  }
  if (upstreams.size > 0) plan.files.push({ path: dropIn, content: dropInFor(upstreams), ours: true });
  return plan;
}

export function removeMirrors(seen: Seen, wanted: Wanted): StorePlan {
  const plan = noPlan();
  const { text } = seen.at(dropIn) ?? {};
  if (!isMarked(text)) return plan;
  const left = [...upstreamsIn(text)]
    .map(([upstream, mirrors]) => [upstream, mirrors.filter((name) => !wanted.names.includes(name))] as const)
    .filter(([, mirrors]) => mirrors.length > 0);
  if (left.length === 0) plan.gone.push(dropIn);
  else plan.files.push({ path: dropIn, content: dropInFor(new Map(left)), ours: true });
  return plan;
}

function dropInFor(upstreams: ReadonlyMap<string, readonly string[]>): string {
  return [...upstreams]
    .map(([upstream, mirrors]) =>
      [
        "[[registry]]",
        `prefix = "${upstream}"`,
        `location = "${upstream}"`,
        ...mirrors.flatMap((name) => ["[[registry.mirror]]", `location = "${name}"`]),
        "",
      ].join("\n"),
    )
    .join("\n");
}

/** Upstream → its mirrors, from a drop-in of ours. */
function upstreamsIn(text: string | undefined): Map<string, string[]> {
  if (!isMarked(text)) return new Map();
  return new Map(registriesIn(text).map((registry) => [String(registry.prefix), mirrorsOf(registry)]));
}

/** Somebody else's file in which an upstream stands. */
function whoNames(upstream: string, seen: Seen): { path: string; mirrors: string[] } | undefined {
  const paths = [configFile, ...seen.in(folder).map((name) => `${folder}/${name}`)];
  for (const path of paths) {
    const { text } = seen.at(path) ?? {};
    if (!path.endsWith(".conf") || isMarked(text)) continue;
    const registry = registriesIn(text).find(({ prefix, location }) => (prefix ?? location) === upstream);
    if (registry !== undefined) return { path, mirrors: mirrorsOf(registry) };
  }
  return undefined;
}

function registriesIn(text: string | undefined): TomlTable[] {
  const { registry } = parseToml(text ?? "") ?? {};
  return Array.isArray(registry) ? registry.filter(isTable) : [];
}

function mirrorsOf({ mirror }: TomlTable): string[] {
  return Array.isArray(mirror) ? mirror.filter(isTable).map(({ location }) => String(location)) : [];
}
