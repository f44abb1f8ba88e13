/** Small images made in code, the same bytes each time, and a push of them over the registry's HTTP API. */
import { gzipSync } from "node:zlib";
import { Header } from "tar";
import { type Digest, digestOf } from "../../src/oci/digest.ts";

export interface TestImage {
  mediaType: string;
  /** the image manifest or index: exactly these bytes are pushed */
  manifest: Buffer;
  digest: Digest;
  /** config and layers; empty for an index */
  blobs: { digest: Digest; bytes: Buffer }[];
  /** what an index names */
  children?: TestImage[];
  /** `linux/amd64`; absent for an index and an artifact */
  platform?: string;
}

export interface LayerEntry {
  path: string;
  /** a directory if absent, and `link` too */
  content?: string | Buffer;
  /** a symbolic link's target */
  link?: string;
  mode?: number;
}

export interface ImageOptions {
  /** uncompressed tars; see makeLayer */
  layers?: Buffer[];
  /** a further layer: path → content; one file if neither is given */
  files?: Record<string, string>;
  /** "linux/amd64" if left out */
  platform?: string;
  /** Docker schema 2 media types */
  docker?: boolean;
  entrypoint?: string[];
  cmd?: string[];
  /** config.Volumes, config.ExposedPorts and so on */
  config?: Record<string, unknown>;
}

const oci = {
  manifest: "application/vnd.oci.image.manifest.v1+json",
  index: "application/vnd.oci.image.index.v1+json",
  config: "application/vnd.oci.image.config.v1+json",
  layer: "application/vnd.oci.image.layer.v1.tar+gzip",
};
const docker = {
  manifest: "application/vnd.docker.distribution.manifest.v2+json",
  index: "application/vnd.docker.distribution.manifest.list.v2+json",
  config: "application/vnd.docker.container.image.v1+json",
  layer: "application/vnd.docker.image.rootfs.diff.tar.gzip",
};

/** An uncompressed layer tar. All entries are root's, of the year 1970; directories in between are the caller's. */
export function makeLayer(entries: LayerEntry[]): Buffer {
  const parts = entries.flatMap(({ path, content, link, mode }) => {
    const body = Buffer.from(content ?? "");
    const type = link !== undefined ? "SymbolicLink" : content === undefined ? "Directory" : "File";
    const header = new Header({
      path: type === "Directory" ? `${path.replace(/\/$/, "")}/` : path,
      type,
      mode: mode ?? (type === "File" ? 0o644 : 0o755),
      size: body.length,
      mtime: new Date(0),
      uid: 0,
      gid: 0,
      ...(link === undefined ? {} : { linkpath: link }),
    });
    if (header.encode()) throw new Error(`make a layer: ${JSON.stringify(path)} does not fit a plain header`);
    const block = header.block;
    if (block === undefined) throw new Error(`make a layer: no header for ${JSON.stringify(path)}`);
    return [block, body, Buffer.alloc((512 - (body.length % 512)) % 512)];
  });
  return Buffer.concat([...parts, Buffer.alloc(1024)]);
}

/** An image for one platform, its layers gzipped. */
export function makeImage(options: ImageOptions = {}): TestImage {
  const types = options.docker === true ? docker : oci;
  const platform = options.platform ?? "linux/amd64";
  const [os, architecture, variant] = platform.split("/");
  const tars = [...(options.layers ?? [])];
  const files = options.files ?? (tars.length === 0 ? { "hello.txt": "hello\n" } : {});
  const entries = Object.entries(files).map(([path, content]) => ({ path, content }));
  if (entries.length > 0) tars.push(makeLayer(entries));

  const layers = tars.map((tar) => blobOf(gzipSync(tar)));
  const config = blobOf(
    json({
      created: "1970-01-01T00:00:00Z",
      architecture,
      os,
      variant,
      config: {
        Env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        Entrypoint: options.entrypoint,
        Cmd: options.cmd,
        ...options.config,
      },
      rootfs: { type: "layers", diff_ids: tars.map((tar) => digestOf(tar)) },
      history: tars.map(() => ({ created: "1970-01-01T00:00:00Z", created_by: "made by a test" })),
    }),
  );
  const manifest = json({
    schemaVersion: 2,
    mediaType: types.manifest,
    config: descriptor(types.config, config),
    layers: layers.map((layer) => descriptor(types.layer, layer)),
  });
  const blobs = [config, ...layers];
  return { mediaType: types.manifest, manifest, digest: digestOf(manifest), blobs, platform };
}

