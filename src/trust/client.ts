/**
 * One client: how to reach it, and what came of it.
 */

/** A host that must trust the CA, as the inventory describes it. */
export interface Client {
  /** its name in the inventory */
  name: string;
  /** name or address to connect to */
  host: string;
  port: number;
  user: string;
  /** an absolute path */
  keyFile?: string;
  /** the name or address by which this client reaches the registry */
  repoHost?: string;
  /** "file:line" where the inventory names it */
  where: string;
}

/**
 * ok           it trusted the CA already; nothing was written
 * changed      it trusts the CA now
 * unreachable  there is no conversation: name, network, port, timeout
 * refused      it, or we, refused the conversation: host key, login, rights
 * failed       it was reached, and something went wrong there
 */
export type ClientStatus = "ok" | "changed" | "unreachable" | "refused" | "failed";

export interface ClientResult {
  name: string;
  status: ClientStatus;
  /** whether a TLS handshake with the registry succeeded from where the client stands */
  proven: boolean;
  /** name or address of the registry with which it succeeded */
  provenAs?: string;
  /** why it is not as it should be, or what to know about it */
  reason?: string;
  /** what to do about it */
  hint?: string;
}

/** An expected failure with one client. It ends that client's work and no other's. */
export class ClientFailure extends Error {
  override name = "ClientFailure";
  readonly status: "unreachable" | "refused" | "failed";
  readonly hint: string | undefined;

  constructor(status: "unreachable" | "refused" | "failed", message: string, hint?: string) {
    super(message);
    this.status = status;
    this.hint = hint;
  }
}
