import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import * as fragment from "../../src/machine/kernel/fragment.ts";
import { repository } from "../support/images/layouts.ts";

const parsed = (text: string) => [...fragment.parse(text, "own.config")];

describe("a fragment", () => {
  it.each<[string, string, [string, string][]]>([
    ["yes", "CONFIG_A=y\n", [["CONFIG_A", "y"]]],
    [
      "no, in both ways to say it",
      "CONFIG_A=n\n# CONFIG_B is not set\n",
      [
        ["CONFIG_A", "n"],
        ["CONFIG_B", "n"],
      ],
    ],
    [
      "numbers",
      "CONFIG_A=256\nCONFIG_B=-1\nCONFIG_C=0x1F\n",
      [
        ["CONFIG_A", "256"],
        ["CONFIG_B", "-1"],
        ["CONFIG_C", "0x1F"],
      ],
    ],
    [
      "text",
      'CONFIG_A="a, \\"b\\" \\\\"\nCONFIG_B=""\n',
      [
        ["CONFIG_A", '"a, \\"b\\" \\\\"'],
        ["CONFIG_B", '""'],
      ],
    ],
    [
      "comments, blank lines and Windows' line ends",
      "# CONFIG_A would be nice\r\n\r\n#\r\nCONFIG_A=y\r\n",
      [["CONFIG_A", "y"]],
    ],
    ["the same thing twice", "CONFIG_A=y\nCONFIG_A=y", [["CONFIG_A", "y"]]],
    ["nothing", "", []],
  ])("can say %s", (_name, text, settings) => {
    expect(parsed(text)).toEqual(settings);
  });

  it.each([
    ["a module", "CONFIG_A=m\n", "line 1: CONFIG_A cannot be a module: this kernel has none"],
    ["another word", "\nCONFIG_A=yes\n", 'line 2: CONFIG_A has no value of y, n, a number or "text"'],
    ["no value", "CONFIG_A=\n", 'line 1: CONFIG_A has no value of y, n, a number or "text"'],
    ["text without its end", 'CONFIG_A="x\n', 'line 1: CONFIG_A has no value of y, n, a number or "text"'],
    ["text behind text", 'CONFIG_A="x" "y"\n', 'line 1: CONFIG_A has no value of y, n, a number or "text"'],
    [
      "a control character",
      'CONFIG_A="\u001b[2J"\n',
      'line 1: CONFIG_A has no value of y, n, a number or "text"',
    ],
    ["no symbol", "A=y\n", 'line 1: "A=y" sets nothing'],
    ["a blank before the symbol", " CONFIG_A=y\n", 'line 1: " CONFIG_A=y" sets nothing'],
    ["blanks around the sign", "CONFIG_A = y\n", 'line 1: "CONFIG_A = y" sets nothing'],
    ["something of make's", "include /etc/passwd\n", 'line 1: "include /etc/passwd" sets nothing'],
    ["a contradiction", "CONFIG_A=y\n# CONFIG_A is not set\n", "line 2: CONFIG_A is set twice, differently"],
    ["a symbol that never ends", `CONFIG_${"A".repeat(200)}=y`, "sets nothing"],
    ["more than a person writes", "#".repeat(fragment.MAX_FRAGMENT_BYTES + 1), "more than 1048576 bytes"],
  ])("is refused for %s", (_name, text, message) => {
    expect(() => parsed(text)).toThrow(
      expect.objectContaining({ code: "bad-fragment", message: expect.stringContaining(message) as unknown }),
    );
  });

  it("is written as it was read", () => {
    const text = '# CONFIG_A is not set\nCONFIG_B=y\nCONFIG_C="x"\n';
    expect(fragment.format(fragment.parse(text, "a"))).toBe(text);
  });
});

describe("what came out", () => {
  const config = fragment.parseConfig(
    '#\n# Automatically generated file; DO NOT EDIT.\n#\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_N=512\nCONFIG_H=0x1f\nCONFIG_S="x"\nnonsense\n',
  );

  it.each<[string, string, string[]]>([
    ["all of it", 'CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_N=512\nCONFIG_S="x"\n', []],
    ["what is off and nowhere to be found", "# CONFIG_GONE is not set\n", []],
    ["a number in other letters", "CONFIG_H=0X1F\n", []],
    ["what was left out", "CONFIG_B=y\n", ["CONFIG_B=y (is n)"]],
    ["what there is not", "CONFIG_GONE=y\n", ["CONFIG_GONE=y (is n)"]],
    ["what something else turns on", "# CONFIG_A is not set\n", ["CONFIG_A=n (is y)"]],
    ["a number out of range", "CONFIG_N=9000\n", ["CONFIG_N=9000 (is 512)"]],
    ["other text", 'CONFIG_S="y"\n', ['CONFIG_S="y" (is "x")']],
  ])("is held against what was wanted: %s", (_name, wanted, complaints) => {
    const list = fragment.refused(fragment.parse(wanted, "a"), config);
    expect(fragment.describe(list)).toBe(complaints.join(", "));
  });

  it("is told in a line of bounded length", () => {
    const wanted = new Map(Array.from({ length: 100 }, (_, index) => [`CONFIG_X${index}`, "y"]));
    expect(fragment.describe(fragment.refused(wanted, config))).toMatch(
      /^CONFIG_X0=y \(is n\), .* and 92 more$/,
    );
  });
});

describe("FlameBox's own fragment", () => {
  const text = readFileSync(join(repository, "kernel", "tuned.config"), "utf8");
  const settings = fragment.parse(text, "tuned.config");

  it("says nothing twice", () => {
    const lines = text.split("\n").filter((line) => /^CONFIG_|is not set$/.test(line));
    expect(lines).toHaveLength(settings.size);
  });

  it.each([
    [
      "what the guest boots from",
      ["EROFS_FS", "EXT4_FS", "OVERLAY_FS", "VIRTIO_BLK", "VIRTIO_PCI", "BLK_DEV_INITRD"],
    ],
    ["what the agent speaks through", ["VIRTIO_CONSOLE", "VIRTIO_VSOCKETS", "SERIAL_8250_CONSOLE"]],
    ["host folders", ["FUSE_FS"]],
    [
      "what containers are made of",
      ["USER_NS", "PID_NS", "NET_NS", "CGROUP_PIDS", "CGROUP_BPF", "MEMCG", "SECCOMP_FILTER"],
    ],
    ["fresh randomness in clones", ["VMGENID"]],
    [
      "the mitigations",
      ["CPU_MITIGATIONS", "MITIGATION_PAGE_TABLE_ISOLATION", "MITIGATION_RETPOLINE", "RANDOMIZE_BASE"],
    ],
  ])("has %s", (_name, symbols) => {
    expect(symbols.filter((symbol) => settings.get(`CONFIG_${symbol}`) !== "y")).toEqual([]);
  });

  it("has no modules", () => {
    expect(settings.get("CONFIG_MODULES")).toBe("n");
  });
});
