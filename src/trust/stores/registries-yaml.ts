/**
 * registries.yaml of k3s and RKE2, changed as a document, so that all else in it stays, comments too. It may hold
 * passwords: no error quotes it.
 */
import { type Document, isCollection, isMap, isSeq, parseDocument, type YAMLMap } from "yaml";

/** What stands in the way of changing the file. */
export class UnfitFile extends Error {
  override name = "UnfitFile";
}

export interface RegistryEntries {
  /** the registry as references name it */
  names: readonly string[];
  /** the file with its CA */
  ca: string;
  /** upstream hosts */
  mirrors: readonly string[];
  endpoints: readonly string[];
}

/** @param text undefined if there is none @throws UnfitFile */
export function withRegistry(text: string | undefined, entries: RegistryEntries): string {
  const { names, ca, mirrors, endpoints } = entries;
  return edited(text, (document) => {
    for (const name of names) {
      const path = ["configs", name, "tls", "ca_file"];
      const there = document.getIn(path);
      if (there === ca) continue;
      if (there !== undefined && there !== null) throw new UnfitFile(`it names another CA for ${name}`);
      setIn(document, path, ca);
    }
    for (const upstream of mirrors) {
      const path = ["mirrors", upstream, "endpoint"];
      const there = endpointsIn(document, upstream);
      const urls = endpoints.map((name) => `https://${name}`);
      const all = [...urls, ...there.filter((url) => !urls.includes(url))];
      if (all.join(" ") !== there.join(" ")) setIn(document, path, document.createNode(all));
    }
  });
}

/** @param entries.ca any file that is drydock's @returns undefined if nothing is left @throws UnfitFile */
export function withoutRegistry(
  text: string,
  { names, isOurs }: { names: readonly string[]; isOurs(ca: string): boolean },
): string | undefined {
  let isEmpty = false;
  const urls = names.map((name) => `https://${name}`);
  const left = edited(text, (document) => {
    for (const name of names) {
      const path = ["configs", name, "tls", "ca_file"];
      if (isOurs(String(document.getIn(path)))) deleteIn(document, path);
    }
    const upstreams = document.get("mirrors");
    for (const upstream of isMap(upstreams) ? upstreams.items.map(({ key }) => String(key)) : []) {
      const there = endpointsIn(document, upstream);
      const others = there.filter((url) => !urls.includes(url));
      if (others.length === there.length) continue;
      const path = ["mirrors", upstream, "endpoint"];
      if (others.length === 0) deleteIn(document, path);
      else document.setIn(path, document.createNode(others));
    }
    isEmpty = isMap(document.contents) && document.contents.items.length === 0;
  });
  return isEmpty ? undefined : left;
}

function endpointsIn(document: Document, upstream: string): string[] {
  const there = document.getIn(["mirrors", upstream, "endpoint"]);
  return isSeq(there) ? there.toJSON().map(String) : [];
}

/** @throws UnfitFile */
function edited(text: string | undefined, edit: (document: Document) => void): string {
  const document: Document = parseDocument(text ?? "", { prettyErrors: false, logLevel: "silent" });
  const [error] = document.errors;
  if (error !== undefined) throw new UnfitFile(`it is no YAML (${error.code})`);
  if (document.contents === null) document.contents = document.createNode({}) as unknown as YAMLMap;
  if (!isMap(document.contents)) throw new UnfitFile("it holds no mapping");
  const before = JSON.stringify(document);
  edit(document);
  if (text !== undefined && JSON.stringify(document) === before) return text;
  const indentSeq = !/^( *)[^\s#-][^\n]*:\s*\n\1- /m.test(text ?? "");
  return document.toString({ lineWidth: 0, indentSeq });
}

/** A key without a value ("configs:") is as good as none. @throws UnfitFile */
function setIn(document: Document, path: readonly string[], value: unknown): void {
  for (let depth = 1; depth < path.length; depth += 1) {
    const above = path.slice(0, depth);
    const there = document.getIn(above);
    if (there === null) document.deleteIn(above);
    else if (there !== undefined && !isMap(there)) throw new UnfitFile(`${above.join(".")} is no mapping`);
  }
  document.setIn(path, value);
}

/** With what it stood in, where nothing else does. */
function deleteIn(document: Document, path: readonly string[]): void {
  document.deleteIn(path);
  const above = path.slice(0, -1);
  const there = document.getIn(above);
  if (above.length > 0 && isCollection(there) && there.items.length === 0) deleteIn(document, above);
}
