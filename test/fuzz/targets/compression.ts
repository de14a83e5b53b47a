/** gzip and zstd as nobody wrote them: what others take comes out the same, what is damaged is a CompressionError. */
import { deflateRawSync, gunzipSync, gzipSync } from "node:zlib";
import * as fc from "fast-check";
import { decompress } from "../../../src/formats/compression/decompress.ts";
import { CompressionError } from "../../../src/formats/compression/error.ts";
import { HeaderParser, TrailerParser } from "../../../src/formats/compression/gzip-frame.ts";
import { gunzipHere } from "../../../src/formats/compression/gzip-here.ts";
import { gunzip } from "../../../src/formats/compression/gzip.ts";
import { WindowGuard } from "../../../src/formats/compression/zstd-window.ts";
import { choiceOf, demand, inPieces, withChoice } from "../target.ts";
import type { FuzzTarget } from "../target.ts";

const CUTS = 64;
/** A bomb is no fault of the decoder, but takes its time. */
const MAX_OUTPUT_BYTES = 16 << 20;

/** Some repetition, so that all kinds of deflate blocks come up. */
const content = fc
  .tuple(fc.uint8Array({ maxLength: 300 }), fc.integer({ min: 1, max: 200 }))
  .map(([bytes, times]) => Buffer.concat(Array.from({ length: times }, () => bytes)));

const text = fc.string({ maxLength: 20 }).map((s) => Buffer.from(`${s.replaceAll("\0", "")}\0`));
const extra = fc
  .uint8Array({ maxLength: 300 })
  .map((bytes) => Buffer.concat([Buffer.from([bytes.length & 0xff, bytes.length >> 8]), bytes]));

const member = fc
  .record(
    {
      content,
      level: fc.integer({ min: 0, max: 9 }),
      strategy: fc.integer({ min: 0, max: 4 }),
      extra: fc.option(extra),
      name: fc.option(text),
      comment: fc.option(text),
    },
    { noNullPrototype: true },
  )
  .map((m) => {
    const flags = (m.extra ? 4 : 0) | (m.name ? 8 : 0) | (m.comment ? 16 : 0);
    return Buffer.concat([
      Buffer.from([0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 255]),
      ...[m.extra, m.name, m.comment].filter((field) => field !== null),
      deflateRawSync(m.content, { level: m.level, strategy: m.strategy }),
      gzipSync(m.content).subarray(-8),
    ]);
  });

/** A file of gzip as it should be. */
export const members = fc.array(member, { minLength: 1, maxLength: 4 }).map((all) => Buffer.concat(all));

async function* pieces(bytes: Uint8Array, seed: number): AsyncGenerator<Uint8Array, void, undefined> {
  yield* inPieces(bytes, seed);
}

/** What comes out, or undefined for a refusal. */
async function unpacked(chunks: AsyncIterable<Uint8Array>): Promise<Buffer | undefined> {
  const out: Uint8Array[] = [];
  let length = 0;
  try {
    for await (const chunk of chunks) {
      // Not all decoders leave their chunks to others.
      out.push(Buffer.from(chunk));
      length += chunk.length;
      if (length > MAX_OUTPUT_BYTES) break;
    }
  } catch (error) {
    if (!(error instanceof CompressionError)) throw error;
    return undefined;
  }
  return Buffer.concat(out);
}

function byZlib(bytes: Uint8Array): Buffer | undefined {
  try {
    return gunzipSync(bytes, { maxOutputLength: MAX_OUTPUT_BYTES });
  } catch {
    return undefined;
  }
}

export const gzip: FuzzTarget = {
  name: "gzip",
  inputs: withChoice(CUTS, members),
  async check(input) {
    const { choice, rest } = choiceOf(input, CUTS);
    const got = await unpacked(gunzip(pieces(rest, choice), undefined));
    const want = byZlib(rest);
    // What passes zlib, which checks more, must pass here, and come out the same.
    demand(
      want === undefined || got?.equals(want) === true,
      () => `${got?.length} bytes, zlib has ${want?.length}`,
    );
    const here = await unpacked(gunzipHere(pieces(rest, choice)));
    const isSame = got === undefined ? here === undefined : here?.equals(got) === true;
    demand(isSame, () => `${here?.length} bytes in this thread, on the pool ${got?.length}`);
  },
};

