import { PassThrough } from "node:stream";
import { expect, test } from "vitest";
import { breakOff, unlessAborted } from "../../src/util/abort.ts";

const never = new Promise<never>(() => {});

test("a wait ends with the signal's reason, before it begins and while it lasts", async () => {
  const controller = new AbortController();
  const waiting = unlessAborted(never, controller.signal);
  const reason = new Error("enough");
  controller.abort(reason);
  await expect(waiting).rejects.toBe(reason);
  await expect(unlessAborted(never, controller.signal)).rejects.toBe(reason);
  // What the promise itself comes to is nobody's any more.
  await expect(unlessAborted(Promise.reject(new Error("other")), controller.signal)).rejects.toBe(reason);
});

test("without a signal, or with one that is silent, it is the promise's own end", async () => {
  const { signal } = new AbortController();
  expect(await unlessAborted(Promise.resolve(7), undefined)).toBe(7);
  expect(await unlessAborted(Promise.resolve(7), signal)).toBe(7);
  await expect(unlessAborted(Promise.reject(new Error("its own")), signal)).rejects.toThrow("its own");
});

test("a stream breaks off with the signal's reason, unless it has closed", async () => {
  const controller = new AbortController();
  const [open, closed] = [new PassThrough(), new PassThrough()];
  const told = new Promise((resolve) => open.once("error", resolve));
  breakOff(open, controller.signal);
  breakOff(closed, controller.signal);
  closed.destroy();
  await new Promise((resolve) => closed.once("close", resolve));
  const reason = new Error("enough");
  controller.abort(reason);
  expect(await told).toBe(reason);
  const late = new PassThrough();
  const atOnce = new Promise((resolve) => late.once("error", resolve));
  breakOff(late, controller.signal);
  expect(await atOnce).toBe(reason);
});
