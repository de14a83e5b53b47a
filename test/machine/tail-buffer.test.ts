import { describe, expect, it } from "vitest";
import { lastWords } from "../../src/machine/machine.ts";
import { TailBuffer } from "../../src/machine/tail-buffer.ts";

describe("TailBuffer", () => {
  it("keeps the end of a flood, in any pieces", () => {
    for (const pieceBytes of [1, 7, 1000, 100_000]) {
      const buffer = new TailBuffer(1000);
      const text = Array.from({ length: 20_000 }, (_, index) => String(index % 10)).join("");
      for (let offset = 0; offset < text.length; offset += pieceBytes)
        buffer.write(Buffer.from(text.slice(offset, offset + pieceBytes)));
      expect(buffer.toString()).toBe(text.slice(-1000));
    }
  });

  it("keeps all of what fits", () => {
    const buffer = new TailBuffer(10);
    buffer.write(Buffer.from("abc"));
    buffer.write(Buffer.from("def"));
    expect(buffer.toString()).toBe("abcdef");
  });
});

describe("lastWords", () => {
  it("cannot move the reader's cursor", () => {
    const words = lastWords({ console: "\u001b[2J\u001b[31mKernel panic\u0007\r\n", stderr: "" });
    expect(words).toBe("the guest's console ended with:\n    Kernel panic\\u{7}");
  });

  it("is empty when nothing was said", () => {
    expect(lastWords({ console: " \n", stderr: "" })).toBe("");
  });

  it("keeps to the last lines", () => {
    const console = Array.from({ length: 100 }, (_, index) => `line ${index}`).join("\n");
    expect(lastWords({ console, stderr: "" }, 2)).toBe(
      "the guest's console ended with:\n    line 98\n    line 99",
    );
  });
});
