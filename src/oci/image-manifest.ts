/**
 * Image manifests and image indexes as they stand in a registry: OCI, Docker schema 2, Docker manifest
 * lists, OCI artifacts, and as much of Docker's schema 1 as is needed to know its layers.
 */
import { DrydockError } from "../errors.ts";
import { type Digest, parseDigest } from "./digest.ts";
import {
  bareMediaType,
  isContainerConfig,
  type ManifestKind,
  manifestKind,
  ociIndex,
  ociManifest,
} from "./media-types.ts";
import type { Platform } from "./platform.ts";

/** OCI image specification, descriptor.md. */
export interface Descriptor {
  mediaType: string;
  digest: Digest;
  /** in bytes */
  size: number;
  platform?: Platform;
  /** Where else the content is. Such a layer is "foreign": a registry need not hold it. */
  urls?: string[];
  annotations?: Record<string, string>;
  artifactType?: string;
}

export interface ImageManifest {
  mediaType: string;
  /** unknown: its media type is not one that a registry 2.8 can serve */
  kind: ManifestKind | "unknown";
  /** of an index: the image manifests it names */
  children: Descriptor[];
  /** of an image: its config, then its layers, as listed (one may stand there twice) */
  blobs: Descriptor[];
  /** of an image: the first of `blobs` */
  config?: Descriptor;
  /** of a schema 1 manifest, which gives no sizes: its layers */
  fsLayers: Digest[];
  /** an OCI artifact: no container image, so of no platform */
  isArtifact: boolean;
}

/** OCI distribution specification: registries limit image manifests to 4 MiB; twice that to be lenient. */
export const largestManifest = 8 * 1024 * 1024;

type JsonObject = Record<string, unknown>;

/**
 * @param mediaTypeHint a Content-Type or a descriptor's media type. Where it and the content each name a
 *   known type they must agree, and an image must not look like an index besides (CVE-2021-41190).
 * @param where names the manifest in errors
 * @throws DrydockError "integrity" if it is no image manifest: not JSON, a bad digest, size or list.
 */
export function parseImageManifest(
  bytes: Uint8Array,
  mediaTypeHint: string | undefined,
  where: string,
): ImageManifest {
  const json = parseJson(bytes, where);
  const mediaType = mediaTypeOf(json, bareMediaType(mediaTypeHint ?? ""), where);
  const kind = manifestKind(mediaType) ?? "unknown";
  const empty: ImageManifest = { mediaType, kind, children: [], blobs: [], fsLayers: [], isArtifact: false };
  if (kind === "unknown") return empty;
  if (kind === "schema1") return { ...empty, fsLayers: schema1Layers(json, where) };
  const foreignKeys = kind === "image" ? ["manifests", "fsLayers"] : ["config", "layers", "fsLayers"];
  const foreign = foreignKeys.find((key) => json[key] !== undefined && json[key] !== null);
  if (foreign !== undefined || json.schemaVersion !== 2) {
    const why =
      foreign === undefined ? "schemaVersion is not 2" : `${JSON.stringify(foreign)} is not part of one`;
    throw bad(where, `it says it is ${mediaType}, but ${why}`);
  }
  if (kind === "index") {
    return { ...empty, children: descriptors(json.manifests, `${where}: manifests`) };
  }
  const config = descriptor(json.config, `${where}: config`);
  const isArtifact = typeof json.artifactType === "string" || !isContainerConfig(config.mediaType);
  return { ...empty, config, blobs: [config, ...descriptors(json.layers, `${where}: layers`)], isArtifact };
}

function parseJson(bytes: Uint8Array, where: string): JsonObject {
  try {
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    if (isObject(value)) return value;
  } catch (cause) {
    throw bad(where, "it is not JSON", cause);
  }
  throw bad(where, "it is not a JSON object");
}

/** OCI manifests may leave out mediaType (manifest.md); schema 1 has none. */
function mediaTypeOf(json: JsonObject, hint: string, where: string): string {
  const own = typeof json.mediaType === "string" ? json.mediaType : "";
  if (own !== "" && manifestKind(hint) !== undefined && own !== hint) {
    throw bad(where, `it says it is ${JSON.stringify(own)}, but it came as ${JSON.stringify(hint)}`);
  }
  if (own !== "") return own;
  if (manifestKind(hint) !== undefined) return hint;
  if (json.schemaVersion === 1) return "application/vnd.docker.distribution.manifest.v1+json";
  if (json.schemaVersion === 2 && Array.isArray(json.manifests)) return ociIndex;
  if (json.schemaVersion === 2 && isObject(json.config) && Array.isArray(json.layers)) return ociManifest;
  return hint;
}

function schema1Layers(json: JsonObject, where: string): Digest[] {
  if (!Array.isArray(json.fsLayers)) throw bad(where, "fsLayers is not a list");
  const layers = json.fsLayers.map((layer: unknown, at) =>
    parseDigest(isObject(layer) ? layer.blobSum : undefined, `${where}: fsLayers[${at}]`),
  );
  return [...new Set(layers)];
}

function descriptors(value: unknown, where: string): Descriptor[] {
  // Go writes a list without members as null.
  if (value === null) return [];
  if (!Array.isArray(value)) throw bad(where, "it is not a list");
  return value.map((item: unknown, at) => descriptor(item, `${where}[${at}]`));
}

function descriptor(value: unknown, where: string): Descriptor {
  if (!isObject(value)) throw bad(where, "it is not a descriptor");
  const { mediaType, size, platform, urls, annotations, artifactType } = value;
  if (typeof mediaType !== "string" || mediaType === "") throw bad(where, "it has no mediaType");
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) {
    throw bad(where, `size ${JSON.stringify(size)} is not a number of bytes`);
  }
  const result: Descriptor = { mediaType, digest: parseDigest(value.digest, where), size };
  if (isObject(platform)) {
    const known = platformOf(platform);
    if (known !== undefined) result.platform = known;
  }
  if (Array.isArray(urls) && urls.length > 0) result.urls = urls.filter((url) => typeof url === "string");
  if (isObject(annotations)) result.annotations = stringsOf(annotations);
  if (typeof artifactType === "string") result.artifactType = artifactType;
  return result;
}

/** The platform that an image's config or a descriptor names; undefined if it names none. */
export function platformOf(value: JsonObject): Platform | undefined {
  const { os, architecture, variant } = value;
  if (typeof os !== "string" || typeof architecture !== "string" || os === "" || architecture === "") {
    return undefined;
  }
  return { os, architecture, ...(typeof variant === "string" && variant !== "" ? { variant } : {}) };
}

/** @throws DrydockError "integrity" if an image's config is not a JSON object. */
export function parseImageConfig(bytes: Uint8Array, where: string): JsonObject {
  return parseJson(bytes, where);
}

function stringsOf(value: JsonObject): Record<string, string> {
  const entries = Object.entries(value).filter(
    (entry): entry is [string, string] => typeof entry[1] === "string",
  );
  return Object.fromEntries(entries);
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function bad(where: string, why: string, cause?: unknown): DrydockError {
  return new DrydockError("integrity", `read image manifest ${where}: ${why}`, { cause });
}
