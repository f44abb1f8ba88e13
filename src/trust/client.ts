/**
 * One client: how to reach it, and what came of it.
 */

/** A host on the way to a client. What is left out is for SSH's own configuration to say, as for `Client`. */
export interface Hop {
  host: string;
  port?: number;
  user?: string;
  /** an absolute path */
  keyFile?: string;
}

/**
 * A host that must trust the CA, as the inventory describes it. What the inventory doesn't say is left out:
 * SSH's own configuration, and then its defaults (port 22, the login name), decide.
 */
export interface Client {
  /** its name in the inventory */
  name: string;
  /** name or address to connect to; the name, where the inventory has none */
  host: string;
  port?: number;
  user?: string;
  /** an absolute path */
  keyFile?: string;
  /** the name or address by which this client reaches the registry */
  repoHost?: string;
  /** "file:line" where the inventory names it, or its repoHost if it has one */
  where: string;
  /** jump hosts in order, the first one is reached from here; empty: none, whatever SSH's configuration says */
  jumps?: Hop[];
  /**
   * A command whose stdin and stdout are the connection, with the tokens %h, %n, %p, %r and %% of
   * ssh_config(5) still in it. Only where the user has allowed such commands.
   */
  proxyCommand?: string;
  /** not over SSH: this host itself (ansible_connection=local) */
  local?: boolean;
  /** false: the inventory says that the user's own rights are to do (ansible_become=false), so no sudo */
  become?: boolean;
}

/**
 * ok           it trusted the CA already; nothing was written
 * changed      it trusts the CA now
 * unreachable  there is no conversation: name, network, port, timeout
 * refused      it, or we, refused the conversation: host key, login, rights
 * failed       it was reached, and something went wrong there
 */
export type ClientStatus = "ok" | "changed" | "unreachable" | "refused" | "failed";

/**
 * tls     a handshake with the registry succeeded from where the client stands
 * engine  the client's own Docker engine asked the registry for an image, with the certificates that it looks for
 * pull    the client pulled an image
 */
export type ProofKind = "tls" | "engine" | "pull";

export interface InstalledDocker {
  /** the version that dockerd says it has */
  engine: string;
  /** with their versions: "docker.io 20.10.24+dfsg1-1" */
  packages: string[];
}

export interface ClientResult {
  name: string;
  status: ClientStatus;
  /** what was installed there, if anything */
  installed?: InstalledDocker;
  /** whether it was seen to work from where the client stands */
  proven: boolean;
  /** what was seen, the most that the client had the means for */
  proof?: ProofKind;
  /** name or address of the registry with which it succeeded */
  provenAs?: string;
  /** why it is not as it should be, or what to know about it */
  reason?: string;
  /** what to do about it; a line for each thing */
  hint?: string;
}

/** Why something is not as it should be at a client, or what to know about it. */
export interface Note {
  reason: string;
  hint?: string | undefined;
}

/** All that is to be told of a client as one, nothing of it twice. */
export function inOne(notes: readonly Note[]): { reason?: string; hint?: string } {
  if (notes.length === 0) return {};
  const reasons = new Set(notes.map(({ reason }) => reason));
  const hints = new Set(notes.flatMap(({ hint }) => hint?.split("\n") ?? []));
  return {
    reason: [...reasons].join("; "),
    ...(hints.size === 0 ? {} : { hint: [...hints].join("\n") }),
  };
}

/** An expected failure with one client. It ends that client's work and no other's. */
export class ClientFailure extends Error {
  override name = "ClientFailure";
  readonly status: "unreachable" | "refused" | "failed";
  readonly hint: string | undefined;
  /** It may be gone the next time: a connection that was reset, or not answered in time. */
  readonly mayPass: boolean;

  constructor(
    status: "unreachable" | "refused" | "failed",
    message: string,
    hint?: string,
    options: { mayPass?: boolean } = {},
  ) {
    super(message);
    this.status = status;
    this.hint = hint;
    this.mayPass = options.mayPass ?? false;
  }

  /** What went wrong after the client was reached. */
  static of(notes: readonly Note[]): ClientFailure {
    const { reason = "", hint } = inOne(notes);
    return new ClientFailure("failed", reason, hint);
  }
}
