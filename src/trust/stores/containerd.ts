/**
 * containerd's trust store: NAME/hosts.toml below its config_path, read at each pull, and the CA beside it. Where
 * containerd is only Docker's own, nobody pulls with it.
 */
import { containerdFolder } from "../places.ts";
import { mark } from "../remote-functions.ts";
import { caFile, certsDPatterns, outOfCertsD } from "./certs-d.ts";
import { type ContainerdConfig, configFile, owner, readDump, withConfigPath } from "./containerd-config.ts";
import {
  type MirrorHost,
  mirrorsIn,
  registryHosts,
  upstreamHosts,
  withAuthority,
  withMirrors,
} from "./containerd-hosts.ts";
import { isMarked } from "./mark.ts";
import type { Seen } from "./seen.ts";
import { noPlan, type Store, type StorePlan, type Wanted } from "./store.ts";
import { withoutMarked } from "./toml.ts";

export const containerd: Store = {
  name: "containerd",
  isRoots: true,
  programs: [],
  looksAt: (seen) => {
    const base = seen === undefined ? containerdFolder : baseOf(configOf(seen));
    return [...certsDPatterns(base), `${base}/*/hosts.toml`, configFile];
  },
  asks: (chosen) =>
    [
      `if command -v containerd >/dev/null 2>&1; then direct=${chosen ? "1" : " "};`,
      "  if [ -d /etc/containerd/certs.d ]; then direct=1; fi;",
      "  command -v dockerd >/dev/null 2>&1 || direct=1;",
      "  for p in kubelet crictl nerdctl; do if command -v $p >/dev/null 2>&1; then direct=1; fi; done;",
      `  if [ -n "$direct" ]; then echo "${mark}fact containerd $(containerd config dump 2>/dev/null |`,
      '    od -An -v -tx1 | tr -d "[:space:]")"; fi;',
      "fi;",
    ].join(" "),
  isThere: (seen) => seen.fact("containerd") !== undefined,
  install,
  remove,
};

function configOf(seen: Seen): ContainerdConfig | undefined {
  return readDump(Buffer.from(seen.fact("containerd") ?? "", "hex").toString("utf8"));
}

function baseOf(config: ContainerdConfig | undefined): string {
  const [first] = config?.configPath ?? [];
  return first !== undefined && /^(?:\/[\w.-]+)+$/.test(first) ? first : containerdFolder;
}

function install(seen: Seen, wanted: Wanted): StorePlan {
  const config = configOf(seen);
  const base = baseOf(config);
  const plan = noPlan();
  const authorities = new Map<string, string>();
  for (const name of wanted.names) {
    const file = caFile(`${base}/${name}`, seen, wanted);
    if ("reason" in file) {
      plan.findings.push(file);
      continue;
    }
    plan.files.push(file);
    authorities.set(name, file.path);
    addHosts(plan, seen, base, { name, ca: file.path });
  }
  const mirrors = wanted.endpoints.flatMap((name) => {
    const ca = authorities.get(name);
    return ca === undefined ? [] : [{ name, ca }];
  });
  for (const upstream of wanted.mirrors) addMirrors(plan, seen, base, upstream, mirrors);
  if (config?.hasCri === true && config.configPath.length === 0) setConfigPath(plan, seen, config, wanted);
  return plan;
}

/** The registry's own hosts.toml. */
function addHosts(plan: StorePlan, seen: Seen, base: string, host: MirrorHost): void {
  const path = `${base}/${host.name}/hosts.toml`;
  const text = seen.at(path)?.text;
  // It is looked for under this name first.
  const other = `${base}/${host.name.replace(/:(\d+)$/, "_$1_")}`;
  if (other !== `${base}/${host.name}` && seen.at(other) !== undefined) {
    plan.findings.push({
      level: "error",
      reason: `containerd looks into ${other} instead of ${base}/${host.name}`,
      hint: `Move what is in it to ${base}/${host.name}, and remove it.`,
    });
  }
  if (seen.at(path) === undefined || isMarked(text)) {
    plan.files.push({ path, content: registryHosts(host), ours: true });
    return;
  }
  const merged = text === undefined ? undefined : withAuthority(text, host);
  if (merged !== undefined) plan.files.push({ path, content: merged, ours: false });
  else {
    plan.findings.push({
      level: "error",
      reason: `${path} is not drydock's and is left as it is, without the CA`,
      hint: `Name the CA in it, at the top and under each [host…]: ca = "${host.ca}"`,
    });
  }
}

