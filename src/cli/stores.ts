/** What `install --clients` and `trust` share about the clients' trust stores: which, mirrors, restarts. */
import { Flags } from "@oclif/core";
import { DrydockError } from "../errors.ts";
import type { Reporter } from "../reporter.ts";
import { storeNames } from "../trust/stores/store.ts";
import type { TrustOptions } from "../trust/trust.ts";

export const storeFlags = {
  stores: Flags.option({
    helpValue: "NAME",
    options: storeNames,
    multiple: true,
    multipleNonGreedy: true,
    delimiter: ",",
    description:
      "the trust stores to write, separated by commas; system is the one of all programs, and only written where it is named [default: those of the runtimes that are found on each host]",
  })(),
  mirror: Flags.string({
    helpValue: "UPSTREAM",
    multiple: true,
    multipleNonGreedy: true,
    delimiter: ",",
    description:
      "let containerd, Podman, CRI-O and k3s look for the images of these upstreams in this registry first, and Docker for those of docker.io: quay.io,docker.io",
  }),
  "restart-runtimes": Flags.boolean({
    description: "change what a runtime reads only at its start, too, and restart it, where that is needed",
  }),
  "remove-old": Flags.boolean({
    description:
      "take away CAs of the registry that an earlier run put there; else they stay beside the new one",
  }),
};

export function storeOptions(
  flags: {
    stores?: readonly (typeof storeNames)[number][] | undefined;
    mirror?: readonly string[] | undefined;
    "restart-runtimes": boolean;
    "remove-old": boolean;
  },
  reporter: Reporter,
): Pick<TrustOptions, "stores" | "mirrors" | "restartRuntimes" | "removeOld"> {
  const mirrors = [...new Set((flags.mirror ?? []).map(checkUpstream))];
  const others = mirrors.filter((upstream) => upstream !== "docker.io");
  if (others.length > 0 && (flags.stores?.includes("docker") ?? true)) {
    const names = "`drydock inspect BUNDLE --names` lists the names that its images have here.";
    reporter.note(`Docker itself can't look elsewhere for images of ${others.join(", ")}. ${names}`);
  }
  return {
    stores: flags.stores,
    mirrors,
    restartRuntimes: flags["restart-runtimes"],
    removeOld: flags["remove-old"],
  };
}

/** @throws DrydockError "usage" */
function checkUpstream(text: string): string {
  const upstream = text.toLowerCase();
  if (/^(?:registry-1|index)\.docker\.io$/.test(upstream)) return "docker.io";
  if (/^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::\d+)?$/.test(upstream) && /[.:]/.test(upstream)) return upstream;
  throw new DrydockError(
    "usage",
    `--mirror ${JSON.stringify(text)}: wanted the host of an upstream registry`,
    {
      hint: "As it stands before an image's name: --mirror quay.io,docker.io",
    },
  );
}
