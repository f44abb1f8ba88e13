/**
 * Asks a credential helper, a program named docker-credential-NAME, for what it keeps of a registry: the
 * protocol of github.com/docker/docker-credential-helpers. No shell takes part, and the registry's name goes
 * in by stdin. What comes out never stands in an error.
 */
import { execFile } from "node:child_process";
import { DrydockError, errorCode } from "../errors.ts";
import type { Environment } from "./proxy.ts";

export interface HelperAnswer {
  user: string;
  secret: string;
}

/** A keychain may ask its user first. */
const patience = 60_000;
const largestAnswer = 64 * 1024;

/**
 * @param server as the helper knows it: "quay.io", or "https://index.docker.io/v1/"
 * @returns undefined if it has nothing for that registry
 * @throws DrydockError "input" if the name is none, or the helper can't be run, fails, or says what we don't
 *   understand; with "ENOENT" as its cause's code if there is no such program.
 */
export async function askHelper(
  name: string,
  server: string,
  environment: Environment,
  milliseconds = patience,
): Promise<HelperAnswer | undefined> {
  if (!/^[a-z0-9-]+$/.test(name)) {
    throw new DrydockError("input", `read credentials: ${JSON.stringify(name)} is not a credential helper`, {
      hint: "It is the NAME of a program docker-credential-NAME: lower-case letters, digits and dashes.",
    });
  }
  const program = `docker-credential-${name}`;
  const { code, output } = await run(program, server, environment, milliseconds);
  if (code === 0) return parse(program, server, output);
  if (/credentials not found/i.test(output)) return undefined;
  const why = typeof code === "number" ? `it ends with exit code ${code}` : `${program} ${code}`;
  throw failed(program, server, why);
}

/** @returns the exit code, or what else happened, and stdout */
async function run(
  program: string,
  server: string,
  environment: Environment,
  milliseconds: number,
): Promise<{ code: number | string; output: string }> {
  return await new Promise((resolve, reject) => {
    const options = {
      env: { ...environment },
      timeout: milliseconds,
      killSignal: "SIGKILL" as const,
      maxBuffer: largestAnswer,
      windowsHide: true,
    };
    const child = execFile(program, ["get"], options, (error, output) => {
      if (error === null) return resolve({ code: 0, output });
      if (error.killed === true && errorCode(error) === undefined) {
        return resolve({ code: `does not answer within ${milliseconds / 1000} s`, output: "" });
      }
      if (typeof error.code === "number") return resolve({ code: error.code, output });
      if (error.code === "ENOENT") {
        const cause = Object.assign(new Error(`there is no program ${program}`), { code: "ENOENT" });
        return reject(failed(program, server, "there is no such program", cause));
      }
      const isLong = error.code === "ERR_CHILD_PROCESS_STDIO_MAXBUFFER";
      resolve({ code: isLong ? `says over ${largestAnswer} bytes` : "cannot be run", output: "" });
    });
    // One that does not read it ends early: its exit code says what matters.
    child.stdin?.on("error", () => {});
    child.stdin?.end(server);
  });
}

function parse(program: string, server: string, output: string): HelperAnswer {
  try {
    const { Username: user, Secret: secret } = JSON.parse(output) as Record<string, unknown>;
    if (typeof user === "string" && typeof secret === "string") return { user, secret };
  } catch {
    // The error quotes what it read, so it is no cause to keep.
  }
  throw failed(program, server, "its answer is not the JSON of Username and Secret");
}

function failed(program: string, server: string, why: string, cause?: unknown): DrydockError {
  return new DrydockError(
    "input",
    `read credentials for ${JSON.stringify(server)} from ${JSON.stringify(program)}: ${why}`,
    {
      hint: `Try it by hand: echo ${server} | ${program} get`,
      cause,
    },
  );
}
