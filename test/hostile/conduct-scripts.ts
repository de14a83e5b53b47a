/** Frames that are whole, from a guest that says the wrong thing, at the wrong time, too much, or nothing. */
import { setTimeout as sleep } from "node:timers/promises";
import { FrameType as Type, INITIAL_CREDIT_BYTES, MAX_DATA_BYTES } from "../../src/agent/protocol/frame.ts";
import { header, rawFrame } from "./guest.ts";
import type { Guest } from "./guest.ts";
import { breach, fails, harmless } from "./script.ts";
import type { Script } from "./script.ts";

const ESCAPES = "\u001b]0;owned\u0007\u001b[2J\u001b[31mred\r\nsecond line\u202e";
const KIB = 1_024;

const hello = (name: string, fields: object): Script =>
  breach(`HELLO with ${name}`, "connected", (guest) => guest.hello(fields), /HELLO has not|generation/);

const openings: readonly Script[] = [
  hello("generation 0", { generation: 0 }),
  hello("generation 6", { generation: 6 }),
  hello("generation -1", { generation: -1 }),
  hello("generation 1.5", { generation: 1.5 }),
  hello("a generation in words", { generation: "2" }),
  hello("no generation", { generation: undefined }),
  hello("generation 2^53", { generation: 2 ** 53 }),
  hello("a number for a name", { agent: 7 }),
  hello("no kernel", { kernel: undefined }),
  hello("a kernel of 257 characters", { kernel: "6".repeat(257) }),
  breach("HELLO twice", "connected", (guest) => [1, 2].forEach(() => guest.hello()), /second HELLO/),
  breach("a late HELLO", "running", (guest) => guest.hello(), /second HELLO/),
  breach("an exit before HELLO", "connected", (guest) => guest.exit({ exitCode: 0 }, { eof: false }), /exit/),
  breach("data before HELLO", "connected", (guest) => guest.send(Type.data, 1, Buffer.from("x")), /not open/),
].map((script) =>
  // Its first HELLO was good, so the machine has started.
  script.name.startsWith("HELLO twice")
    ? { ...script, ending: { error: "machine-lost", says: /second HELLO/ } }
    : script,
);

const refusal = (name: string, error: unknown): Script =>
  breach(`an error with ${name}`, "greeted", (guest) =>
    guest.raw(rawFrame(3, guest.pending, JSON.stringify({ error }))),
  );

const pid = (name: string, value: unknown): Script =>
  breach(`a process id of ${name}`, "configured", (guest) => guest.respond(guest.pending, { pid: value }));

const answers: readonly Script[] = [
  refusal("a code of 1 MiB", { code: "x".repeat(KIB * KIB), message: "" }),
  refusal("a message of 1 MiB", { code: "failed", message: "x".repeat(KIB * KIB) }),
  refusal("a number for a code", { code: 7, message: "x" }),
  refusal("no message", { code: "failed" }),
  refusal("null for all of it", null),
  refusal("a list for all of it", ["failed", "x"]),
  ...[null, 1, "x", [], undefined].map((result) =>
    breach(`a result of ${JSON.stringify(result)}`, "greeted", (guest) =>
      guest.respond(guest.pending, result),
    ),
  ),
  ...[0, -1, 1.5, 2 ** 22 + 1, "42", null].map((value) => pid(JSON.stringify(value), value)),
  pid("nothing", undefined),
  fails(
    "terminal escape sequences in an error",
    "created",
    (guest) => guest.send(Type.response, guest.pending, { error: { code: "failed", message: ESCAPES } }),
    "failed",
    /^\\u\{1b\}\]0;owned\\u\{7\}/,
  ),
  fails(
    "a code of its own",
    "created",
    (guest) => guest.send(Type.response, guest.pending, { error: { code: "unauthorized", message: "pay" } }),
    "failed",
    /^pay$/,
  ),
  fails(
    "__proto__ for a code",
    "created",
    (guest) => guest.send(Type.response, guest.pending, { error: { code: "__proto__", message: "m" } }),
    "failed",
  ),
  fails(
    "both a result and an error",
    "created",
    (guest) =>
      guest.send(Type.response, guest.pending, { result: {}, error: { code: "conflict", message: "m" } }),
    "conflict",
  ),
  harmless("answers twice", "created", async (guest) => {
    guest.respond(guest.pending, {});
    guest.respond(guest.pending, {});
    guest.exit({ exitCode: 0 });
  }),
  harmless("answers what nobody asked", "running", (guest) => {
    guest.respond(4_000_000_000, {});
    guest.exit({ exitCode: 0 });
  }),
  harmless("an answer with members named __proto__ and constructor", "created", (guest) => {
    guest.raw(
      rawFrame(3, guest.pending, '{"__proto__":{"error":{}},"constructor":1,"result":{"__proto__":1}}'),
    );
    guest.exit({ exitCode: 0 });
  }),
];

