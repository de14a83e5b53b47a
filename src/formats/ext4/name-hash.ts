/**
 * The hash by which a directory finds a name: half of MD4 over pieces of 32 bytes, seeded, bytes unsigned.
 * https://docs.kernel.org/filesystems/ext4/directory.html#hash-tree-directories
 */
const PIECE_BYTES = 32;
const SECOND_ROUND = 0x5a82_7999;
const THIRD_ROUND = 0x6ed9_eba1;
/** Means "the end" to whoever reads a directory, so no name may have it. */
const END_OF_DIRECTORY = 0xffff_fffe;

/** Which word of the piece each step takes, and how far it turns. */
const STEPS = [
  { words: [0, 1, 2, 3, 4, 5, 6, 7], turns: [3, 7, 11, 19] },
  { words: [1, 3, 5, 7, 0, 2, 4, 6], turns: [3, 5, 9, 13] },
  { words: [3, 7, 2, 6, 1, 5, 0, 4], turns: [3, 9, 11, 15] },
] as const;

function mix(round: number, x: number, y: number, z: number): number {
  if (round === 0) return z ^ (x & (y ^ z));
  if (round === 1) return ((x & y) + ((x ^ y) & z) + SECOND_ROUND) | 0;
  return ((x ^ y ^ z) + THIRD_ROUND) | 0;
}

function transform(state: Int32Array, piece: Int32Array): void {
  let [a = 0, b = 0, c = 0, d = 0] = state;
  for (const [round, { words, turns }] of STEPS.entries()) {
    for (const [step, word] of words.entries()) {
      const turn = turns[step % 4] ?? 0;
      const sum = (a + mix(round, b, c, d) + (piece[word] ?? 0)) | 0;
      // Each step changes one of the four, which then is the next one's b.
      [a, b, c, d] = [d, (sum << turn) | (sum >>> (32 - turn)), b, c];
    }
  }
  state[0] = (state[0] ?? 0) + a;
  state[1] = (state[1] ?? 0) + b;
  state[2] = (state[2] ?? 0) + c;
  state[3] = (state[3] ?? 0) + d;
}

/** Up to 32 bytes of the name as eight words; what is missing is filled with its length. */
function fillPiece(piece: Int32Array, name: string, from: number): void {
  const left = name.length - from;
  const padding = left | (left << 8) | (left << 16) | (left << 24) | 0;
  const length = Math.min(left, PIECE_BYTES);
  for (let word = 0; word < PIECE_BYTES / 4; word++) {
    let value = padding;
    for (let at = 4 * word; at < Math.min(4 * word + 4, length); at++) {
      value = ((value << 8) + name.charCodeAt(from + at)) | 0;
    }
    piece[word] = value;
  }
}

/** Of a latin1 name. Its lowest bit is 0: that one says that a hash goes on in the next block. */
export function nameHash(name: string, seed: Int32Array): number {
  const state = seed.slice();
  const piece = new Int32Array(PIECE_BYTES / 4);
  for (let from = 0; from < name.length; from += PIECE_BYTES) {
    fillPiece(piece, name, from);
    transform(state, piece);
  }
  const hash = ((state[1] ?? 0) & ~1) >>> 0;
  return hash === END_OF_DIRECTORY ? hash - 2 : hash;
}
