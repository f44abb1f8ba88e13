/**
 * A command line with commands made for the tests: it runs main.ts as bin/ does.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Args, Flags } from "@oclif/core";
import { DrydockCommand } from "../../src/cli/base-command.ts";
import { main } from "../../src/cli/main.ts";
import { askSecret } from "../../src/cli/prompt.ts";
import { DrydockError, type ErrorKind } from "../../src/errors.ts";

class Work extends DrydockCommand {
  static override summary = "Works, or fails as it is told.";
  static override exitCodes: readonly ErrorKind[] = ["integrity"];
  static override whenInterrupted = "The half of it is kept.";
  static override args = { thing: Args.string({ description: "what to work on" }) };
  static override flags = {
    fail: Flags.string({ summary: "how to fail", options: ["expected", "bug", "disk", "later"] }),
    size: Flags.integer({ summary: "how much" }),
    wait: Flags.boolean({ summary: "never end" }),
    steps: Flags.boolean({ summary: "show two steps" }),
    pieces: Flags.boolean({ summary: "show a step with pieces in flight" }),
    hosts: Flags.boolean({ summary: "show a step about many hosts" }),
  };
  static override examples = ["<%= config.bin %> work a", "<%= config.bin %> work b --size 3"];

  override async run() {
    const { args, flags } = await this.parse(Work);
    if (flags.steps) await this.#showSteps();
    if (flags.pieces) await this.#showPieces();
    if (flags.hosts) await this.#showHosts();
    if (flags.wait) await this.#wait();
    if (flags.fail) await fail(flags.fail);
    this.log(`worked on ${args.thing}`);
    return { thing: args.thing };
  }

  async #showSteps() {
    const MiB = 1024 ** 2;
    const first = this.reporter.step("Download 12 images");
    const second = this.reporter.step("Check");
    first.total(3000 * MiB);
    first.detail("quay.io/prometheus/node-exporter:v1.8.2, layer 3 of 5");
    for (let part = 0; part < 10; part++) {
      first.advance(300 * MiB);
      await sleep(120);
      if (part === 4) this.reporter.warn("half of it\u001b[2J is done");
    }
    second.done("nothing wrong");
    first.done("12 images, 3.0 GiB");
  }

  /** Six at once for two seconds; then the first ends, and the others half a second later. */
  async #showPieces() {
    const MiB = 1024 ** 2;
    const step = this.reporter.step("Fetch");
    step.total(300 * MiB);
    const pieces = Array.from({ length: 6 }, (_, at) =>
      step.piece(`registry.example/team/image-${at}:1 3b1f0a2c4d5e`, 50 * MiB),
    );
    for (let part = 0; part < 25; part++) {
      if (part === 20) pieces.shift()?.end();
      for (const piece of pieces) {
        piece.advance(2 * MiB);
        step.advance(2 * MiB);
      }
      await sleep(100);
    }
    for (const piece of pieces) piece.end();
    step.done();
  }

  /** 500 hosts, 64 at once, which take half a second each; every tenth fails. */
  async #showHosts() {
    const step = this.reporter.step("trust 500 clients");
    let [begun, done, failed] = [0, 0, 0];
    const one = async () => {
      for (let at = begun++; at < 500; at = begun++) {
        const name = `web-${at}.a-rather-long-name-of-a-domain.plant7.lan`;
        const piece = step.piece(name);
        piece.detail("connecting");
        await sleep(200);
        piece.detail("trust stores");
        await sleep(300);
        piece.end();
        if (at % 10 === 3)
          step.trouble(`${name}: refused: login as "root" with the key was refused\u001b[2J`);
        if (at % 10 === 3) failed++;
        else done++;
        step.detail(`${done} of 500 done, ${failed} failed`);
      }
    };
    await Promise.all(Array.from({ length: 64 }, one));
    step.done("450 changed, 50 refused");
  }

  async #wait() {
    const step = this.reporter.step("Wait");
    process.stderr.write("waiting\n");
    await sleep(60_000);
    step.done();
  }
}

async function fail(how: string): Promise<void> {
  if (how === "expected") {
    throw new DrydockError("integrity", 'read "x": wanted \u001b[31m3 bytes, got 2', {
      hint: "Copy it again.",
    });
  }
  if (how === "bug") throw new TypeError("x is not iterable");
  if (how === "disk")
    throw Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
  setTimeout(() => {
    throw new TypeError("thrown where nobody waits");
  }, 10);
  await sleep(60_000);
}

class Ask extends DrydockCommand {
  static override summary = "Asks for a secret.";

  override async run() {
    await this.parse(Ask);
    this.log(`answer: ${JSON.stringify(await askSecret("Passphrase: "))}`);
  }
}

const root = join(import.meta.dirname, "../..");
const pjson = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
process.exit(await main(process.argv.slice(2), { root, pjson, commands: { work: Work, ask: Ask } }));