const end = (name: string, fields: object): Script =>
  breach(`an exit with ${name}`, "running", (guest) => guest.exit(fields), /container\.exit has not/);
const rawEnd = (name: string, text: string): Script =>
  breach(
    `an exit with ${name}`,
    "running",
    (guest) => {
      guest.exit({}, { eof: true });
      guest.raw(rawFrame(Type.event, 0, text.replace("ID", guest.containerId)));
    },
    /container\.exit has not/,
  );

const exits: readonly Script[] = [
  ...[256, -1, 1.5, "7", null, true, [], {}, 2 ** 53].map((exitCode) =>
    end(`code ${JSON.stringify(exitCode)}`, { exitCode }),
  ),
  ...[0, 65, -9, 9.5, "9", null].map((signal) => end(`signal ${JSON.stringify(signal)}`, { signal })),
  end("neither code nor signal", {}),
  end("both code and signal", { exitCode: 0, signal: 9 }),
  end("a code and a signal of 99,999", { exitCode: 0, signal: 99_999 }),
  end("a signal and a code of 70,000", { exitCode: 70_000, signal: 9 }),
  end("a word for oomKilled", { signal: 9, oomKilled: "yes" }),
  end("a number for its container", { id: 7, exitCode: 0 }),
  end("a name of 129 characters", { id: "c".repeat(129), exitCode: 0 }),
  rawEnd("a code beyond all numbers", '{"event":"container.exit","id":"ID","exitCode":1e999}'),
  rawEnd("a code in its prototype", '{"event":"container.exit","id":"ID","__proto__":{"exitCode":0}}'),
  ...["other", "__proto__", "constructor", "toString"].map((id) =>
    breach(
      `an exit of ${id}`,
      "running",
      (guest) => guest.exit({ id, exitCode: 0 }),
      /was not running|not the form/,
    ),
  ),
  breach(
    "an exit of a process that was never executed",
    "running",
    (guest) => guest.exit({ event: "container.exec.exit", exec: "e1", exitCode: 0 }),
    /was not running/,
  ),
  breach("an exit while it is configured", "greeted", (guest) => {
    guest.event({ event: "container.exit", id: "c", exitCode: 0 });
  }),
  breach("an exit before it is created", "configured", (guest) => guest.exit({ exitCode: 0 }), /not running/),
  fails(
    "an exit, and no answer to the start",
    "created",
    (guest) => guest.exit({ exitCode: 0 }),
    "machine-lost",
  ),
  breach(
    "an exit before the end of its output",
    "running",
    (guest) => guest.exit({ exitCode: 0 }, { eof: false }),
    /output has not ended/,
  ),
  breach(
    "an exit before the end of stderr",
    "running",
    (guest) => {
      guest.send(Type.eof, guest.stdio.stdout);
      guest.exit({ exitCode: 0 }, { eof: false });
    },
    /output has not ended/,
  ),
  harmless(
    "a second exit",
    "running",
    (guest) => {
      guest.exit({ exitCode: 5 });
      guest.exit({ exitCode: 6 }, { eof: false });
    },
    { code: 5 },
  ),
  harmless("an exit of memory", "running", (guest) => guest.exit({ signal: 9, oomKilled: true }), {
    code: 137,
    signal: 9,
  }),
  harmless("events that nobody knows", "running", (guest) => {
    guest.event({ event: "container.dance", id: guest.containerId });
    guest.event({ event: 7 });
    guest.event({});
    guest.exit({ exitCode: 0 });
  }),
];

const streams: readonly Script[] = [
  {
    ...breach(
      "more output than its credit",
      "running",
      (guest) => {
        for (let sent = 0; sent <= INITIAL_CREDIT_BYTES; sent += MAX_DATA_BYTES)
          guest.send(Type.data, guest.stdio.stdout, Buffer.alloc(MAX_DATA_BYTES));
      },
      /more than its credit/,
    ),
    unread: true,
  },
  breach(
    "data for stdin",
    "running",
    (guest) => guest.send(Type.data, guest.stdio.stdin, Buffer.of(1)),
    /not open/,
  ),
  breach("data for stream 999", "running", (guest) => guest.send(Type.data, 999, Buffer.of(1)), /not open/),
  breach("data for stream 2^32-1", "running", (guest) => guest.send(Type.data, 0xffff_ffff, Buffer.of(1))),
  breach("data after EOF", "running", (guest) => afterEnd(guest, Type.eof), /after its end|not open/),
  breach("data after RESET", "running", (guest) => afterEnd(guest, Type.reset), /after its end|not open/),
  breach(
    "credit of 4 GiB",
    "running",
    (guest) => guest.credit(guest.stdio.stdin, 0xffff_ffff),
    /too much credit/,
  ),
  breach(
    "credit of 16 MiB, a MiB at a time",
    "running",
    (guest) => {
      for (let count = 0; count < 16; count++) guest.credit(guest.stdio.stdin, KIB * KIB);
    },
    /too much credit/,
  ),
  harmless("credit for its own output", "running", (guest) => {
    guest.credit(guest.stdio.stdout, 0xffff_ffff);
    guest.exit({ exitCode: 0 });
  }),
  harmless("the end of stdin, from the wrong side", "running", (guest) => {
    guest.send(Type.eof, guest.stdio.stdin);
    guest.exit({ exitCode: 0 });
  }),
  harmless("EOF of unknown streams, and twice", "running", (guest) => {
    for (const id of [999, 0xffff_ffff, guest.stdio.stdout, guest.stdio.stdout]) guest.send(Type.eof, id);
    guest.exit({ exitCode: 0 });
  }),
  harmless(
    "RESET of everything, with escape sequences",
    "running",
    (guest) => {
      for (const id of [guest.stdio.stdin, guest.stdio.stdout, guest.stdio.stderr, 999])
        guest.send(Type.reset, id, Buffer.from(ESCAPES));
      guest.exit({ exitCode: 1 }, { eof: false });
    },
    { code: 1 },
  ),
];

