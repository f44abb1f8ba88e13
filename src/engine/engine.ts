/** The container engine: anything that answers the Docker Engine API (Docker, Podman's socket). */
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import Dockerode from "dockerode";
import { DrydockError, errorCode, errorText } from "../errors.ts";

export interface Engine {
  /** for what has no function of its own in this folder */
  docker: Dockerode;
  /** where it is, as DOCKER_HOST would say it: for errors */
  address: string;
  /** Whether it is reached through a Unix socket, and so sees this host's files. */
  local: boolean;
  /** @throws DrydockError "preflight" if it doesn't answer within ten seconds. */
  describe(): Promise<EngineDescription>;
}

export interface EngineDescription {
  /** "20.10.24+dfsg1" */
  version: string;
  /** the newest API it speaks: "1.41" */
  apiVersion: string;
  /** as in image indexes: "linux/amd64", "linux/arm64", "linux/arm/v7" */
  platform: string;
  /** the directory of its images and containers, if it says */
  storageRoot: string | undefined;
  rootless: boolean;
}

/**
 * An engine may take its time, to unpack an image say; one that is silent for longer hangs, and would let us
 * hang, too.
 */
const patienceSeconds = 300;

/**
 * The engine that DOCKER_HOST names (unix://, tcp:// with DOCKER_TLS_VERIFY and DOCKER_CERT_PATH as the
 * docker command understands them), else /var/run/docker.sock. Nothing is asked of it yet.
 * @param options.silence how many seconds it may say nothing when it was asked something; 300 if left out,
 *   Infinity where it prepares gigabytes before it sends the first byte
 * @throws DrydockError "preflight" for an address of another kind.
 */
export function connectEngine(
  env: NodeJS.ProcessEnv = process.env,
  { silence = patienceSeconds }: { silence?: number } = {},
): Engine {
  const address = env.DOCKER_HOST || "unix:///var/run/docker.sock";
  const timeout = Number.isFinite(silence) ? { timeout: silence * 1000 } : {};
  const docker = new Dockerode({ ...connection(address, env), ...timeout });
  return {
    docker,
    address,
    local: address.startsWith("unix://"),
    describe: () => describe(docker, address),
  };
}

/** What an engine answered with an error, or did not answer, in the middle of the work. */
export function engineFailure(action: string, error: unknown): DrydockError {
  if (error instanceof DrydockError) return error;
  const gone = ["ENOENT", "ECONNREFUSED", "ECONNRESET", "EPIPE"].includes(errorCode(error) ?? "");
  return new DrydockError("host", `${action}: ${errorText(error).trim()}`, {
    hint: gone
      ? "The engine stopped answering: see whether it still runs (systemctl status docker), then run the same command again."
      : undefined,
    cause: error,
  });
}

/** The HTTP status of an engine's answer that is an error. */
export function engineStatus(error: unknown): number | undefined {
  return error instanceof Error && "statusCode" in error && typeof error.statusCode === "number"
    ? error.statusCode
    : undefined;
}

// Everything is given here, since the library takes what is missing from the process's own environment.
function connection(address: string, env: NodeJS.ProcessEnv): Dockerode.DockerOptions {
  if (address.startsWith("unix://")) {
    const socketPath = address.slice("unix://".length);
    return { socketPath, protocol: "http", host: "", port: "" };
  }
  if (address.startsWith("ssh://")) {
    throw new DrydockError("preflight", `engine "${address}": ssh:// is refused, it accepts any host key`, {
      hint: "Run drydock on that host, or forward its socket with ssh -L and name it as unix://….",
    });
  }
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (url?.protocol !== "tcp:" || url.hostname === "") {
    throw new DrydockError("preflight", `engine "${address}": wanted unix://PATH or tcp://HOST:PORT`, {
      hint: "Correct DOCKER_HOST, or unset it for /var/run/docker.sock.",
    });
  }
  const tls = Boolean(env.DOCKER_TLS_VERIFY) || url.port === "2376";
  const host = url.hostname.replace(/^\[|\]$/g, "");
  const port = url.port || (tls ? "2376" : "2375");
  return tls
    ? { host, port, protocol: "https", ...certificates(env.DOCKER_CERT_PATH || join(homedir(), ".docker")) }
    : { host, port, protocol: "http" };
}

function certificates(folder: string): { ca: string; cert: string; key: string } {
  const read = (name: string) => {
    try {
      return readFileSync(join(folder, name), "utf8");
    } catch (error) {
      throw new DrydockError("preflight", `engine's TLS files: ${errorText(error)}`, {
        hint: "DOCKER_CERT_PATH names the folder of ca.pem, cert.pem and key.pem.",
        cause: error,
      });
    }
  };
  return { ca: read("ca.pem"), cert: read("cert.pem"), key: read("key.pem") };
}

async function describe(docker: Dockerode, address: string): Promise<EngineDescription> {
  try {
    const version = await withPatience(docker.version());
    const info: unknown = await withPatience(docker.info());
    const kernel = textField(info, "Architecture");
    return {
      version: version.Version,
      apiVersion: version.ApiVersion,
      platform: platformOf(version.Os, version.Arch, kernel),
      storageRoot: textField(info, "DockerRootDir"),
      rootless: JSON.stringify(field(info, "SecurityOptions") ?? []).includes("rootless"),
    };
  } catch (error) {
    throw new DrydockError("preflight", `engine "${address}" does not answer: ${errorText(error).trim()}`, {
      hint: connectionHint(error),
      cause: error,
    });
  }
}

function connectionHint(error: unknown): string {
  const code = errorCode(error);
  if (code === "EACCES" || code === "EPERM")
    return "Run the command as root, or as a member of the group docker.";
  return "Is Docker installed and running (systemctl status docker)? DOCKER_HOST names another engine.";
}

/** Go's architecture names; the variant of a 32-bit ARM is known from the kernel's name alone. */
function platformOf(os: string, architecture: string, kernel: string | undefined): string {
  const variant = architecture === "arm" ? /^armv(\d)/.exec(kernel ?? "")?.[1] : undefined;
  return variant === undefined ? `${os}/${architecture}` : `${os}/${architecture}/v${variant}`;
}

function withPatience<T>(answer: Promise<T>): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const timer = setTimeout(() => reject(new Error("no answer within ten seconds")), 10_000);
  answer.then(resolve, reject);
  return promise.finally(() => clearTimeout(timer));
}

function field(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}

function textField(value: unknown, name: string): string | undefined {
  const found = field(value, name);
  return typeof found === "string" && found !== "" ? found : undefined;
}