/** How far the two parsers get, and what they say. */
function frame(chunks: Iterable<Uint8Array>, isFirst: boolean): string {
  const header = new HeaderParser(isFirst);
  const trailer = new TrailerParser();
  let [inHeader, inTrailer] = [0, 0];
  try {
    for (const chunk of chunks) {
      const taken = header.isOver ? 0 : header.push(chunk);
      inHeader += taken;
      if (header.isOver) inTrailer += trailer.push(chunk.subarray(taken));
    }
    if (trailer.isOver) trailer.check(5);
  } catch (error) {
    if (!(error instanceof CompressionError)) throw error;
    return error.message;
  }
  return `${inHeader} ${header.isOver} ${inTrailer} ${trailer.isOver}`;
}

export const gzipFrame: FuzzTarget = {
  name: "gzip-frame",
  inputs: withChoice(CUTS, members),
  check(input) {
    const { choice, rest } = choiceOf(input, CUTS);
    const isFirst = choice % 2 === 0;
    const whole = frame([rest], isFirst);
    const cut = frame(inPieces(rest, choice), isFirst);
    demand(cut === whole, () => `in pieces ${cut}, in one ${whole}`);
  },
};

/** Frames of raw and repeated blocks, which need no compressor, skippable ones, and a compressed one. */
const zstdBlock = fc
  .tuple(fc.boolean(), fc.constantFrom(0, 1), fc.uint8Array({ maxLength: 60 }))
  .map(([last, type, bytes]) => {
    const size = type === 1 ? 1000 : bytes.length;
    const head = (last ? 1 : 0) | (type << 1) | (size << 3);
    return Buffer.concat([
      Buffer.from([head & 255, (head >> 8) & 255, head >> 16]),
      type === 1 ? bytes.subarray(0, 1) : bytes,
    ]);
  });
const zstdFrame = fc
  .array(zstdBlock, { minLength: 1, maxLength: 4 })
  .map((blocks) => Buffer.concat([Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, 0x08]), ...blocks]));
const skippable = fc.uint8Array({ maxLength: 40 }).map((bytes) => {
  const head = Buffer.from([0x50 | (bytes.length & 15), 0x2a, 0x4d, 0x18, bytes.length, 0, 0, 0]);
  return Buffer.concat([head, bytes]);
});
/** `zstd -3` of 300 times "abcdefgh" and its number. */
const COMPRESSED = Buffer.from(
  [
    "KLUv/QRY3QgA5pMpELBXct3dDQzl0q6ISPmGAScmACQAJQAiYtu2bbdt27YkSZLktm3bJkmSJEVERETER1xOEQ4MCg",
    "gGBAIAAm1JkiTJbdu2TZIkSYqIiIiIEEIIIYQQ4v///5+ZmZmZERERkZIiIiIiIoKCgoKCgoKCgoL+////mZmZmRkR",
    "EREREdu2bbtt2wb/////Z2ZmZmZERERERGzbtu22bduWJEmS3LZt2yRJUoErqCH0awfBJ9VqEdxg+TGIikxkZCQlKT",
    "GRsVJ8/+///b/vWiQiIhISkZCIiJAp/rl9VWQFWX2sOFaNFcbqYkWxSqxuxIzb1radbTPbbLPZZrbNbBvb+idl0kuK",
    "pBspkR5SIH36qKfWWutaa0lr55pWAZF5LaA=",
  ].join(""),
  "base64",
);

export const zstd: FuzzTarget = {
  name: "zstd",
  inputs: withChoice(
    CUTS,
    fc
      .array(fc.oneof(zstdFrame, skippable, fc.constant(COMPRESSED)), { minLength: 1, maxLength: 3 })
      .map((frames) => Buffer.concat(frames)),
  ),
  async check(input) {
    const { choice, rest } = choiceOf(input, CUTS);
    const options = { zstdProgram: false, maxOutputBytes: MAX_OUTPUT_BYTES } as const;
    const whole = await unpacked(decompress(pieces(rest, 2 * CUTS), "zstd", options));
    const cut = await unpacked(decompress(pieces(rest, choice), "zstd", options));
    const same = whole === undefined ? cut === undefined : cut?.equals(whole) === true;
    demand(same, () => `in pieces ${cut?.length} bytes, in others ${whole?.length}`);
  },
};

/** What the guard makes of the windows that frames ask for. */
function guarded(chunks: Iterable<Uint8Array>): string {
  const guard = new WindowGuard(2 ** 20);
  try {
    for (const chunk of chunks) guard.push(chunk);
  } catch (error) {
    if (!(error instanceof CompressionError)) throw error;
    return error.message;
  }
  return "nothing";
}

export const zstdFrameHeads: FuzzTarget = {
  name: "zstd-frame",
  inputs: zstd.inputs,
  check(input) {
    const { choice, rest } = choiceOf(input, CUTS);
    const whole = guarded([rest]);
    const cut = guarded(inPieces(rest, choice));
    demand(cut === whole, () => `in pieces ${cut}, in one ${whole}`);
  },
};
