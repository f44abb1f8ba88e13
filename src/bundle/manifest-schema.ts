// biome-ignore-all lint/suspicious/noThenProperty: then is a keyword of JSON Schema

/** The schema, to be at hand in a single executable too. Made from manifests/drydock.schema.json by `npm run generate`; change that one. */
export const manifestSchema = {
  $schema: "http://json-schema.org/draft-07/schema#",
  title: "ManifestFile",
  description:
    "A drydock manifest: what one bundle carries across the air gap. Paths are relative to the manifest; nothing is expanded from the environment.",
  type: "object",
  additionalProperties: false,
  required: ["name", "addresses"],
  properties: {
    name: {
      description:
        "The site's name, and the start of the bundle's file name: lower-case letters, digits, dashes.",
      type: "string",
      pattern: "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
    },
    release: {
      description:
        "Rises with every bundle for the same site, so that an older one is not installed by accident.",
      type: "integer",
      minimum: 1,
      maximum: 9007199254740991,
      default: 1,
    },
    addresses: {
      description:
        "Under which names and IP addresses clients reach the registry. The first is its name. 127.0.0.1 is always added to the certificate.",
      type: "array",
      minItems: 1,
      items: { type: "string", minLength: 1 },
    },
    platforms: {
      description: "Which platforms of an image are carried, unless the image says otherwise.",
      type: "array",
      minItems: 1,
      uniqueItems: true,
      default: ["linux/amd64"],
      items: { $ref: "#/definitions/platform" },
    },
    mirrors: {
      description:
        "Hosts to ask in place of a registry, in this order, before the registry itself: docker.io: [mirror.lan:5000].",
      type: "object",
      additionalProperties: {
        type: "array",
        minItems: 1,
        uniqueItems: true,
        items: { type: "string", minLength: 1 },
      },
    },
    referrers: {
      description:
        "Whether signatures, SBOMs and attestations that refer to an image are carried with it, unless the image says otherwise.",
      type: "boolean",
      default: false,
    },
    registry: { $ref: "#/definitions/registry" },
    certificates: { $ref: "#/definitions/certificates" },
    seeds: {
      description: "Tarballs (.tar, .tar.gz, .tar.zst) of a registry's storage directory.",
      type: "array",
      items: { $ref: "#/definitions/seed" },
    },
    images: {
      description:
        "Images to carry. An image keeps its repository path at the site, without the upstream's host.",
      type: "array",
      items: { $ref: "#/definitions/image" },
    },
    files: {
      description:
        "Anything else to carry, as glob patterns below the manifest's folder. They arrive in the site's files/.",
      type: "array",
      items: { type: "string", minLength: 1 },
    },
    packages: {
      description:
        "What installs Docker on a client that lacks it, without a network: a set of packages for each kind of host.",
      type: "array",
      items: { $ref: "#/definitions/packages" },
    },
  },
  definitions: {
    platform: {
      description:
        "An operating system and an architecture, with a variant where there is one: linux/amd64, linux/arm/v7.",
      type: "string",
      pattern: "^[a-z0-9]+/[a-z0-9_]+(/[a-z0-9_.]+)?$",
    },
    packages: {
      description: "One set of packages, and the hosts it is for.",
      type: "object",
      additionalProperties: false,
      properties: {
        match: {
          description: "The hosts, as their /etc/os-release says it.",
          type: "object",
          additionalProperties: false,
          properties: {
            id: {
              description:
                "The distribution, ID in /etc/os-release: debian, ubuntu, rhel. Only Docker's own tarball can do without.",
              type: "string",
              pattern: "^[a-z0-9][a-z0-9._-]{0,63}$",
            },
            version: {
              description:
                'Its version, VERSION_ID in /etc/os-release, or the beginning of it up to a dot: "9" is 9.4, too.',
              type: "string",
              pattern: "^[a-z0-9][a-z0-9._-]{0,63}$",
            },
            architecture: {
              description: "The processor, in Docker's words.",
              enum: ["amd64", "arm64", "arm", "ppc64le", "riscv64", "s390x"],
            },
          },
          required: ["architecture"],
        },
        files: {
          description:
            "Glob patterns below the manifest's folder: .deb or .rpm packages, Docker's and all that they need, or Docker's tarball of executables, docker-VERSION.tgz.",
          type: "array",
          minItems: 1,
          items: { type: "string", minLength: 1 },
        },
      },
      required: ["match", "files"],
    },
    registry: {
      description: "The registry that serves the content at the site.",
      type: "object",
      additionalProperties: false,
      properties: {
        image: {
          description: "The image that the registry runs from. It crosses in the bundle.",
          type: "string",
          minLength: 1,
          default: "docker.io/library/registry:2",
        },
        port: {
          description: "The port that the registry listens on.",
          type: "integer",
          minimum: 1,
          maximum: 65535,
          default: 443,
        },
        access: {
          description: "read-only refuses every push. push lets anyone who reaches the registry push to it.",
          enum: ["read-only", "push"],
          default: "read-only",
        },
      },
    },
    certificates: {
      description: "The CA and the registry's certificate.",
      type: "object",
      additionalProperties: false,
      properties: {
        from: {
          description:
            "bundle: made with the bundle; the server's key crosses, encrypted. site: made by the installation, and no key crosses.",
          enum: ["bundle", "site"],
          default: "bundle",
        },
        ca: { $ref: "#/definitions/certificateRequest" },
        server: { $ref: "#/definitions/certificateRequest" },
      },
    },
    certificateRequest: {
      description: "A certificate request in cfssl's form: the path of a JSON file, or the same fields here.",
      type: ["string", "object"],
      minLength: 1,
      additionalProperties: false,
      properties: {
        CN: { description: "The common name.", type: "string" },
        hosts: {
          description: "More names and IP addresses for the server's certificate.",
          type: "array",
          items: { type: "string" },
        },
        key: {
          description: "The key to make.",
          type: "object",
          additionalProperties: false,
          properties: {
            algo: { description: "The kind of key.", type: "string" },
            size: { description: "Its size in bits.", type: "integer" },
          },
        },
        names: {
          description: "The parts of the subject.",
          type: "array",
          items: {
            type: "object",
            additionalProperties: false,
            properties: {
              C: { description: "Country, two letters.", type: "string" },
              ST: { description: "State or province.", type: "string" },
              L: { description: "Locality.", type: "string" },
              O: { description: "Organization.", type: "string" },
              OU: { description: "Organizational unit.", type: "string" },
            },
          },
        },
        ca: {
          description: "For a CA alone.",
          type: "object",
          additionalProperties: false,
          properties: {
            expiry: { description: "How long it lasts, in hours: 43800h.", type: "string" },
            pathlen: { description: "How many CAs may stand below it.", type: "integer" },
            pathlenzero: {
              description: "cfssl's way to say that no CA may stand below it.",
              type: "boolean",
            },
          },
        },
      },
    },
    sha256: {
      description: "The file's sha256: 64 lower-case hexadecimal digits.",
      type: "string",
      pattern: "^[0-9a-f]{64}$",
    },
    seed: {
      type: "object",
      additionalProperties: false,
      properties: {
        url: {
          description: "Where to download the seed from, over https or http. Needs sha256.",
          type: "string",
          pattern: "^https?://[^/]+",
        },
        file: { description: "The seed's file.", type: "string", minLength: 1 },
        sha256: { $ref: "#/definitions/sha256" },
        keep: {
          description:
            "How the seed is carried: packed as it is, or unpacked. Without it, whichever is better.",
          enum: ["packed", "unpacked"],
        },
      },
      description: "A tarball of a registry's storage directory: either a url with its sha256, or a file.",
      if: { required: ["url"] },
      then: { required: ["sha256"], properties: { file: false } },
      else: { required: ["file"] },
    },
    image: {
      description:
        "An image by its reference, or by the fields here. docker-daemon:NAME:TAG comes from the local engine. Or the images that other files name, with from.",
      type: ["string", "object"],
      minLength: 1,
      additionalProperties: false,
      if: { required: ["from"] },
      then: { properties: { reference: false, as: false } },
      else: { required: ["reference"] },
      properties: {
        from: {
          description:
            "Takes the images that files name: a Compose file, Kubernetes objects, or a text file with one reference a line. A path or a glob pattern; - reads standard input.",
          type: "string",
          minLength: 1,
        },
        reference: {
          description:
            "Where the image comes from: alpine:3.20, quay.io/team/app@sha256:…, docker-daemon:my/app:dev.",
          type: "string",
          minLength: 1,
        },
        platforms: {
          description: "Which platforms of it are carried: a list, or all.",
          type: ["array", "string"],
          if: { type: "string" },
          then: { const: "all" },
          minItems: 1,
          uniqueItems: true,
          items: { $ref: "#/definitions/platform" },
        },
        referrers: {
          description: "Whether signatures, SBOMs and attestations that refer to it are carried with it.",
          type: "boolean",
        },
        as: {
          description: "Its name at the site: team/app:1. Without a tag it keeps its own.",
          type: "string",
          pattern:
            "^[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?$",
        },
      },
    },
  },
} as const;
