/**
 * Images in a Compose file (compose-spec, spec.md): each service's `image`, whatever its profile, and images
 * mounted as volumes. No variable is expanded: what a bundle holds must not hang on somebody's environment.
 */
import type { FoundImage, FoundImages } from "./found.ts";
import { isMapping, list, mapping, type YamlText } from "./yaml-text.ts";

const resolved = "Have Compose work it out, and read that: docker compose config > resolved.yaml";

/** @throws DrydockError "input" with file and line: a service without an image, a variable in its name */
export function findInCompose(yaml: YamlText): FoundImages {
  const images: FoundImage[] = [];
  const notes: string[] = [];
  for (const { value, lineOf } of yaml.documents) {
    const { services, include } = mapping(value);
    if (include !== undefined) {
      notes.push(
        `${yaml.file}:${lineOf(["include"])}: the files that it includes are not read; name them too`,
      );
    }
    for (const [name, service] of Object.entries(mapping(services))) {
      const at = ["services", name];
      const found = imagesOf(service, name, (path, text, hint) =>
        yaml.problem(lineOf([...at, ...path]), text, hint),
      );
      images.push(...found.map(({ reference, path }) => ({ reference, line: lineOf([...at, ...path]) })));
    }
  }
  return { images, notes };
}

type Path = (string | number)[];
type Problem = (path: Path, text: string, hint?: string) => Error;

function imagesOf(service: unknown, name: string, problem: Problem): { reference: string; path: Path }[] {
  const { image, build, provider, volumes, ...others } = mapping(service);
  const paths: Path[] = [];
  if (image !== undefined && image !== null) paths.push(["image"]);
  else checkWithout({ build, provider, extends: others.extends }, name, problem);
  for (const [index, volume] of list(volumes).entries()) {
    if (mapping(volume).type === "image") paths.push(["volumes", index, "source"]);
  }
  return paths.map((path) => ({ reference: textAt(service, path, problem), path }));
}

/** A service without `image`: one that another service of this file gives, or none that can be carried. */
function checkWithout(
  service: { build: unknown; provider: unknown; extends: unknown },
  name: string,
  problem: Problem,
): void {
  const quoted = JSON.stringify(name);
  if (service.build !== undefined) {
    throw problem(
      ["build"],
      `service ${quoted} is built here and has no \`image\``,
      `Give it an \`image\` name, build it, and list it as docker-daemon:NAME:TAG under images; then leave ${quoted} out of this file, or read another one.`,
    );
  }
  if (service.extends !== undefined) {
    const file = isMapping(service.extends) ? service.extends.file : undefined;
    if (file === undefined) return;
    throw problem(["extends"], `service ${quoted} has its image from another file`, resolved);
  }
  // compose-spec, 05-services.md, "provider": run by something that is no container.
  if (service.provider === undefined) throw problem([], `service ${quoted} has no \`image\``, resolved);
}

function textAt(service: unknown, path: Path, problem: Problem): string {
  const value = path.reduce<unknown>(
    (at, part) => (Array.isArray(at) ? at[Number(part)] : mapping(at)[part]),
    service,
  );
  if (typeof value !== "string" || value === "")
    throw problem(path, `wanted an image's reference, got ${JSON.stringify(value) ?? "nothing"}`);
  if (value.includes("$"))
    throw problem(path, `${JSON.stringify(value)}: variables are not expanded`, resolved);
  return value;
}
