import { execFileSync } from "node:child_process";
import { openSync, closeSync, ftruncateSync, writeSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { HEADER } from "../../src/formats/qcow2/format.ts";
import { overlay } from "../../src/formats/qcow2/writer.ts";
import type { SparseFile } from "../../src/formats/qcow2/writer.ts";
import { scratchDir } from "../support/rootfs-image.ts";

function put(path: string, file: SparseFile): void {
  const fd = openSync(path, "wx");
  ftruncateSync(fd, file.sizeBytes);
  for (const { offset, bytes } of file.pieces) writeSync(fd, bytes, 0, bytes.length, offset);
  closeSync(fd);
}

describe("an overlay", () => {
  it("has a header that says what the rest is", () => {
    const { pieces } = overlay(10 * 2 ** 30);
    expect(
      HEADER.dump(HEADER.decode(pieces[0]?.bytes ?? new Uint8Array(), 0))
        .trim()
        .split("\n"),
    ).toEqual([
      "magic 1363560955",
      "version 3",
      "backingFileOffset 0",
      "backingFileSize 0",
      "clusterBits 16",
      "sizeBytes 10737418240",
      "cryptMethod 0",
      "level1Entries 20",
      "level1Offset 196608",
      "refcountTableOffset 65536",
      "refcountTableClusters 1",
      "snapshots 0",
      "snapshotsOffset 0",
      "incompatibleFeatures 0",
      "compatibleFeatures 0",
      "autoclearFeatures 0",
      "refcountOrder 4",
      "headerLength 104",
    ]);
  });

  it.each([
    ["one sector", 512],
    ["16 MiB", 2 ** 24],
    ["a size that fills no level 2 table", 10 * 2 ** 30 + 4096],
    ["16 TiB", 2 ** 44],
  ])("of %s is one that qemu-img finds no fault with, as large as its disk", (_, sizeBytes) => {
    using scratch = scratchDir();
    const path = join(scratch.path, "overlay");
    put(path, overlay(sizeBytes));
    execFileSync("qemu-img", ["check", "-q", "-f", "qcow2", path]);
    const info = JSON.parse(
      execFileSync("qemu-img", ["info", "--output=json", "-f", "qcow2", path], { encoding: "utf8" }),
    ) as Record<string, unknown>;
    expect(info).toMatchObject({ "virtual-size": sizeBytes, "cluster-size": 65_536 });
    expect(info).not.toHaveProperty("backing-filename");
  });

  it("shows the other disk's bytes, and keeps its own", () => {
    using scratch = scratchDir();
    const [base, path] = [join(scratch.path, "base"), join(scratch.path, "overlay")];
    writeFileSync(base, Buffer.alloc(1 << 20, "b"));
    put(path, overlay(1 << 20));
    const source = `json:${JSON.stringify({
      driver: "qcow2",
      file: { driver: "file", filename: path },
      backing: { driver: "raw", file: { driver: "file", filename: base } },
    })}`;
    const io = (...commands: string[]): string =>
      execFileSync("qemu-io", [...commands.flatMap((command) => ["-c", command]), source], {
        encoding: "utf8",
      });
    expect(io("read -P 0x62 0 1M")).not.toMatch(/verification failed/i);
    io("write -P 0x63 4096 4096");
    expect(io("read -P 0x63 4096 4096", "read -P 0x62 8192 4096")).not.toMatch(/verification failed/i);
    execFileSync("qemu-img", ["check", "-q", "-f", "qcow2", path]);
  });

  it.each([0, -512, 511, 513, 1.5, Number.NaN, 2 ** 44 + 512, 2 ** 53])("is refused for %s bytes", (size) => {
    expect(() => overlay(size)).toThrow(/a disk has/);
  });
});
