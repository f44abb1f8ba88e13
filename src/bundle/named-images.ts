/**
 * A manifest's images by their names at the site, whoever names them: the manifest itself, or a file in
 * which they were found. One reference may come from several; two for one name are an error.
 */
import { DrydockError } from "../errors.ts";
import { formatReference } from "../oci/reference.ts";
import type { ManifestImage } from "./manifest.ts";

interface Named {
  image: ManifestImage;
  /** file and line: "site.yaml:12" */
  where: string;
}

export class NamedImages {
  readonly #byName = new Map<string, Named>();

  /** in the order in which they were added */
  get images(): ManifestImage[] {
    return [...this.#byName.values()].map(({ image }) => image);
  }

  /** @returns the one that has the name already, in its place */
  add(image: ManifestImage, where: string): Named | undefined {
    const name = nameOf(image);
    const other = this.#byName.get(name);
    if (other === undefined) this.#byName.set(name, { image, where });
    return other;
  }

  /**
   * Adds one that was found in another file. The same reference again adds what it asks for beyond the first.
   * @throws DrydockError "input" naming both places, if the name is another image's
   */
  addFound(image: ManifestImage, where: string): void {
    const other = this.add(image, where);
    if (other === undefined) return;
    if (keyOf(image) !== keyOf(other.image)) {
      throw new DrydockError(
        "input",
        `${image.source} and ${other.image.source} (${other.where}) would both be ${nameOf(image)} at the site`,
        { hint: "Take one of the two out, and list it under images with another name (`as`)." },
      );
    }
    const platforms = union(other.image.platforms, image.platforms);
    const referrers = other.image.referrers || image.referrers;
    this.#byName.set(nameOf(image), { ...other, image: { ...other.image, platforms, referrers } });
  }
}

export function nameOf({ site, reference }: ManifestImage): string {
  const { repository, tag } = site;
  return tag === undefined ? `${repository}@${reference.digest}` : `${repository}:${tag}`;
}

function keyOf({ from, reference }: ManifestImage): string {
  return `${from} ${formatReference(reference)}`;
}

function union(some: string[] | "all", more: string[] | "all"): string[] | "all" {
  return some === "all" || more === "all" ? "all" : [...new Set([...some, ...more])];
}
