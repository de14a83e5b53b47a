/** The control socket's frames: cut anywhere, malformed, and over a real socket. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import type { Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { call } from "../../src/container/control/client.ts";
import { connect, listen } from "../../src/container/control/socket.ts";
import {
  Channel,
  Decoder,
  encode,
  FrameKind,
  packError,
  parseMessage,
  unpackError,
} from "../../src/container/control/wire.ts";
import type { Frame } from "../../src/container/control/wire.ts";
import { FlameBoxError } from "../../src/util/error.ts";

let dir: string;
const ID = "ab".repeat(32);
beforeAll(async () => {
  // Longer than a socket's path can be.
  dir = join(await mkdtemp(join(tmpdir(), "flamebox-control-")), "x".repeat(120));
});
afterAll(async () => await rm(join(dir, ".."), { recursive: true, force: true }));
const paths = () => ({ dataDir: join(dir, "data"), runtimeDir: join(dir, "run") });

const kinds = Object.values(FrameKind);
const frame = fc.record({ kind: fc.constantFrom(...kinds), payload: fc.uint8Array({ maxLength: 300 }) });

describe("frames", () => {
  test("come out as they went in, however they are cut (seeded)", () => {
    fc.assert(
      fc.property(
        fc.array(frame, { maxLength: 8 }),
        fc.array(fc.nat(60), { minLength: 1 }),
        (frames, cuts) => {
          const bytes = Buffer.concat(frames.map(({ kind, payload }) => encode(kind, payload)));
          const decoder = new Decoder();
          const found: Frame[] = [];
          for (let at = 0, i = 0; at < bytes.length; i++) {
            const end = at + 1 + (cuts[i % cuts.length] ?? 0);
            found.push(...decoder.take(bytes.subarray(at, end)));
            at = end;
          }
          expect(found.map(({ kind, payload }) => [kind, [...payload]])).toEqual(
            frames.map(({ kind, payload }) => [kind, [...payload]]),
          );
        },
      ),
      { seed: 11, numRuns: 300 },
    );
  });

  test.each([
    ["an unknown kind", Buffer.from([9, 0, 0, 0, 0])],
    ["more than there may be", Buffer.from([0, 0xff, 0xff, 0xff, 0xff])],
    ["a little more than there may be", Buffer.from([0, 1, 0, 0x80, 0])],
  ])("are refused with %s", (_name, bytes) => {
    expect(() => new Decoder().take(bytes)).toThrow(
      expect.objectContaining({ code: "control-broken" }) as Error,
    );
  });

  test.each([
    ["no JSON", "{"],
    ["a list", "[]"],
    ["a number", "7"],
    ["null", "null"],
    ["nothing", ""],
  ])("are no messages with %s", (_name, text) => {
    const message = { kind: FrameKind.message, payload: Buffer.from(text) };
    expect(() => parseMessage(message)).toThrow(expect.objectContaining({ code: "control-broken" }) as Error);
  });

  test("survive any bytes (seeded)", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        let refusal: unknown;
        try {
          new Decoder().take(Buffer.from(bytes));
        } catch (error) {
          refusal = error;
        }
        expect(refusal === undefined || refusal instanceof FlameBoxError).toBe(true);
      }),
      { seed: 12, numRuns: 2_000 },
    );
  });
});

test("errors keep their code, message and hint; what is none is told as one", () => {
  const error = new FlameBoxError("name-taken", "it is taken", { hint: "choose another" });
  expect(unpackError(packError(error))).toMatchObject({
    code: "name-taken",
    message: "it is taken",
    hint: "choose another",
  });
  expect(unpackError(packError(new TypeError("oh")))).toMatchObject({
    code: "internal-error",
    message: "oh",
  });
  for (const odd of [undefined, null, 7, "x", {}, { code: 7 }])
    expect(unpackError(odd).code).toBe("internal-error");
});

async function answering(onConnection: (socket: Socket) => void): Promise<void> {
  const listener = await listen(paths(), ID, onConnection);
  onTestFinished(async () => await listener[Symbol.asyncDispose]());
}

describe("over a socket with a long path", () => {
  const target = { id: ID, name: "web" };

  test("asks and is answered; nobody there is said", async () => {
    await expect(call(paths(), target, { method: "state" })).rejects.toMatchObject({
      code: "container-not-running",
    });
    await answering((socket) => {
      void (async () => {
        await using channel = new Channel(socket);
        const request = await channel.nextMessage();
        if (request?.["method"] === "fail")
          await channel.sendMessage({ error: packError(new FlameBoxError("no-log", "there is none")) });
        else if (request?.["method"] !== "silence") await channel.sendMessage({ result: { asked: request } });
        channel.end();
      })();
    });
    expect(await call(paths(), target, { method: "state", params: { a: 1 } })).toEqual({
      asked: { method: "state", params: { a: 1 } },
    });
    await expect(call(paths(), target, { method: "fail" })).rejects.toMatchObject({ code: "no-log" });
    await expect(call(paths(), target, { method: "silence" })).rejects.toMatchObject({
      code: "container-not-running",
    });
  });

  test("a call that nobody answers ends with its signal", async () => {
    await answering((socket) => socket.resume());
    const signal = AbortSignal.timeout(100);
    await expect(call(paths(), target, { method: "state" }, { signal })).rejects.toMatchObject({
      name: "TimeoutError",
    });
  });

  test("nobody listens any more once it is disposed", async () => {
    const listener = await listen(paths(), ID, () => {});
    await listener[Symbol.asyncDispose]();
    expect(await connect(paths(), ID)).toBeUndefined();
  });
});