/** An image index (or Docker manifest list) over images of several platforms. */
export function makeIndex(images: TestImage[], options: { docker?: boolean } = {}): TestImage {
  const mediaType = (options.docker === true ? docker : oci).index;
  const manifest = json({
    schemaVersion: 2,
    mediaType,
    manifests: images.map((image) => {
      const [os, architecture, variant] = image.platform?.split("/") ?? [];
      return {
        mediaType: image.mediaType,
        digest: image.digest,
        size: image.manifest.length,
        ...(image.platform === undefined ? {} : { platform: { architecture, os, variant } }),
      };
    }),
  });
  return { mediaType, manifest, digest: digestOf(manifest), blobs: [], children: images };
}

/** An OCI artifact as image-spec 1.1 says ("Guidelines for Artifact Usage"): artifactType, empty config. */
export function makeArtifact(
  options: {
    artifactType?: string;
    contents?: (string | Buffer)[];
    annotations?: Record<string, string>;
  } = {},
): TestImage {
  const config = blobOf(Buffer.from("{}"));
  const layers = (options.contents ?? ["an artifact's content\n"]).map((content) =>
    blobOf(Buffer.from(content)),
  );
  const manifest = json({
    schemaVersion: 2,
    mediaType: oci.manifest,
    artifactType: options.artifactType ?? "application/vnd.example.chart",
    config: descriptor("application/vnd.oci.empty.v1+json", config),
    layers: layers.map((layer) => descriptor("application/octet-stream", layer)),
    annotations: options.annotations,
  });
  return { mediaType: oci.manifest, manifest, digest: digestOf(manifest), blobs: [config, ...layers] };
}

/**
 * Pushes blobs, children and then the image manifest itself, over plain http.
 * @param tag a tag, or the image's own digest @returns the digest that the registry gave it
 */
export async function pushImage(
  host: string,
  repository: string,
  tag: string,
  image: TestImage,
  auth?: { user: string; password: string },
): Promise<Digest> {
  for (const child of image.children ?? []) await pushImage(host, repository, child.digest, child, auth);
  for (const blob of image.blobs) await pushBlob(host, repository, blob, auth);
  const response = await ask(`http://${host}/v2/${repository}/manifests/${tag}`, auth, {
    method: "PUT",
    headers: { "content-type": image.mediaType },
    body: new Uint8Array(image.manifest),
  });
  const given = response.headers.get("docker-content-digest");
  if (given !== image.digest) throw new Error(`push ${repository}:${tag}: got ${given}, not ${image.digest}`);
  return image.digest;
}

async function pushBlob(
  host: string,
  repository: string,
  blob: { digest: Digest; bytes: Buffer },
  auth?: { user: string; password: string },
): Promise<void> {
  const base = `http://${host}/v2/${repository}/blobs`;
  const there = await ask(`${base}/${blob.digest}`, auth, { method: "HEAD" }, 404);
  if (there.ok) return;
  const started = await ask(`${base}/uploads/`, auth, { method: "POST" });
  const location = started.headers.get("location");
  if (location === null) throw new Error(`push a blob to ${base}: no Location in the answer`);
  const target = new URL(location, base);
  target.searchParams.set("digest", blob.digest);
  await ask(target.href, auth, {
    method: "PUT",
    headers: { "content-type": "application/octet-stream" },
    body: new Uint8Array(blob.bytes),
  });
}

/** @throws Error with the answer's text, unless it is 2xx or the status that is expected too. */
async function ask(
  url: string,
  auth: { user: string; password: string } | undefined,
  init: { method: string; headers?: Record<string, string>; body?: Uint8Array<ArrayBuffer> },
  expected?: number,
): Promise<Response> {
  const headers: Record<string, string> = { ...init.headers };
  if (auth !== undefined) {
    headers.authorization = `Basic ${Buffer.from(`${auth.user}:${auth.password}`).toString("base64")}`;
  }
  const response = await fetch(url, { ...init, headers });
  const text = init.method === "HEAD" ? "" : await response.text();
  if (!response.ok && response.status !== expected) {
    throw new Error(`${init.method} ${url}: ${response.status} ${text}`);
  }
  return response;
}

function blobOf(bytes: Buffer): { digest: Digest; bytes: Buffer } {
  return { digest: digestOf(bytes), bytes };
}

function descriptor(mediaType: string, blob: { digest: Digest; bytes: Buffer }): object {
  return { mediaType, digest: blob.digest, size: blob.bytes.length };
}

function json(value: object): Buffer {
  return Buffer.from(JSON.stringify(value));
}