function addMirrors(
  plan: StorePlan,
  seen: Seen,
  base: string,
  upstream: string,
  mirrors: readonly MirrorHost[],
): void {
  const path = `${base}/${upstream}/hosts.toml`;
  const text = seen.at(path)?.text;
  if (seen.at(path) === undefined || isMarked(text)) {
    const names = mirrors.map(({ name }) => name);
    const others = mirrorsIn(text).filter(({ name }) => !names.includes(name));
    plan.files.push({ path, content: upstreamHosts(upstream, [...mirrors, ...others]), ours: true });
    return;
  }
  const merged = text === undefined ? undefined : withMirrors(text, mirrors);
  if (merged !== undefined) plan.files.push({ path, content: merged, ours: false });
  else {
    plan.findings.push({
      level: "error",
      reason: `${path} can't be read as TOML, and is left as it is, without the mirror`,
      hint: `Put before all else in it: [host."https://${mirrors[0]?.name}"] with ca = "${mirrors[0]?.ca}"`,
    });
  }
}

function setConfigPath(plan: StorePlan, seen: Seen, config: ContainerdConfig, wanted: Wanted): void {
  const entry = seen.at(configFile);
  const lacks = `containerd's CRI plugin reads no certs.d there: ${configFile} has no config_path`;
  const content =
    config.hasOldWay || (entry !== undefined && entry.text === undefined)
      ? undefined
      : withConfigPath(entry?.text, config.version, containerdFolder);
  if (content === undefined) {
    plan.findings.push({
      level: "error",
      reason: config.hasOldWay
        ? `${lacks}, but registry.mirrors or .configs, which can't stand beside it`
        : lacks,
      hint: `By hand: config_path = "${containerdFolder}" under the CRI plugin's registry, and restart containerd.`,
    });
  } else if (wanted.restartRuntimes) {
    plan.files.push({ path: configFile, content, ours: entry === undefined });
    plan.afterwards = { do: "restart", words: ["containerd", "containerd"] };
  } else {
    plan.findings.push({
      level: "note",
      reason: lacks,
      hint: "Run again with --restart-runtimes: it is set, and containerd restarted. Containers go on.",
    });
  }
}

function remove(seen: Seen, wanted: Wanted): StorePlan {
  const base = baseOf(configOf(seen));
  const plan = outOfCertsD(base, seen, wanted);
  const others: string[] = [];
  for (const directory of seen.in(base)) {
    const path = `${base}/${directory}/hosts.toml`;
    const text = seen.at(path)?.text;
    if (text === undefined) continue;
    const there = mirrorsIn(text);
    const left = there.filter(({ name }) => !wanted.names.includes(name));
    if (isMarked(text) && left.length === 0) {
      plan.gone.push(path);
      continue;
    }
    others.push(path);
    if (!isMarked(text)) plan.files.push({ path, content: withoutMarked(text, wanted.names), ours: false });
    else if (left.length < there.length)
      plan.files.push({ path, content: upstreamHosts(directory, left), ours: true });
  }
  const config = seen.at(configFile)?.text ?? "";
  const without = withoutMarked(config, [owner]);
  if (without === config || others.length > 0) return plan;
  if (!wanted.restartRuntimes) {
    plan.findings.push({
      level: "note",
      reason: `config_path stays in ${configFile}, where it does no harm`,
      hint: "With --restart-runtimes it goes, too, and containerd is restarted.",
    });
    return plan;
  }
  if (isMarked(config)) plan.gone.push(configFile);
  else plan.files.push({ path: configFile, content: without, ours: false });
  plan.afterwards = { do: "restart", words: ["containerd", "containerd"] };
  return plan;
}
