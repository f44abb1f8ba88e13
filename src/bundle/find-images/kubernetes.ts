/**
 * Images in Kubernetes objects: every pod's and pod template's containers, init and ephemeral containers
 * and image volumes (Kubernetes API reference, PodSpec). What other objects mean, those that an operator
 * reads, only it knows: of them the pod templates are searched (Argo's Rollout, Knative's Service), and they
 * are named in a note.
 */
import { parseReference } from "../../oci/reference.ts";
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

/** A template stands two or three levels deep; YAML from elsewhere may be endless. */
const deepestTemplate = 12;

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
  /** likewise, of which only the pod templates were searched */
  readonly #partly = new Map<string, number[]>();

  constructor(yaml: YamlText) {
    this.#yaml = yaml;
  }

  /** @param path where in its document the object stands */
  object(value: unknown, path: Path, lineOf: (path: Path) => number): void {
    const { apiVersion, kind } = mapping(value);
    if (typeof apiVersion !== "string" || typeof kind !== "string") {
      note(this.#skipped, "what has no apiVersion and kind", lineOf(path));
      return;
    }
    const group = apiVersion.includes("/") ? apiVersion.slice(0, apiVersion.indexOf("/")) : "";
    const specPath = podSpecs.get(kind);
    if (!ownGroups.has(group)) {
      const found = this.#templates(value, path, lineOf);
      note(found > 0 ? this.#partly : this.#skipped, `${kind} (${apiVersion})`, lineOf(path));
    } else if (kind.endsWith("List")) this.#list(mapping(value), kind, path, lineOf);
    else if (specPath !== undefined) this.#pod(at(value, specPath), [...path, ...specPath], lineOf);
  }

  /** `List` holds objects of any kind; in a PodList and the like they need not repeat theirs. */
  #list(value: Record<string, unknown>, kind: string, path: Path, lineOf: (path: Path) => number): void {
    const ofItems = kind === "List" ? {} : { apiVersion: value.apiVersion, kind: kind.slice(0, -4) };
    for (const [index, item] of list(value.items).entries()) {
      this.object({ ...ofItems, ...mapping(item) }, [...path, "items", index], lineOf);
    }
  }

  /** Everything below that has the form of a pod template. @returns how many there are */
  #templates(value: unknown, path: Path, lineOf: (path: Path) => number, depth = 0): number {
    if (depth > deepestTemplate) return 0;
    let found = 0;
    for (const [key, child] of Array.isArray(value) ? value.entries() : Object.entries(mapping(value))) {
      const below = [...path, key];
      const isTemplate = key === "template" && list(at(child, ["spec", "containers"])).length > 0;
      if (isTemplate) this.#pod(at(child, ["spec"]), [...below, "spec"], lineOf, true);
      found += isTemplate ? 1 : this.#templates(child, below, lineOf, depth + 1);
    }
    return found;
  }

  /** @param isOthers of an object that only its operator understands: what is no reference may be a variable of its */
  #pod(spec: unknown, path: Path, lineOf: (path: Path) => number, isOthers = false): void {
    const image = (reference: unknown, at: Path) => {
      if (isOthers && !isReference(reference))
        this.#withoutImage.push(this.#noReference(reference, lineOf(at)));
      else this.#image(reference, at, lineOf);
    };
    for (const key of ["initContainers", "containers", "ephemeralContainers"]) {
      for (const [index, container] of list(at(spec, [key])).entries()) {
        image(at(container, ["image"]), [...path, key, index, "image"]);
      }
    }
    for (const [index, volume] of list(at(spec, ["volumes"])).entries()) {
      const source = mapping(volume).image;
      if (isMapping(source)) image(source.reference, [...path, "volumes", index, "image", "reference"]);
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

  #noReference(found: unknown, line: number): string {
    return `${this.#yaml.file}:${line}: a container whose image is ${JSON.stringify(found) ?? "left open"}`;
  }

  notes(): string[] {
    const { file } = this.#yaml;
    const notes = [...this.#withoutImage];
    if (this.#skipped.size > 0)
      notes.push(`${file}: not searched for images: ${listed(this.#skipped)}; list by hand what they need`);
    if (this.#partly.size > 0)
      notes.push(
        `${file}: only pod templates were searched for images in: ${listed(this.#partly)}; list by hand what else they need`,
      );
    return notes;
  }
}

function note(objects: Map<string, number[]>, what: string, line: number): void {
  objects.set(what, [...(objects.get(what) ?? []), line]);
}

function listed(objects: Map<string, number[]>): string {
  const each = [...objects].map(([what, [first = 1, ...more]]) => {
    return `${what} on line ${first}${more.length > 0 ? ` and ${more.length} more` : ""}`;
  });
  return each.join(", ");
}

function isReference(text: unknown): boolean {
  try {
    return typeof text === "string" && parseReference(text) !== undefined;
  } catch {
    return false;
  }
}

function at(value: unknown, path: Path): unknown {
  return path.reduce((found, part) => mapping(found)[part], value);
}
