/** Sizes and counts. Docker's memory units are powers of 1024 whatever they are called: `512m`, `1g`, `1.5GiB`. */
import { UsageError } from "../failure.ts";

const FACTORS: Readonly<Record<string, number>> = {
  "": 1,
  b: 1,
  k: 2 ** 10,
  m: 2 ** 20,
  g: 2 ** 30,
  t: 2 ** 40,
};

const MIB = 2 ** 20;

/** Bytes, or -1 for no limit. */
export function parseSizeOrUnlimited(text: string, flag: string): number {
  return text === "-1" ? -1 : parseSize(text, flag);
}

/** Bytes. `flag` is only for the message. */
export function parseSize(text: string, flag: string): number {
  const match = /^(\d{1,15}(?:\.\d{1,9})?) ?([bkmgt]?)(?:i?b)?$/i.exec(text);
  const factor = FACTORS[match?.[2]?.toLowerCase() ?? ""];
  const sizeBytes =
    match === null || factor === undefined ? Number.NaN : Math.floor(Number(match[1]) * factor);
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes <= 0) {
    throw new UsageError(
      `${flag} '${text}' is not a size`,
      "write a number with b, k, m, g or t behind it, as in 512m",
    );
  }
  return sizeBytes;
}

/** Memory of a container, in whole mebibytes: at least what was asked. */
export function parseMemoryMib(text: string): number {
  return Math.ceil(parseSize(text, "--memory") / MIB);
}

/** How many there are to have is the library's to say. */
export function parseCpus(text: string): number {
  const count = /^\d{0,6}(\.\d{1,9})?$/.test(text) && text !== "" ? Number(text) : Number.NaN;
  if (!(count > 0)) throw new UsageError(`--cpus '${text}' is not a number of CPUs`, "write 1, 2, or 0.5");
  return count;
}

/** A whole number; `least` may be negative: -1 is Docker's word for no limit. */
export function parseCount(text: string, flag: string, least = 0): number {
  const count = /^-?\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (!(count >= least)) throw new UsageError(`${flag} '${text}' is not a whole number of at least ${least}`);
  return count;
}