const quiet = (): void => {};
const deaf = (guest: Guest): void => {
  guest.answersPings = false;
  guest.socket.pause();
};

const silences: readonly Script[] = [
  fails("says nothing", "connected", quiet, "guest-silent", /first answer within 1 s/),
  fails("says nothing", "greeted", quiet, "machine-lost", /answer to system\.configure within/),
  fails("says nothing", "configured", quiet, "machine-lost", /answer to container\.create within/),
  fails("says nothing", "created", quiet, "machine-lost", /answer to container\.start within/),
  fails("half a header and no more", "connected", (guest) => guest.raw(Buffer.alloc(6, 1)), "guest-silent"),
  fails("half a header and no more", "greeted", (guest) => guest.raw(Buffer.of(1, 0, 0)), "machine-lost"),
  fails(
    "half an answer and no more",
    "created",
    (guest) => guest.raw(rawFrame(3, guest.pending, '{"result":{}}').subarray(0, 20)),
    "machine-lost",
    /container\.start/,
  ),
  fails(
    "hangs, and leaves pings unanswered",
    "running",
    (guest) => {
      guest.answersPings = false;
    },
    "agent-unresponsive",
    /^the machine was lost: its agent has not answered for 1\.2 s$/m,
  ),
  fails("reads nothing any more", "running", deaf, "agent-unresponsive"),
  fails(
    "stalls in the middle of a frame of output",
    "running",
    (guest) =>
      guest.raw(Buffer.concat([header({ type: 5, id: guest.stdio.stdout, length: 1_000 }), Buffer.of(1)])),
    "agent-unresponsive",
  ),
  fails(
    "writes for ever, and answers nothing",
    "running",
    async (guest) => {
      guest.answersPings = false;
      for (let count = 0; count < 200; count++) {
        guest.send(Type.data, guest.stdio.stdout, Buffer.of(1));
        await sleep(20);
      }
    },
    "agent-unresponsive",
  ),
  {
    name: "does not carry out signals",
    stage: "running",
    attack: quiet,
    user: async (container) => await container.kill(15),
    ending: { error: "agent-timeout", says: /container\.signal within 1\.5 s/ },
  },
  {
    name: "does not take a new size",
    stage: "running",
    attack: quiet,
    user: async (container) => await container.resize({ columns: 80, rows: 24 }),
    ending: { error: "agent-timeout", says: /container\.resize within 1\.5 s/ },
  },
];

const partings: readonly Script[] = [
  fails("hangs up", "connected", (guest) => void guest.socket.destroy(), "guest-silent", /connection/),
  ...(["greeted", "configured", "created", "running"] as const).flatMap((stage) => [
    fails("hangs up", stage, (guest) => void guest.socket.destroy(), "machine-lost", /connection/),
    fails("stops sending", stage, (guest) => void guest.socket.end(), "machine-lost", /connection/),
    fails(
      "switches itself off",
      stage,
      (_guest, machine) => machine.end({ code: 0, signal: null }),
      "machine-lost",
      /switched itself off/,
    ),
  ]),
  fails("resets the connection", "running", (guest) => void guest.socket.resetAndDestroy(), "machine-lost"),
  fails(
    "hangs up within a frame",
    "running",
    (guest) => void guest.socket.end(header({ type: 5, id: 2, length: 100 })),
    "machine-lost",
  ),
];

function afterEnd(guest: Guest, type: typeof Type.eof | typeof Type.reset): void {
  guest.send(type, guest.stdio.stdout);
  guest.send(Type.data, guest.stdio.stdout, Buffer.from("more"));
}

export const conductScripts: readonly Script[] = [
  ...openings,
  ...answers,
  ...exits,
  ...streams,
  ...silences,
  ...partings,
];
