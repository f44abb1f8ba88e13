/**
 * What ansible_ssh_common_args and its like say to ssh: jump hosts, proxy commands, and other options. Each is
 * followed, or known to change nothing here, or told of, or named as what can't be followed.
 * ssh(1), ssh_config(5)
 */
import { basename } from "node:path";
import { type Destination, isUserName, parseDestination, parsePort } from "./destination.ts";
import { splitWords } from "./shell-words.ts";

/** A jump host with its key as the inventory writes it. */
export interface JumpHost extends Destination {
  key?: string;
}

/** What the arguments say. As for ssh, of several that say the same the first has its way. */
export interface SshArguments {
  port?: number;
  user?: string;
  /** as the inventory writes it */
  key?: string;
  /** empty: none at all */
  jumps?: JumpHost[];
  proxyCommand?: string;
  /** what is not followed, though the connection goes where it should */
  ignored: string[];
  /** what can't be followed, and would lead elsewhere */
  unread: string[];
}

/** Options without a value: quiet, compression, no terminal, no agent or X11 forwarded. */
const harmlessFlags = new Set("CqvTtnxakXY");
const flagsWithValue = new Set("BbcDEeFIiJLlmOopQRSWw");

/** Options of ssh_config that don't matter here, whatever their value. */
const harmless = new Set(
  `addkeystoagent batchmode checkhostip clearallforwardings compression connectionattempts connecttimeout
  controlmaster controlpath controlpersist escapechar exitonforwardfailure forwardx11 forwardx11trusted
  gssapiauthentication gssapidelegatecredentials hashknownhosts identitiesonly ipqos kbdinteractiveauthentication
  loglevel numberofpasswordprompts passwordauthentication rekeylimit requesttty sendenv serveralivecountmax
  serveraliveinterval setenv tcpkeepalive updatehostkeys visualhostkey`.split(/\s+/),
);

/** Options that are not followed, which at worst makes a host be refused. */
const strict = new Set(
  `ciphers forwardagent globalknownhostsfile hostkeyalgorithms kexalgorithms macs preferredauthentications
  pubkeyacceptedalgorithms pubkeyacceptedkeytypes pubkeyauthentication stricthostkeychecking
  userknownhostsfile`.split(/\s+/),
);

/** @returns undefined if a quote is not closed */
export function readSshArguments(text: string): SshArguments | undefined {
  const words = splitWords(text, { comments: false });
  if (words === undefined) return undefined;
  const said: SshArguments = { ignored: [], unread: [] };
  for (const word of readOptions(words, said)) said.unread.push(JSON.stringify(word));
  return said;
}

/** Goes through the options. @returns the words that are none */
function readOptions(words: string[], said: SshArguments): string[] {
  const others: string[] = [];
  const rest = [...words];
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (!/^-./.test(word)) {
      others.push(word);
      continue;
    }
    for (let at = 1; at < word.length; at += 1) {
      const flag = word.charAt(at);
      if (!flagsWithValue.has(flag)) {
        readFlag(flag, said);
        continue;
      }
      readFlagWithValue(flag, word.slice(at + 1) || (rest.shift() ?? ""), said);
      break;
    }
  }
  return others;
}

function readFlag(flag: string, said: SshArguments): void {
  if (flag === "A") said.ignored.push("-A");
  else if (!harmlessFlags.has(flag)) said.unread.push(`-${flag}`);
}

function readFlagWithValue(flag: string, value: string, said: SshArguments): void {
  const option = { J: "ProxyJump", p: "Port", l: "User", i: "IdentityFile", c: "Ciphers", m: "MACs" }[flag];
  if (option !== undefined) readOption(option, value, said);
  else if (flag === "o") {
    const [, name, text] = /^\s*([A-Za-z0-9]+)\s*(?:=|\s)\s*(.*?)\s*$/s.exec(value) ?? [];
    if (name === undefined || text === undefined) said.unread.push(`-o ${JSON.stringify(value)}`);
    else readOption(name, text, said);
  } else if (flag !== "S") said.unread.push(`-${flag}`);
}

function readOption(name: string, text: string, said: SshArguments): void {
  const key = name.toLowerCase();
  const value = /^"([^"]*)"$/.exec(text)?.[1] ?? text;
  if (key === "proxycommand") readProxyCommand(text, said);
  else if (key === "proxyjump") readProxyJump(value, said);
  else if (key === "identityfile") said.key ??= value;
  else if (key === "port" && parsePort(value) !== undefined) said.port ??= parsePort(value) ?? 22;
  else if (key === "user" && isUserName(value)) said.user ??= value;
  else if (strict.has(key)) {
    const isSafe = /^(?:stricthostkeychecking yes|forwardagent no|pubkeyauthentication yes)$/i;
    if (!isSafe.test(`${key} ${value}`)) said.ignored.push(name);
  } else if (!harmless.has(key)) said.unread.push(name);
}

function hasProxy(said: SshArguments): boolean {
  return said.jumps !== undefined || said.proxyCommand !== undefined;
}

function readProxyJump(value: string, said: SshArguments): void {
  const jumps = /^none$/i.test(value) ? [] : value.split(",").map((hop) => parseDestination(hop.trim()));
  const known = jumps.filter((hop) => hop !== undefined);
  if (known.length < jumps.length) said.unread.push(`ProxyJump ${JSON.stringify(value)}`);
  else if (!hasProxy(said)) said.jumps = known;
}

/** `ssh -W %h:%p bastion` is a jump by another name; it is made here, with a checked host key. */
function readProxyCommand(text: string, said: SshArguments): void {
  if (hasProxy(said)) return;
  const command = text.replace(/^exec\s+/, "");
  const jump = /^none$/i.test(command) ? { jumps: [], ignored: [] } : readJumpCommand(command);
  if (jump === undefined) {
    said.proxyCommand = text;
    return;
  }
  said.jumps = jump.jumps;
  said.ignored.push(...jump.ignored);
}

/** @returns undefined if the command is, or does, anything else than to jump */
function readJumpCommand(command: string): { jumps: JumpHost[]; ignored: string[] } | undefined {
  const words = /[$;|&<>()`]/.test(command) ? undefined : splitWords(command, { comments: false });
  const [program = "", ...rest] = words ?? [];
  const forward = rest.findIndex((word) => /^-[A-Za-z]*W/.test(word));
  if (basename(program) !== "ssh" || forward === -1) return undefined;
  // The target is the value of -W, whatever flags stand before it in the same word.
  const [, flags = "", value = ""] = /^-([A-Za-z]*?)W(.*)$/.exec(rest[forward] ?? "") ?? [];
  const target = value || rest[forward + 1];
  if (!/^(?:%h|\[%h\]):%p$/.test(target ?? "")) return undefined;
  rest.splice(forward, value === "" ? 2 : 1, ...(flags === "" ? [] : [`-${flags}`]));
  const said: SshArguments = { ignored: [], unread: [] };
  const [destination = "", ...others] = readOptions(rest, said);
  const hop = parseDestination(destination);
  if (hop === undefined || others.length > 0 || said.unread.length > 0 || said.proxyCommand !== undefined)
    return undefined;
  const { port, user, key } = said;
  const jump: JumpHost = { ...hop, ...(key === undefined ? {} : { key }) };
  if (port !== undefined) jump.port ??= port;
  if (user !== undefined) jump.user ??= user;
  return { jumps: [...(said.jumps ?? []), jump], ignored: said.ignored };
}
