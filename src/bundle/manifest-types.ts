/** A manifest as it is written. Made from manifests/drydock.schema.json by `npm run generate`; change that one. */

/**
 * An operating system and an architecture, with a variant where there is one: linux/amd64, linux/arm/v7.
 */
export type Platform = string;
/**
 * A certificate request in cfssl's form: the path of a JSON file, or the same fields here.
 */
export type CertificateRequest =
  | string
  | {
      /**
       * The common name.
       */
      CN?: string;
      /**
       * More names and IP addresses for the server's certificate.
       */
      hosts?: string[];
      /**
       * The key to make.
       */
      key?: {
        /**
         * The kind of key.
         */
        algo?: string;
        /**
         * Its size in bits.
         */
        size?: number;
      };
      /**
       * The parts of the subject.
       */
      names?: {
        /**
         * Country, two letters.
         */
        C?: string;
        /**
         * State or province.
         */
        ST?: string;
        /**
         * Locality.
         */
        L?: string;
        /**
         * Organization.
         */
        O?: string;
        /**
         * Organizational unit.
         */
        OU?: string;
      }[];
      /**
       * For a CA alone.
       */
      ca?: {
        /**
         * How long it lasts, in hours: 43800h.
         */
        expiry?: string;
        /**
         * How many CAs may stand below it.
         */
        pathlen?: number;
        /**
         * cfssl's way to say that no CA may stand below it.
         */
        pathlenzero?: boolean;
      };
    };
/**
 * The file's sha256: 64 lower-case hexadecimal digits.
 */
export type Sha256 = string;
/**
 * An image by its reference, or by the fields here. docker-daemon:NAME:TAG comes from the local engine. Or the images that other files name, with from.
 */
export type Image =
  | string
  | {
      /**
       * Takes the images that files name: a Compose file, Kubernetes objects, or a text file with one reference a line. A path or a glob pattern; - reads standard input.
       */
      from?: string;
      /**
       * Where the image comes from: alpine:3.20, quay.io/team/app@sha256:…, docker-daemon:my/app:dev.
       */
      reference?: string;
      /**
       * Which platforms of it are carried: a list, or all.
       *
       * @minItems 1
       */
      platforms?: Platform[] | string;
      /**
       * Whether signatures, SBOMs and attestations that refer to it are carried with it.
       */
      referrers?: boolean;
      /**
       * Its name at the site: team/app:1. Without a tag it keeps its own.
       */
      as?: string;
    };

/**
 * A drydock manifest: what one bundle carries across the air gap. Paths are relative to the manifest; nothing is expanded from the environment.
 */
export interface ManifestFile {
  /**
   * The site's name, and the start of the bundle's file name: lower-case letters, digits, dashes.
   */
  name: string;
  /**
   * Rises with every bundle for the same site, so that an older one is not installed by accident.
   */
  release?: number;
  /**
   * Under which names and IP addresses clients reach the registry. The first is its name. 127.0.0.1 is always added to the certificate.
   *
   * @minItems 1
   */
  addresses: string[];
  /**
   * Which platforms of an image are carried, unless the image says otherwise.
   *
   * @minItems 1
   */
  platforms?: Platform[];
  /**
   * Hosts to ask in place of a registry, in this order, before the registry itself: docker.io: [mirror.lan:5000].
   */
  mirrors?: {
    /**
     * @minItems 1
     */
    [k: string]: string[];
  };
  /**
   * Whether signatures, SBOMs and attestations that refer to an image are carried with it, unless the image says otherwise.
   */
  referrers?: boolean;
  registry?: Registry;
  certificates?: Certificates;
  /**
   * Tarballs (.tar, .tar.gz, .tar.zst) of a registry's storage directory.
   */
  seeds?: Seed[];
  /**
   * Images to carry. An image keeps its repository path at the site, without the upstream's host.
   */
  images?: Image[];
  /**
   * Anything else to carry, as glob patterns below the manifest's folder. They arrive in the site's files/.
   */
  files?: string[];
  /**
   * What installs Docker on a client that lacks it, without a network: a set of packages for each kind of host.
   */
  packages?: Packages[];
}
/**
 * The registry that serves the content at the site.
 */
export interface Registry {
  /**
   * The image that the registry runs from. It crosses in the bundle.
   */
  image?: string;
  /**
   * The port that the registry listens on.
   */
  port?: number;
  /**
   * read-only refuses every push. push lets anyone who reaches the registry push to it.
   */
  access?: "read-only" | "push";
}
/**
 * The CA and the registry's certificate.
 */
export interface Certificates {
  /**
   * bundle: made with the bundle; the server's key crosses, encrypted. site: made by the installation, and no key crosses.
   */
  from?: "bundle" | "site";
  ca?: CertificateRequest;
  server?: CertificateRequest;
}
/**
 * A tarball of a registry's storage directory: either a url with its sha256, or a file.
 */
export interface Seed {
  /**
   * Where to download the seed from, over https or http. Needs sha256.
   */
  url?: string;
  /**
   * The seed's file.
   */
  file?: string;
  sha256?: Sha256;
  /**
   * How the seed is carried: packed as it is, or unpacked. Without it, whichever is better.
   */
  keep?: "packed" | "unpacked";
}
/**
 * One set of packages, and the hosts it is for.
 */
export interface Packages {
  /**
   * The hosts, as their /etc/os-release says it.
   */
  match: {
    /**
     * The distribution, ID in /etc/os-release: debian, ubuntu, rhel. Only Docker's own tarball can do without.
     */
    id?: string;
    /**
     * Its version, VERSION_ID in /etc/os-release, or the beginning of it up to a dot: "9" is 9.4, too.
     */
    version?: string;
    /**
     * The processor, in Docker's words.
     */
    architecture: "amd64" | "arm64" | "arm" | "ppc64le" | "riscv64" | "s390x";
  };
  /**
   * Glob patterns below the manifest's folder: .deb or .rpm packages, Docker's and all that they need, or Docker's tarball of executables, docker-VERSION.tgz.
   *
   * @minItems 1
   */
  files: string[];
}
