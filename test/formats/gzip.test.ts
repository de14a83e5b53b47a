/** gzip's framing: headers, trailers and members, cut anywhere. What every decoder must do is in compression.test.ts. */
import { deflateRawSync, gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { HeaderParser, MAX_HEADER_BYTES } from "../../src/formats/compression/gzip-frame.ts";
import { gunzipHere } from "../../src/formats/compression/gzip-here.ts";
import { gunzip } from "../../src/formats/compression/gzip.ts";
import { canInflateHere } from "../../src/formats/compression/sync-decoder.ts";

const PLAIN = Buffer.from("one of the layer's files\n".repeat(3));
const DEFLATED = deflateRawSync(PLAIN);
const GZ = gzipSync(PLAIN);
const TRAILER = GZ.subarray(-8);

function header(flags: number, ...fields: Uint8Array[]): Buffer {
  return Buffer.concat([Buffer.from([0x1f, 0x8b, 8, flags, 1, 2, 3, 4, 0, 3]), ...fields]);
}

function extra(length: number): Buffer {
  return Buffer.concat([Buffer.from([length & 0xff, length >> 8]), Buffer.alloc(length, 7)]);
}

const name = Buffer.from("layer.tar\0");
const comment = Buffer.from("\xfc comment\0", "latin1");
const crc = Buffer.from([0, 0]);

async function* inChunks(...chunks: Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks;
}

function everyByte(data: Uint8Array): Uint8Array[] {
  return Array.from(data, (_, i) => data.subarray(i, i + 1));
}

const headers: [string, Buffer][] = [
  ["no flags", header(0)],
  ["FTEXT, a hint", header(1)],
  ["FHCRC", header(2, crc)],
  ["FEXTRA", header(4, extra(300))],
  ["FEXTRA, empty", header(4, extra(0))],
  ["FNAME", header(8, name)],
  ["FNAME, empty", header(8, Buffer.alloc(1))],
  ["FCOMMENT", header(16, comment)],
  ["all", header(31, extra(5), name, comment, crc)],
  ["the longest extra field", header(4, extra(0xffff))],
  ["the longest", header(8, Buffer.alloc(MAX_HEADER_BYTES - 11, "n"), Buffer.alloc(1))],
];

interface Options {
  readonly maxMembers?: number;
  readonly ownsInput?: boolean;
}

async function* inPool(source: AsyncIterable<Uint8Array>, { ownsInput, maxMembers }: Options = {}) {
  yield* gunzip(source, undefined, ownsInput, maxMembers);
}

async function* inThisThread(source: AsyncIterable<Uint8Array>, options: Options = {}) {
  // A chunk is nobody's when the next one is asked for.
  for await (const chunk of gunzipHere(source, options)) yield Buffer.from(chunk);
}

it("can inflate in this thread, with every Node that is supported", () => {
  expect(canInflateHere()).toBe(true);
});

describe.each([
  ["on libuv's pool", inPool],
  ["in this thread", inThisThread],
])("inflated %s", (_way, unpack) => {
  async function inflated(...chunks: Uint8Array[]): Promise<Buffer> {
    const out: Uint8Array[] = [];
    for await (const chunk of unpack(inChunks(...chunks))) out.push(chunk);
    return Buffer.concat(out);
  }

  describe("headers", () => {
    it.each(headers)("%s, alone and cut at every byte", (_, bytes) => {
      const data = Buffer.concat([bytes, Buffer.alloc(20, 0xff)]);
      const whole = new HeaderParser(true);
      expect(whole.push(data)).toBe(bytes.length);
      expect(whole.isOver).toBe(true);
      const step = bytes.length > 1000 ? 997 : 1;
      for (let cut = 0; cut < bytes.length; cut += step) {
        const parser = new HeaderParser(true);
        expect(parser.push(data.subarray(0, cut))).toBe(cut);
        expect(parser.isOver).toBe(false);
        expect(parser.push(data.subarray(cut))).toBe(bytes.length - cut);
        expect(parser.isOver).toBe(true);
      }
    });

    it.each(headers)("%s, before a member", async (_, bytes) => {
      expect((await inflated(Buffer.concat([bytes, DEFLATED, TRAILER]))).equals(PLAIN)).toBe(true);
    });

    const bad: [string, Buffer, string][] = [
      ["other magic", Buffer.from([0x1f, 0x8c]), "gzip-corrupt"],
      ["zeros", Buffer.alloc(100), "gzip-corrupt"],
      ["another method", Buffer.from([0x1f, 0x8b, 7]), "gzip-corrupt"],
      ["a reserved flag", header(0x20), "gzip-corrupt"],
      ["all reserved flags", header(0xe0), "gzip-corrupt"],
      ["an endless name", header(8, Buffer.alloc(MAX_HEADER_BYTES, "n")), "gzip-corrupt"],
      ["an endless comment", header(16, Buffer.alloc(MAX_HEADER_BYTES, "n")), "gzip-corrupt"],
      [
        "too long, all together",
        header(12, extra(65_535), Buffer.alloc(MAX_HEADER_BYTES - 65_535, "n"), Buffer.alloc(1)),
        "gzip-corrupt",
      ],
    ];
    it.each(bad)("refused: %s", async (_, bytes, code) => {
      expect(() => new HeaderParser(true).push(bytes)).toThrow(expect.objectContaining({ code }));
      await expect(inflated(bytes, DEFLATED)).rejects.toThrow(expect.objectContaining({ code }));
    });

    it("asks for more where one is cut off", async () => {
      const all = header(31, extra(5), name, comment, crc);
      for (let length = 0; length <= all.length; length++) {
        const error = expect.objectContaining({ code: "gzip-truncated" });
        await expect(inflated(all.subarray(0, length))).rejects.toThrow(error);
      }
    });
  });

  describe("members", () => {
    const all = Buffer.concat([header(31, extra(5), name, comment, crc), DEFLATED, TRAILER]);
    const two = Buffer.concat([all, GZ]);
    const twice = Buffer.concat([PLAIN, PLAIN]);

    it("are found wherever the data is cut", async () => {
      for (let cut = 0; cut <= two.length; cut++) {
        expect((await inflated(two.subarray(0, cut), two.subarray(cut))).equals(twice), `at ${cut}`).toBe(
          true,
        );
      }
      expect((await inflated(...everyByte(two))).equals(twice)).toBe(true);
    });

    it("are truncated wherever the second ends early", async () => {
      for (let length = all.length + 1; length < two.length; length++) {
        const error = expect.objectContaining({ code: "gzip-truncated" });
        await expect(inflated(two.subarray(0, length)), `at ${length}`).rejects.toThrow(error);
      }
    });

    it("may be of any size, in any order", async () => {
      const sizes = [0, 1, 3_000_000, 0, 200_000, 70_000, 2 ** 20, 5];
      const parts = sizes.map((size) => Buffer.alloc(size, `${size} `));
      const data = Buffer.concat(parts.map((part) => gzipSync(part)));
      for (const chunks of [[data], everyByte(data)]) {
        expect((await inflated(...chunks)).equals(Buffer.concat(parts))).toBe(true);
      }
    });

    it("may be many", async () => {
      const members = Array.from({ length: 10_000 }, () => GZ);
      expect(await inflated(Buffer.concat(members))).toHaveLength(10_000 * PLAIN.length);
    });

    it("may not be absurdly many", async () => {
      const drain = async (maxMembers: number): Promise<number> => {
        let sizeBytes = 0;
        const members = Array.from({ length: 20 }, () => GZ);
        for await (const chunk of unpack(inChunks(Buffer.concat(members)), { maxMembers }))
          sizeBytes += chunk.length;
        return sizeBytes;
      };
      expect(await drain(20)).toBe(20 * PLAIN.length);
      await expect(drain(19)).rejects.toMatchObject({ code: "gzip-too-many-members" });
    });
  });

  describe("trailers", () => {
    const wrong = (at: number): Buffer => {
      const copy = Buffer.from(GZ);
      copy[copy.length + at] = (copy[copy.length + at] as number) ^ 1;
      return copy;
    };
    it("a wrong CRC-32 alone passes: the diff ID is what content is held against", async () => {
      for (const at of [-8, -5]) expect((await inflated(wrong(at))).equals(PLAIN)).toBe(true);
    });
    it.each([-4, -3, -2, -1])("a wrong length is refused (byte %i)", async (at) => {
      const error = expect.objectContaining({ code: "gzip-corrupt" });
      await expect(inflated(wrong(at))).rejects.toThrow(error);
      await expect(inflated(Buffer.concat([wrong(at), GZ]))).rejects.toThrow(error);
    });
    it.each([
      ["a byte", Buffer.from("x")],
      ["half of the magic", Buffer.from([0x1f, 0x00])],
    ])("garbage behind: %s", async (_, garbage) => {
      const error = expect.objectContaining({ code: "gzip-trailing-garbage" });
      await expect(inflated(GZ, garbage)).rejects.toThrow(error);
      await expect(inflated(Buffer.concat([GZ, garbage]))).rejects.toThrow(error);
    });
    it("padding is not looked at", async () => {
      expect((await inflated(GZ, Buffer.from("\0anything"), GZ)).equals(PLAIN)).toBe(true);
    });
  });

  it("frees input that is nobody else's, and only when all of it was taken", async () => {
    const noise = Buffer.alloc(300_000, "not compressed");
    const data = Buffer.concat([gzipSync(noise, { level: 0 }), gzipSync(noise, { level: 0 })]);
    const own = [0, 200_000, 400_000].map((at) => {
      const part = data.subarray(at, at === 400_000 ? data.length : at + 200_000);
      return new Uint8Array(part);
    });
    const out: Uint8Array[] = [];
    for await (const chunk of unpack(inChunks(...own), { ownsInput: true })) out.push(chunk);
    expect(Buffer.concat(out).equals(Buffer.concat([noise, noise]))).toBe(true);
    // The second holds the end of one member and the start of another, the third a trailer, which is not inflated.
    expect(own.map((chunk) => chunk.length === 0)).toEqual([true, true, unpack === inThisThread]);
  });
});
