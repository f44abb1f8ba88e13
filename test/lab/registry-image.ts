/**
 * `registry:2`, as a test may have it without Docker Hub: Debian's docker-registry with the libraries it
 * loads, laid out, configured and started as the official image is.
 */
import { stat } from "node:fs/promises";
import { cachedImage } from "./cached-image.ts";
import { entryFor, findProgram, hostPlatform, librariesOf, withParents } from "./host-files.ts";
import { makeImage, makeLayer, type TestImage } from "./images.ts";

/** The official image's own configuration file. */
const configuration = `version: 0.1
log:
  fields:
    service: registry
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: /var/lib/registry
http:
  addr: :5000
  headers:
    X-Content-Type-Options: [nosniff]
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
`;

/** The image for this machine's platform: one image manifest, three layers. Made once and kept. */
export async function makeRegistryImage(): Promise<TestImage> {
  const program = await findProgram("docker-registry", "docker-registry");
  const { size, mtimeMs } = await stat(program);
  const key = `2 ${program} ${size} ${mtimeMs} ${configuration}`;
  return cachedImage("registry", key, async () => {
    const libraries = await librariesOf(program);
    const base = await Promise.all(libraries.map((path) => entryFor(path, path.slice(1))));
    const certificates = "/etc/ssl/certs/ca-certificates.crt";
    if (await stat(certificates).catch(() => undefined))
      base.push(await entryFor(certificates, certificates.slice(1)));
    base.push(
      { path: "etc/passwd", content: "root:x:0:0:root:/root:/sbin/nologin\n" },
      { path: "tmp", mode: 0o1777 },
      { path: "var/lib/registry" },
    );
    return makeImage({
      platform: hostPlatform,
      layers: [
        makeLayer(withParents(base)),
        makeLayer(withParents([await entryFor(program, "bin/registry")])),
        makeLayer(withParents([{ path: "etc/docker/registry/config.yml", content: configuration }])),
      ],
      entrypoint: ["/bin/registry"],
      cmd: ["serve", "/etc/docker/registry/config.yml"],
      config: { ExposedPorts: { "5000/tcp": {} }, Volumes: { "/var/lib/registry": {} } },
    });
  });
}
