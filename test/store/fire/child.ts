/**
 * The process that is shot at. `node child.js ACTION DIR …` prints one line of JSON at its end: `{"done": true, …}`, or
 * the code of the error that it ended with.
 */
import { findImage, prune, removeImage } from "../../../src/images/images.ts";
import { openStore } from "../../../src/store/store.ts";
import { load, pull, referenceOf, use } from "./images.ts";
import { random } from "../random.ts";

const [action = "", dataDir = "", ...rest] = process.argv.slice(2);

/** These are no failures where others remove what one is about to use. */
const EXPECTED = new Set(["image-not-found", "image-incomplete"]);

async function unless<T>(job: Promise<T>): Promise<T | undefined> {
  try {
    return await job;
  } catch (error) {
    if (!EXPECTED.has((error as { code?: string }).code ?? "")) throw error;
    return undefined;
  }
}

/** A life in short. */
async function life(): Promise<object> {
  const [archivePath = ""] = rest;
  await using store = await openStore({ dataDir });
  await use(store, await pull(store, 4), 4);
  await pull(store, 5);
  await load(store, archivePath);
  await removeImage(store, referenceOf(4));
  const { deleted } = await prune(store);
  return { deleted: deleted.length };
}

async function storm(): Promise<object> {
  const [seed = "1", rounds = "1"] = rest;
  const pick = random(Number(seed));
  const counts = { pulled: 0, used: 0, removed: 0 };
  for (let round = 0; round < Number(rounds); round++) {
    // As commands do: each opens the store anew.
    await using store = await openStore({ dataDir });
    await pull(store, pick(4));
    counts.pulled++;
    const number = pick(4);
    const image = await findImage(store, referenceOf(number));
    if (image && (await unless(use(store, image, number).then(() => true)))) counts.used++;
    if (pick(2) > 0 && (await unless(removeImage(store, referenceOf(pick(4)))))) counts.removed++;
    if (pick(3) > 0) await prune(store);
  }
  return counts;
}

const actions: Readonly<Record<string, () => Promise<object>>> = { life, storm };

try {
  const result = await actions[action]?.();
  process.stdout.write(`${JSON.stringify({ done: true, ...result })}\n`);
} catch (error) {
  const { code, name, message } = error as { code?: unknown; name: string; message: string };
  process.stdout.write(`${JSON.stringify({ done: false, code, name, message })}\n`);
  process.exitCode = 1;
}
