/**
 * Images in Kubernetes objects: every pod's and pod template's containers, init and ephemeral containers
 * and image volumes (Kubernetes API reference, PodSpec). What other objects mean, those that an operator
 * reads, only it knows: they are named in a note.
 */
import type { FoundImage, FoundImages } from "./found.ts";
import { isMapping, list, mapping, type YamlText } from "./yaml-text.ts";

type Path = readonly (string | number)[];

/** kind → where its pod's specification stands */
const podSpecs = new Map<string, Path>([
  ["Pod", ["spec"]],
  ["PodTemplate", ["template", "spec"]],
  ["CronJob", ["spec", "jobTemplate", "spec", "template", "spec"]],
  ...["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job"].map(
    (kind): [string, Path] => [kind, ["spec", "template", "spec"]],
  ),
]);

/** Groups of Kubernetes itself ("" is that of `v1`): of their kinds no others have images. */
const ownGroups = new Set([
  ...["", "apps", "autoscaling", "batch", "extensions", "policy"],
  ...["admissionregistration", "apiextensions", "apiregistration", "authentication", "authorization"].map(
    k8s,
  ),
  ...["certificates", "coordination", "discovery", "events", "flowcontrol.apiserver"].map(k8s),
  ...["networking", "node", "rbac.authorization", "resource", "scheduling", "storage"].map(k8s),
]);

function k8s(name: string): string {
  return `${name}.k8s.io`;
}

/** Whether a YAML document is an object of Kubernetes. */
export function isKubernetesObject(value: unknown): boolean {
  const { apiVersion, kind } = mapping(value);
  return typeof apiVersion === "string" && typeof kind === "string";
}

/** @throws DrydockError "input" with file and line, if a container's image is no text */
export function findInKubernetes(yaml: YamlText): FoundImages {
  const search = new Search(yaml);
  for (const { value, lineOf } of yaml.documents) search.object(value, [], lineOf);
  return { images: search.images, notes: search.notes() };
}

class Search {
  readonly images: FoundImage[] = [];
  readonly #yaml: YamlText;
  readonly #withoutImage: string[] = [];
  /** "Prometheus (monitoring.coreos.com/v1)" → the lines where such objects begin */
  readonly #skipped = new Map<string, number[]>();

  constructor(yaml: YamlText) {
    this.#yaml = yaml;
  }

  /** @param path where in its document the object stands */
  object(value: unknown, path: Path, lineOf: (path: Path) => number): void {
    const { apiVersion, kind } = mapping(value);
    if (typeof apiVersion !== "string" || typeof kind !== "string") {
      this.#skip("what has no apiVersion and kind", lineOf(path));
      return;
    }
    const group = apiVersion.includes("/") ? apiVersion.slice(0, apiVersion.indexOf("/")) : "";
    const specPath = podSpecs.get(kind);
    if (!ownGroups.has(group)) this.#skip(`${kind} (${apiVersion})`, lineOf(path));
    else if (kind.endsWith("List")) this.#list(mapping(value), kind, path, lineOf);
    else if (specPath !== undefined) this.#pod(at(value, specPath), [...path, ...specPath], lineOf);
  }

  /** `List` holds objects of any kind; in a PodList and the like they need not repeat theirs. */
  #list(value: Record<string, unknown>, kind: string, path: Path, lineOf: (path: Path) => number): void {
    const ofItems = kind === "List" ? {} : { apiVersion: value.apiVersion, kind: kind.slice(0, -4) };
    for (const [index, item] of list(value.items).entries()) {
      this.object({ ...ofItems, ...mapping(item) }, [...path, "items", index], lineOf);
    }
  }

  #pod(spec: unknown, path: Path, lineOf: (path: Path) => number): void {
    for (const key of ["initContainers", "containers", "ephemeralContainers"]) {
      for (const [index, container] of list(at(spec, [key])).entries()) {
        this.#image(at(container, ["image"]), [...path, key, index, "image"], lineOf);
      }
    }
    for (const [index, volume] of list(at(spec, ["volumes"])).entries()) {
      const { image } = mapping(volume);
      if (!isMapping(image)) continue;
      this.#image(image.reference, [...path, "volumes", index, "image", "reference"], lineOf);
    }
  }

  #image(reference: unknown, path: Path, lineOf: (path: Path) => number): void {
    const line = lineOf(path);
    // A template may leave it to whoever applies it.
    if (reference === undefined || reference === null || reference === "") {
      this.#withoutImage.push(`${this.#yaml.file}:${line}: a container without an image`);
    } else if (typeof reference === "string") {
      this.images.push({ reference, line });
    } else {
      throw this.#yaml.problem(line, `wanted an image's reference, got ${JSON.stringify(reference)}`);
    }
  }

  #skip(what: string, line: number): void {
    this.#skipped.set(what, [...(this.#skipped.get(what) ?? []), line]);
  }

  notes(): string[] {
    const skipped = [...this.#skipped].map(([what, lines]) => {
      const [first = 1, ...more] = lines;
      return `${what} on line ${first}${more.length > 0 ? ` and ${more.length} more` : ""}`;
    });
    if (skipped.length === 0) return this.#withoutImage;
    const all = `${this.#yaml.file}: not searched for images: ${skipped.join(", ")}; list by hand what they need`;
    return [...this.#withoutImage, all];
  }
}

function at(value: unknown, path: Path): unknown {
  return path.reduce((found, part) => mapping(found)[part], value);
}
