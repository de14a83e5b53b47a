/** Guests that send without end, or make the host keep: its memory grows by at most 64 MiB, and it ends. */
import { execFile } from "node:child_process";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { encodeFrame, FrameType as Type, INITIAL_CREDIT_BYTES } from "../../src/agent/protocol/frame.ts";
import { compileRepository } from "../support/compiled.ts";
import type { Compiled } from "../support/compiled.ts";
import { Guest, header, rawFrame } from "./guest.ts";
import type { Stage } from "./guest.ts";

const MAX_GROWTH_MIB = 64;
const MIB = 1 << 20;

let compiled: Compiled;
beforeAll(() => {
  const parts = ["images/memory-source.ts", "support/oci-layout.ts", "hostile"].map((part) => `test/${part}`);
  compiled = compileRepository(["src", ...parts]);
});
afterAll(() => compiled[Symbol.dispose]());

interface Result {
  readonly grownMib: number;
  readonly ending: { readonly code?: number; readonly error?: string; readonly message?: string };
  readonly leftovers: readonly string[];
}

interface Flood {
  readonly name: string;
  readonly stage: Stage;
  /** What the host's user does with the container's streams. */
  readonly user: "read" | "leave" | "feed";
  readonly pour: (guest: Guest) => Promise<void>;
  /** The error's line, or the exit as JSON. */
  readonly ending: RegExp;
}

const frame = (type: number, id: number, bytes: number): Buffer =>
  rawFrame(type, id, Buffer.alloc(bytes, 0x20));
const breach = (says: string): RegExp => new RegExp(`^the machine was lost: .*${says}`);
const json = (type: number, id: number, value: object): Buffer => rawFrame(type, id, JSON.stringify(value));

const floods: readonly Flood[] = [
  {
    name: "a GiB of output that nobody reads, against its credit",
    stage: "running",
    user: "leave",
    pour: async (guest) => await guest.flood(frame(Type.data, guest.stdio.stdout, 65_536), 16_384),
    ending: breach("more than its credit"),
  },
  {
    name: "a window of single bytes on both outputs, that nobody reads",
    stage: "running",
    user: "leave",
    pour: async (guest) => {
      for (const id of [guest.stdio.stdout, guest.stdio.stderr])
        await guest.flood(frame(Type.data, id, 1), INITIAL_CREDIT_BYTES);
      guest.exit({ exitCode: 0 });
    },
    ending: /^{"code":0}$/,
  },
  {
    name: "512 MiB of output that is read, within its credit",
    stage: "running",
    user: "read",
    pour: async (guest) => {
      await guest.write(guest.stdio.stdout, 512 * MIB, 65_536);
      guest.exit({ exitCode: 0 });
    },
    ending: /^{"code":0}$/,
  },
  {
    name: "a million bytes of output, each in a frame, that are read",
    stage: "running",
    user: "read",
    pour: async (guest) => {
      await guest.write(guest.stdio.stdout, MIB, 1);
      guest.exit({ exitCode: 0 });
    },
    ending: /^{"code":0}$/,
  },
  {
    name: "large events that nobody knows",
    stage: "running",
    user: "read",
    pour: async (guest) =>
      await guest.flood(
        json(Type.event, 0, { event: "x", list: Array.from({ length: 20_000 }, () => 1) }),
        16_384,
      ),
    ending: breach("nobody waits for"),
  },
  {
    name: "small events that nobody knows",
    stage: "running",
    user: "read",
    pour: async (guest) => await guest.flood(rawFrame(Type.event, 0, "{}"), 1_000_000),
    ending: breach("nobody waits for"),
  },
  {
    name: "a credit of nothing, again and again",
    stage: "running",
    user: "feed",
    pour: async (guest) =>
      await guest.flood(encodeFrame(Type.credit, guest.stdio.stdin, Buffer.alloc(4)), 1_000_000),
    ending: breach("nobody waits for"),
  },
  {
    name: "resets of streams that are not there",
    stage: "running",
    user: "read",
    pour: async (guest) => await guest.flood(frame(Type.reset, 77, 1_024), 1_000_000),
    ending: breach("nobody waits for"),
  },
  {
    name: "the end of its output, again and again",
    stage: "running",
    user: "read",
    pour: async (guest) => await guest.flood(encodeFrame(Type.eof, guest.stdio.stdout), 1_000_000),
    ending: breach("nobody waits for"),
  },
  {
    name: "answers of 4 MiB to nobody",
    stage: "greeted",
    user: "read",
    pour: async (guest) => await guest.flood(frame(Type.response, 77, 4 * MIB), 256),
    ending: breach("nobody waits for"),
  },
  {
    name: "an answer of 4 MiB of small values",
    stage: "greeted",
    user: "read",
    pour: async (guest) =>
      guest.raw(rawFrame(Type.response, guest.pending, `{"result":{"a":[${"{},".repeat(1_390_000)}1]}}`)),
    ending: breach("more than 65536 values"),
  },
  {
    name: "the header of an answer of 4 MiB, then a thousand bytes at a time, then nothing",
    stage: "created",
    user: "read",
    pour: async (guest) => {
      guest.raw(header({ type: Type.response, id: guest.pending, length: 4 * MIB }));
      await guest.flood(Buffer.alloc(1_000, 0x20), 4_000);
    },
    ending: breach("container.start within"),
  },
  {
    name: "nothing, while it takes nothing of its input and gives credit for all of it",
    stage: "running",
    user: "feed",
    pour: async (guest) => {
      guest.credit(guest.stdio.stdin, 15 * MIB);
      guest.answersPings = false;
      guest.socket.pause();
    },
    ending: /^the machine was lost: its agent has not answered for 1\.2 s$/m,
  },
  {
    name: "output as fast as it is read, and never reads the credit for it",
    stage: "running",
    user: "read",
    pour: async (guest) => {
      guest.socket.pause();
      await guest.flood(frame(Type.data, guest.stdio.stdout, 1_024), 4_000_000);
    },
    ending: /^the machine was lost: /,
  },
];

async function perform({ stage, user, pour }: Flood): Promise<Result> {
  const server = createServer((socket) => {
    const guest = new Guest(socket);
    void guest.reach(stage).then(async () => await pour(guest));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  try {
    const program = fileURLToPath(compiled.url("test/hostile/flood-host.ts"));
    const args = ["--unhandled-rejections=strict", program, String(port), user];
    const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 100_000 });
    return JSON.parse(stdout) as Result;
  } finally {
    server.close();
  }
}

describe("a guest that sends", () => {
  it.each(floods.map((flood) => [flood.name, flood] as const))(
    "%s",
    { timeout: 110_000 },
    async (name, flood) => {
      const { ending, grownMib, leftovers } = await perform(flood);
      if (process.env["FLAMEBOX_TEST_VERBOSE"] !== undefined) console.log(grownMib.toFixed(1), name);
      expect(ending.message ?? JSON.stringify(ending)).toMatch(flood.ending);
      expect(grownMib).toBeLessThanOrEqual(MAX_GROWTH_MIB);
      expect(leftovers).toEqual([]);
    },
  );
});
