/**
 * The proof by a pull: the client's runtimes pull a small image of the release by its digest, and remove it again.
 */
import { parsePlatform, selectPlatform } from "../../oci/platform.ts";
import type { ServedImage } from "../../site/served-images.ts";
import { referenceNames } from "../address.ts";
import { ClientFailure, type Note } from "../client.ts";
import { mark } from "../remote-functions.ts";
import type { StoreName } from "../stores/store.ts";
import { words } from "../sudo.ts";
import { hintFor } from "./engine.ts";
import { type Place, runWithMostRights } from "./proof.ts";
import type { Surroundings } from "./surroundings.ts";

/** A pull may take so many times as long as any other step. */
const patience = 10;

/**
 * The words are the reference and the runtimes. One that has the image already asks the registry all the same; what
 * it had before stays, under whatever name.
 */
const script = [
  'ref=$1; shift; for t in "$@"; do',
  "  if [ $t = skopeo ]; then",
  `    d=$(mktemp -d) || problem "make a temporary folder there"; trap "rm -rf $d" EXIT;`,
  "    said=$(skopeo copy -q docker://$ref dir:$d 2>&1); code=$?; rm -rf $d;",
  "  else",
  `    before=$($t images -a -q --no-trunc 2>&1) || { echo "${mark}idle $t $before"; continue; };`,
  "    if $t image inspect $ref >/dev/null 2>&1; then had=1; else had=0; fi;",
  "    said=$($t pull -q $ref 2>&1); code=$?;",
  "    if [ $code$had = 00 ]; then",
  '      id=$($t image inspect -f "{{.Id}}" $ref); tags=;',
  // Without a tag it would go as a whole with this one name.
  '      case "$before" in *$id*) tags=$($t image inspect -f "{{len .RepoTags}}" $ref);; esac;',
  '      [ "$tags" = 0 ] || $t rmi $ref >/dev/null 2>&1;',
  "    fi;",
  "  fi;",
  `  if [ $code = 0 ]; then echo "${mark}pulled $t"; else echo "${mark}refused $t" $said; fi;`,
  "done; exit 0",
];

/**
 * @param target a name or an address of the registry
 * @returns why it is not to be had, if it is not
 * @throws ClientFailure "failed" if a runtime did not pull
 */
export async function proveByPull(
  place: Place,
  target: string,
  there: Surroundings,
): Promise<Note | undefined> {
  const { options } = place;
  const programs = programsFor(options.stores, there);
  if (programs.length === 0) return { reason: "nothing was pulled: there is no docker, podman or skopeo" };
  if (options.images.length === 0) {
    const hint = "At the site, and without --ca, it is known.";
    return { reason: "nothing was pulled: it is not known which images the registry has", hint };
  }
  const image = smallestFor(there.machine, options.images);
  if (image === undefined) {
    return { reason: `nothing was pulled: the registry has no image for ${there.machine || "its platform"}` };
  }
  const [domain] = referenceNames([target], options.port);
  const reference = `${domain}/${image.repository}@${image.digest}`;
  const lines = await runWithMostRights(
    place,
    script,
    [reference, ...programs],
    options.timeoutMs * patience,
  );
  return judge(lines, reference);
}

/** Where each looks for certificates. */
const readers: Readonly<Record<string, readonly StoreName[]>> = {
  docker: ["docker"],
  podman: ["containers", "docker"],
  skopeo: ["containers", "docker"],
};

/** Those that are there, and look where the CA is; skopeo where there is nothing else. */
function programsFor(stores: readonly StoreName[], there: Surroundings): string[] {
  const fitting = Object.keys(readers).filter(
    (program) => there.programs.has(program) && readers[program]?.some((store) => stores.includes(store)),
  );
  const engines = fitting.filter((program) => program !== "skopeo");
  return engines.length > 0 ? engines : fitting;
}

function judge(lines: readonly string[], reference: string): Note | undefined {
  const said = (word: string) =>
    lines.flatMap((line) => {
      const [first, program = "", ...rest] = line.split(" ");
      return first === word ? [{ program, text: words(rest.join(" ")) }] : [];
    });
  const [refused] = said("refused");
  if (refused !== undefined) {
    const text = `${refused.program} pull ${reference} did not work there: ${refused.text}`;
    throw new ClientFailure("failed", text, hintFor(refused.text));
  }
  if (said("pulled").length > 0) return undefined;
  const [idle] = said("idle");
  if (idle === undefined) throw new ClientFailure("failed", "the pull there did not end well");
  return { reason: `nothing was pulled: ${idle.program} there says: ${idle.text}` };
}

/** What `uname -m` says of a machine whose images have another name; parsePlatform knows the rest. */
const architectures: Readonly<Record<string, string>> = { i686: "386", armv7l: "arm/v7", armv6l: "arm/v6" };

function smallestFor(machine: string, images: readonly ServedImage[]): ServedImage | undefined {
  const wanted = parsePlatform(`linux/${architectures[machine] ?? (machine || "unknown")}`);
  const all = images.flatMap((image) => image.platforms.map((one) => ({ image, ...one })));
  const fitting = selectPlatform(all, ({ platform }) => platform, wanted);
  return fitting.sort((one, other) => one.bytes - other.bytes)[0]?.image;
}
