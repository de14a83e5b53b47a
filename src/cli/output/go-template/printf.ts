/** `printf`, as far as templates use it: %s %v %d %q %t %x %%, with a width and `-` or `0`. https://pkg.go.dev/fmt */
import { TemplateFault } from "./tree.ts";
import { kindOf, MAX_TEXT_LENGTH, show } from "./values.ts";

const VERB = /%([-0+]*)(\d*)(?:\.(\d+))?(.|$)/gsu;
const MAX_WIDTH = 1024;

function textOf(verb: string, value: unknown): string {
  if (verb === "s" || verb === "v") return show(value);
  if (verb === "q") return JSON.stringify(show(value));
  if (verb === "t" && typeof value === "boolean") return String(value);
  if (verb === "d" && Number.isInteger(value)) return String(value);
  if (verb === "x" && typeof value === "string") return Buffer.from(value).toString("hex");
  if (verb === "x" && typeof value === "number" && Number.isInteger(value)) return value.toString(16);
  if (verb === "d" || verb === "t" || verb === "x")
    throw new TemplateFault(`printf cannot write ${kindOf(value)} as %${verb}`);
  throw new TemplateFault(`printf does not know %${verb}`, undefined, "it knows %s %v %d %q %t %x and %%");
}

function padded(text: string, flags: string, width: number): string {
  if (width > MAX_WIDTH) throw new TemplateFault(`printf takes widths up to ${MAX_WIDTH}`);
  if (flags.includes("-")) return text.padEnd(width);
  if (!flags.includes("0")) return text.padStart(width);
  return text.startsWith("-") ? `-${text.slice(1).padStart(width - 1, "0")}` : text.padStart(width, "0");
}

/** @throws TemplateFault for values that do not fit, and too many or too few of them */
export function printf(format: unknown, ...values: readonly unknown[]): string {
  if (typeof format !== "string") throw new TemplateFault(`printf takes a text first, not ${kindOf(format)}`);
  let [used, length] = [0, format.length];
  const text = format.replace(
    VERB,
    (_, flags: string, width: string, precision: string | undefined, verb: string) => {
      if (verb === "%") return "%";
      if (verb === "")
        throw new TemplateFault("printf's text ends with a %", undefined, "write %% for one %");
      if (used >= values.length) throw new TemplateFault(`printf has no value for %${verb}`);
      let written = textOf(verb, values[used++]);
      if (precision !== undefined && (verb === "s" || verb === "v"))
        written = Array.from(written).slice(0, Number(precision)).join("");
      written = padded(written, flags, Number(width));
      length += written.length;
      if (length > MAX_TEXT_LENGTH) throw new TemplateFault("printf makes too long a text");
      return written;
    },
  );
  const count = values.length - used;
  if (count > 0)
    throw new TemplateFault(`printf has ${count === 1 ? "a value" : `${count} values`} too many`);
  return text;
}
