/**
 * The other process in tests of the store. `node child.js ACTION DIR …` prints `ready` once the store is
 * open, then does its work, then prints one line of JSON.
 */
import { promises } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";
import { random } from "./random.ts";

const [action = "", dir = "", ...rest] = process.argv.slice(2);

/** Names of fs/promises that change something; `open` may create. */
const CHANGING = ["open", "writeFile", "rename", "link", "unlink", "rm", "mkdir"] as const;

/** SIGKILL in place of the n-th operation that changes the file system. */
function killAt(n: number): { readonly operations: () => number } {
  let operations = 0;
  const count = () => {
    if (++operations === n) process.kill(process.pid, "SIGKILL");
  };
  const patched = promises as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>;
  for (const name of CHANGING) {
    const original = patched[name];
    if (!original) throw new Error(`no fs.promises.${name}`);
    patched[name] = async (...args) => {
      count();
      return await original(...args);
    };
  }
  syncBuiltinESMExports();
  return { operations: () => operations };
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

async function main(): Promise<unknown> {
  const killer = action === "kill-at" ? killAt(Number(rest[0])) : undefined;
  const { openStore } = await import("../../src/store/store.ts");
  const { collect } = await import("../../src/store/collect.ts");
  const { removeRecord } = await import("../../src/store/records.ts");
  const fake = await import("./fake-image.ts");

  await using store = await openStore({ dataDir: dir });
  say("ready");
  switch (action) {
    case "put": {
      return { written: await fake.putImage(store, Number(rest[0])) };
    }
    // A life in short: pull, remove, collect.
    case "kill-at": {
      await fake.putImage(store, 4);
      await removeRecord(store, fake.fakeImage(4).record.reference);
      const { names } = await collect(store);
      return { operations: killer?.operations(), collected: names.length };
    }
    case "forever": {
      const pick = random(Number(rest[0]));
      for (;;) {
        await fake.putImage(store, pick(6));
        await removeRecord(store, fake.fakeImage(pick(6)).record.reference);
        await collect(store);
      }
    }
    case "churn": {
      const pick = random(Number(rest[0]));
      const done = { put: 0, written: 0, used: 0, absent: 0, collected: 0 };
      for (let round = 0; round < Number(rest[1]); round++) {
        const number = pick(6);
        done.put++;
        done.written += await fake.putImage(store, number);
        done[await fake.useImage(store, pick(6), () => sleep(pick(20)))]++;
        if (pick(3) > 0) await removeRecord(store, fake.fakeImage(pick(6)).record.reference);
        if (pick(2) > 0) done.collected += (await collect(store)).names.length;
      }
      return done;
    }
    default:
      throw new Error(`unknown action ${action}`);
  }
}

say(JSON.stringify(await main()));
