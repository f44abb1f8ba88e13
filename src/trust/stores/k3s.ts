/**
 * k3s's and RKE2's trust store: registries.yaml, from which they make containerd's configuration at each start, and
 * the CA beside it. https://docs.k3s.io/installation/private-registry
 */
import { mark } from "../remote-functions.ts";
import { isMarked, withoutMark } from "./mark.ts";
import { ownFile, ownFilesIn, ownPattern } from "./own-file.ts";
import { UnfitFile, withoutRegistry, withRegistry } from "./registries-yaml.ts";
import type { Seen } from "./seen.ts";
import { noPlan, type Store, type StorePlan, type Wanted } from "./store.ts";

interface Places {
  name: "k3s" | "rke2";
  services: readonly string[];
  folder: string;
  registries: string;
  /** written at each start, from registries.yaml */
  made: string;
}

export const k3s = storeOf("k3s", ["k3s", "k3s-agent"]);
export const rke2 = storeOf("rke2", ["rke2-server", "rke2-agent"]);

function storeOf(name: Places["name"], services: readonly string[]): Store {
  const folder = `/etc/rancher/${name}`;
  const registries = `${folder}/registries.yaml`;
  const made = `/var/lib/rancher/${name}/agent/etc/containerd/config.toml`;
  const places: Places = { name, services, folder, registries, made };
  return {
    name,
    isRoots: true,
    programs: [name],
    looksAt: () => [registries, ownPattern(folder), made],
    asks: () =>
      `if [ -e ${made} ] && [ ${registries} -nt ${made} ]; then echo ${mark}fact ${name} unread; fi;`,
    isThere: (seen) => seen.has(name) || seen.at(folder) !== undefined,
    install: (seen, wanted) => {
      const ca = ownFile(folder, seen, wanted);
      const plan = edited(places, seen, wanted, (text) => withRegistry(text, { ...wanted, ca: ca.path }));
      if (plan.files.length > 0) plan.files.push(ca);
      return plan;
    },
    remove: (seen, wanted) => {
      const gone = ownFilesIn(folder, seen, wanted);
      const { text } = seen.at(registries) ?? {};
      if (!wanted.names.some((each) => text?.includes(each))) return { ...noPlan(), gone };
      const isOurs = (path: string) => gone.includes(path);
      const plan = edited(places, seen, wanted, (left = "") => withoutRegistry(left, { ...wanted, isOurs }));
      // What still names the CA's file must find it.
      if (plan.findings.every(({ level }) => level !== "error")) plan.gone.push(...gone);
      return plan;
    },
  };
}

/** @param edit @returns undefined if nothing is left @throws UnfitFile */
function edited(
  { name, services, registries: path, made }: Places,
  seen: Seen,
  wanted: Wanted,
  edit: (text: string | undefined) => string | undefined,
): StorePlan {
  const plan = noPlan();
  const entry = seen.at(path);
  const ours = entry === undefined || isMarked(entry.text);
  const before = withoutMark(entry?.text);
  let content: string | undefined;
  try {
    if (entry !== undefined && before === undefined) throw new UnfitFile("it can't be read as text");
    content = edit(before);
  } catch (error) {
    if (!(error instanceof UnfitFile)) throw error;
    const reason = `${path} is left as it is: ${error.message}`;
    plan.findings.push({ level: "error", reason, hint: `Look at ${path} there, and run again.` });
    return plan;
  }
  if (content === undefined && ours) plan.gone.push(path);
  else plan.files.push({ path, content: content ?? "{}\n", ours });

  const isUnread = seen.fact(name) === "unread";
  if (seen.at(made) === undefined || (content === before && !isUnread)) return plan;
  if (wanted.restartRuntimes)
    plan.afterwards = { do: "restart", words: [name, ...services], isDue: isUnread };
  else {
    const reason = `${name} reads ${path} at its next start`;
    const hint = "With --restart-runtimes it is restarted now. Containers go on.";
    plan.findings.push({ level: "note", reason, hint });
  }
  return plan;
}
