/** What is tried again, how often, and in whose turn. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import pLimit from "p-limit";
import { silentReporter } from "../../src/reporter.ts";
import { ClientFailure } from "../../src/trust/client.ts";
import { onEach } from "../../src/trust/on-each.ts";
import { withRetries } from "../../src/trust/retries.ts";

const reset = () => new ClientFailure("unreachable", "reset", "Look.", { mayPass: true });

describe("a failure", () => {
  it("that may pass is tried again, three times in all, and says so", async () => {
    let tries = 0;
    const passing = async () => {
      tries += 1;
      if (tries < 3) throw reset();
      return "done";
    };
    assert.equal(await withRetries(1000, passing), "done");
    tries = 0;
    const lasting = async () => {
      tries += 1;
      throw reset();
    };
    await assert.rejects(withRetries(1000, lasting), (error) => {
      assert.ok(error instanceof ClientFailure);
      assert.deepEqual(
        [error.status, error.message, error.hint],
        ["unreachable", "reset (tried 3 times)", "Look."],
      );
      return true;
    });
    assert.equal(tries, 3);
  });

  it("that will not pass is final", async () => {
    for (const error of [new ClientFailure("refused", "no"), new TypeError("bug")]) {
      let tries = 0;
      const work = async () => {
        tries += 1;
        throw error;
      };
      await assert.rejects(withRetries(1000, work), error);
      assert.equal(tries, 1);
    }
  });

  it("that takes all its time is tried twice", async () => {
    let tries = 0;
    const late = async () => {
      tries += 1;
      await sleep(50);
      throw reset();
    };
    await assert.rejects(withRetries(50, late), /reset \(tried 2 times\)/);
    assert.equal(tries, 2);
  });

  it("comes again after those who have not been tried yet, and holds no place meanwhile", async () => {
    const inTurn = pLimit(1);
    const order: string[] = [];
    const one = (name: string, failing: boolean) =>
      withRetries(
        1000,
        async () => {
          order.push(name);
          if (failing) throw reset();
        },
        inTurn,
      ).catch(() => undefined);
    await Promise.all([one("bad", true), one("a", false), one("b", false)]);
    assert.deepEqual(order, ["bad", "a", "b", "bad", "bad"]);
  });
});

it("what nobody expects at one client is told with it as a bug, with its stack; what the system says is none", async () => {
  const clients = ["fine", "bug", "system"].map((name) => ({
    name,
    host: name,
    local: true,
    where: "hosts:1",
  }));
  const options = { addresses: ["registry.lan"], acceptNewHostKeys: false };
  const [fine, bug, system] = await onEach(clients, options, silentReporter, "try", async (_, { name }) => {
    if (name === "bug") throw new TypeError("nothing is not a function");
    if (name === "system") throw Object.assign(new Error("open EMFILE"), { code: "EMFILE" });
    return { name, status: "ok", proven: false };
  });
  assert.equal(fine?.status, "ok");
  assert.deepEqual([bug?.status, bug?.reason], ["failed", "a bug in drydock: nothing is not a function"]);
  assert.match(
    bug?.hint ?? "",
    /^Please report it.*\nTypeError: nothing is not a function\n +at .*retries\.test/,
  );
  assert.deepEqual([system?.status, system?.reason, system?.hint], ["failed", "open EMFILE", undefined]);
});
