/** Frames that are none, and JSON that is none. */
import { FrameType as Type } from "../../src/agent/protocol/frame.ts";
import { header, rawFrame, STAGES } from "./guest.ts";
import type { Guest, HeaderFields } from "./guest.ts";
import { breach, harmless } from "./script.ts";
import type { Script } from "./script.ts";

/** Each type with its bounds, as PROTOCOL.md has them. */
const ROWS = [
  ["HELLO", Type.hello, 2, 65_536, 0],
  ["REQUEST", Type.request, 2, 4 << 20, 1],
  ["RESPONSE", Type.response, 2, 4 << 20, 1],
  ["EVENT", Type.event, 2, 65_536, 0],
  ["DATA", Type.data, 1, 65_536, 1],
  ["CREDIT", Type.credit, 4, 4, 1],
  ["EOF", Type.eof, 0, 0, 1],
  ["RESET", Type.reset, 0, 1_024, 1],
] as const;

const bad = (name: string, fields: HeaderFields, says: RegExp): Script =>
  breach(name, "running", (guest) => guest.raw(header(fields)), says);

const lengths = ROWS.flatMap(([name, type, least, most, id]) => [
  bad(`${name} of 4 GiB`, { type, id, length: 0xffff_ffff }, /of 4294967295 bytes/),
  bad(`${name} of one byte too many`, { type, id, length: most + 1 }, new RegExp(`${name} of ${most + 1} `)),
  ...(least > 0
    ? [bad(`${name} of one byte too few`, { type, id, length: least - 1 }, new RegExp(`of ${least - 1} `))]
    : []),
]);

const headers: readonly Script[] = [
  ...[0, 9, 127, 255].map((type) => bad(`type ${type}`, { type }, /is unknown/)),
  ...[1, 0x80].map((flags) => bad(`flags ${flags}`, { flags }, /flags or reserved/)),
  ...[1, 0x8000].map((reserved) => bad(`reserved ${reserved}`, { reserved }, /flags or reserved/)),
  ...ROWS.map(([name, type, least, , id]) =>
    bad(`${name} with ${id === 0 ? "an" : "no"} id`, { type, length: least, id: 1 - id }, /with id/),
  ),
];

const anywhere = STAGES.flatMap((stage) => [
  breach("a frame of 4 GiB", stage, (guest) => guest.raw(header({ type: 5, length: 0xffff_ffff }))),
  breach("a request", stage, (guest) => guest.send(Type.request, 1, { method: "x", params: {} }), /only the/),
  breach("a web server's answer", stage, (guest) => guest.raw(Buffer.from("HTTP/1.1 200 OK\r\n\r\n"))),
  breach("zeros", stage, (guest) => guest.raw(Buffer.alloc(64)), /type 0/),
  breach("an event of text", stage, (guest) => guest.raw(rawFrame(4, 0, "hello")), /not JSON/),
]);

/** As an event while the container runs, and as the answer that the host waits for. */
function text(name: string, json: string | Uint8Array, says: RegExp): Script[] {
  return [
    breach(`event of ${name}`, "running", (guest) => guest.raw(rawFrame(Type.event, 0, json)), says),
    breach(
      `answer of ${name}`,
      "greeted",
      (guest) => guest.raw(rawFrame(Type.response, guest.pending, json)),
      says,
    ),
  ];
}

const answer = (name: string, json: string, says: RegExp): Script =>
  breach(
    name,
    "greeted",
    (guest) => guest.raw(rawFrame(Type.response, guest.pending, json.slice(0, 4 << 20))),
    says,
  );

const texts: readonly Script[] = [
  ...text("65 levels", `${'{"a":'.repeat(65)}1${"}".repeat(65)}`, /deeper than 64/),
  ...text("64 KiB of brackets", "[".repeat(65_536), /deeper than 64/),
  ...text("half an object", '{"result":', /not JSON/),
  ...text("bytes that are not UTF-8", Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), /UTF-8/),
  ...text("NUL bytes", Buffer.alloc(100), /not JSON/),
  ...text("a NUL within a string", '{"event":"\0"}', /not JSON/),
  ...text("an array", "[{}]", /not a JSON object/),
  ...text("null", "null", /not a JSON object/),
  ...text("a number", "17", /not a JSON object/),
  ...text("two objects", "{}{}", /not JSON/),
  ...text("a comment", '{"result":{}/**/}', /not JSON/),
  answer("an answer of 4 MiB of brackets", "[".repeat(4 << 20), /deeper than 64/),
  answer(
    "an answer of a million arrays",
    `{"result":{"a":[${"[],".repeat(1_000_000)}[]]}}`,
    /more than 65536/,
  ),
  answer("an answer of 600,000 members", `{"result":{${'"a":1,'.repeat(600_000)}"b":1}}`, /more than 65536/),
  answer("an answer of one string of 4 MiB that never ends", `{"result":"${"x".repeat(4 << 20)}`, /not JSON/),
];

const pieces: readonly Script[] = [
  ...STAGES.map((stage) =>
    harmless(
      "each byte by itself",
      stage,
      async (guest) => {
        guest.dribbles = true;
        await carryOn(guest, stage);
      },
      { code: 3, stdout: "out", stderr: "err" },
    ),
  ),
  harmless("all that is left in one piece", "running", (guest) => {
    guest.socket.cork();
    guest.exit({ exitCode: 0 });
    guest.socket.uncork();
  }),
];

/** From the stage to an exit with code 3, with something on both outputs. */
async function carryOn(guest: Guest, from: Script["stage"]): Promise<void> {
  if (from === "connected") {
    guest.hello();
    guest.pending = (await guest.request()).id;
  }
  if (from === "connected" || from === "greeted") await guest.takeCreation();
  if (from !== "running" && from !== "created") {
    guest.respond(guest.pending, { pid: 42 });
    await guest.takeClock();
    guest.pending = (await guest.request()).id;
  }
  if (from !== "running") guest.respond(guest.pending, {});
  guest.send(Type.data, guest.stdio.stdout, Buffer.from("out"));
  guest.send(Type.data, guest.stdio.stderr, Buffer.from("err"));
  guest.exit({ exitCode: 3 });
}

export const frameScripts: readonly Script[] = [...lengths, ...headers, ...anywhere, ...texts, ...pieces];
