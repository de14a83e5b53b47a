import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BzImageError, parse } from "../../src/formats/bzimage/bzimage.ts";

function image(version: string, change: (bytes: Buffer) => void = () => {}): Buffer {
  const bytes = Buffer.alloc(8192);
  bytes.writeUInt16LE(0xaa55, 0x1fe);
  bytes.write("HdrS", 0x202, "latin1");
  bytes.writeUInt16LE(0x020f, 0x206);
  bytes.writeUInt16LE(0x1000 - 0x200, 0x20e);
  bytes.write(version, 0x1000, "latin1");
  change(bytes);
  return bytes;
}

describe("bzImage header", () => {
  it("gives the release", () => {
    const header = parse(image("6.12.117+deb12-cloud-amd64 (debian-kernel@lists.debian.org) #1 SMP\0"));
    expect(header).toEqual({
      protocolVersion: 0x020f,
      release: "6.12.117+deb12-cloud-amd64",
      payload: undefined,
    });
  });

  it.each<[string, number, number, number]>([
    ["behind the setup sectors", 0x020f, 39, 20_480 + 716],
    ["behind four, where none are named", 0x0208, 0, 2_560 + 716],
  ])("gives the payload %s", (_name, protocol, sectors, offset) => {
    const bytes = image("6.1 \0", (data) => {
      data[0x1f1] = sectors;
      data.writeUInt16LE(protocol, 0x206);
      data.writeUInt32LE(716, 0x248);
      data.writeUInt32LE(11_409_810, 0x24c);
    });
    expect(parse(bytes).payload).toEqual({ offset, sizeBytes: 11_409_810 });
  });

  it("has no payload before boot protocol 2.08", () => {
    const bytes = image("6.1 \0", (data) => {
      data.writeUInt16LE(0x0207, 0x206);
      data.writeUInt32LE(99, 0x24c);
    });
    expect(parse(bytes).payload).toBeUndefined();
  });

  it.each([
    ["a path in the release", image("../../etc (x)\0")],
    ["no version pointer", image("6.1\0", (bytes) => bytes.writeUInt16LE(0, 0x20e))],
    ["a version behind the end", image("6.1\0", (bytes) => bytes.writeUInt16LE(0xffff, 0x20e))],
    ["a version without end", image("6".repeat(4096))],
  ])("has no release for %s", (_name, bytes) => {
    expect(parse(bytes).release).toBeUndefined();
  });

  it.each([
    ["nothing", Buffer.alloc(0)],
    ["too little", Buffer.alloc(100)],
    ["zeros", Buffer.alloc(8192)],
    ["an ELF file", Buffer.concat([Buffer.from("\x7fELF"), Buffer.alloc(8192)])],
    ["a boot sector that is no kernel", image("", (bytes) => bytes.write("XXXX", 0x202, "latin1"))],
  ])("refuses %s", (_name, bytes) => {
    expect(() => parse(bytes)).toThrow(expect.objectContaining({ code: "not-a-kernel" }));
  });

  it("throws nothing but its own error", () => {
    const property = fc.property(fc.uint8Array({ maxLength: 2048 }), fc.boolean(), (bytes, plausible) => {
      const data = plausible ? Buffer.concat([image("6.1 \0").subarray(0, 0x210), bytes]) : bytes;
      try {
        parse(data);
      } catch (error) {
        if (!(error instanceof BzImageError)) throw error;
      }
    });
    expect(() => fc.assert(property, { seed: 20_261, numRuns: 2_000 })).not.toThrow();
  });
});
