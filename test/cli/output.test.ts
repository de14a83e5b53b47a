import { describe, expect, it } from "vitest";
import type { HostReport, ImageInfo } from "../../src/cli/library.ts";
import { formatImages, imageTable, newestFirst } from "../../src/cli/output/images.ts";
import { reportText } from "../../src/cli/output/report.ts";
import { renderTable } from "../../src/cli/output/table.ts";
import { columnsOf, printable, truncate } from "../../src/cli/output/text.ts";
import { humanAge, humanSize, humanSpan } from "../../src/cli/output/units.ts";

const SECOND = 1000;
const HOUR = 3600 * SECOND;
const DAY = 24 * HOUR;

describe("units", () => {
  it.each([
    [0, "0B"],
    [999, "999B"],
    [1000, "1kB"],
    [7_833_000, "7.83MB"],
    [999_499, "999kB"],
    [999_500, "1MB"],
    [123_456_789, "123MB"],
    [5e12, "5TB"],
    [-5, "0B"],
  ])("size %d is %s", (sizeBytes, text) => {
    expect(humanSize(sizeBytes)).toBe(text);
  });

  it.each([
    [0, "0.0s"],
    [9940, "9.9s"],
    [9950, "10s"],
    [59_400, "59s"],
    [59_600, "1m00s"],
    [185_000, "3m05s"],
    [7620 * SECOND, "2h07m"],
  ])("span %d is %s", (spanMs, text) => {
    expect(humanSpan(spanMs)).toBe(text);
  });

  it.each([
    [-1, "Less than a second ago"],
    [SECOND, "1 second ago"],
    [59 * SECOND, "59 seconds ago"],
    [60 * SECOND, "About a minute ago"],
    [59 * 60 * SECOND, "59 minutes ago"],
    [HOUR, "About an hour ago"],
    [47 * HOUR, "47 hours ago"],
    [3 * DAY, "3 days ago"],
    [21 * DAY, "3 weeks ago"],
    [90 * DAY, "3 months ago"],
    [800 * DAY, "2 years ago"],
  ])("age %d is %s", (ageMs, text) => {
    expect(humanAge(ageMs)).toBe(text);
  });
});

describe("text", () => {
  it.each([
    ["an escape sequence", "a\u001b[31mb", "a\\x1b[31mb"],
    ["line ends and tabs", "a\r\n\tb", "a\\r\\n\\tb"],
    ["C1 controls", "a\u009bb", "a\\x9bb"],
    ["a bidirectional override", "a\u202eb", "a\\u{202e}b"],
    ["a zero-width space and a line separator", "\u200b\u2028", "\\u{200b}\\u{2028}"],
    ["a lone surrogate", "a\ud800b", "a\\u{d800}b"],
    ["letters of the world", "é 漢 🙂", "é 漢 🙂"],
  ])("makes %s printable", (_, text, shown) => {
    expect(printable(text)).toBe(shown);
  });

  it("counts columns and cuts at them", () => {
    expect(columnsOf("é漢")).toBe(3);
    expect(columnsOf("e\u0301")).toBe(1);
    expect(truncate("alpine", 6)).toBe("alpine");
    expect(truncate("alpine", 5)).toBe("alpi…");
    expect(truncate("漢漢漢", 4)).toBe("漢…");
    expect(truncate("alpine", 1)).toBe("…");
    expect(truncate("alpine", 0)).toBe("");
  });

  it("aligns columns by what is seen", () => {
    expect(
      renderTable([
        ["A", "B"],
        ["漢", "x\ny"],
        ["", "z"],
      ]),
    ).toBe("A    B\n漢   x\\ny\n     z\n");
  });
});

const now = Date.UTC(2025, 0, 22);
const digest = `sha256:${"0123456789abcdef".repeat(4)}`;
const alpine: ImageInfo = {
  reference: "docker.io/library/alpine:3",
  repository: "alpine",
  tag: "3",
  digest,
  id: `sha256:${"f".repeat(64)}`,
  platform: "linux/amd64",
  sizeBytes: 7_830_000,
  createdAt: "2025-01-01T00:00:00Z",
  pulledAt: "2025-01-21T00:00:00Z",
};
const { tag: _tag, createdAt: _createdAt, ...untagged } = alpine;
const nameless: ImageInfo = {
  ...untagged,
  reference: `localhost:5000/app@${digest}`,
  repository: "localhost:5000/app",
};

describe("images", () => {
  it("lists them as Docker does", () => {
    expect(imageTable([alpine, nameless], now, { digests: false })).toBe(
      [
        "REPOSITORY           TAG      DIGEST         PLATFORM      SIZE     CREATED",
        "alpine               3        0123456789ab   linux/amd64   7.83MB   3 weeks ago",
        "localhost:5000/app   <none>   0123456789ab   linux/amd64   7.83MB   N/A",
        "",
      ].join("\n"),
    );
    expect(imageTable([alpine], now, { digests: true })).toContain(`   ${digest}   linux/amd64`);
  });

  it("does not invent an age for reproducible builds", () => {
    expect(imageTable([{ ...alpine, createdAt: "1970-01-01T00:00:00Z" }], now, { digests: false })).toContain(
      "N/A",
    );
    expect(imageTable([{ ...alpine, createdAt: "soon" }], now, { digests: false })).toContain("N/A");
  });

  it("knows the fields of --format", () => {
    const template =
      "{{.Repository}} {{.Tag}} {{.ID}} {{.Platform}} {{.Size}} {{.CreatedSince}} {{.CreatedAt}} {{.PulledAt}}";
    expect(formatImages(template, now)([nameless])).toBe(
      "localhost:5000/app <none> ffffffffffff linux/amd64 7.83MB N/A N/A 2025-01-21T00:00:00Z\n",
    );
    expect(formatImages("table", now)([alpine])).toBe(
      [
        "REPOSITORY   TAG   DIGEST                                                                    PLATFORM      SIZE     CREATED",
        `alpine       3     ${digest}   linux/amd64   7.83MB   3 weeks ago`,
        "",
      ].join("\n"),
    );
  });

  it("shortens no id when it is not to", () => {
    const full = `${nameless.id}\n`;
    expect(formatImages("{{.ID}}", now, { trunc: false })([nameless])).toBe(full);
    expect(formatImages("{{.ID}}", now, { trunc: true })([nameless])).not.toBe(full);
  });

  it("puts the newest first and the unknown last", () => {
    const older = { ...alpine, reference: "b", createdAt: "2020-01-01T00:00:00Z" };
    const twin = { ...older, reference: "a" };
    const order = newestFirst([nameless, older, twin, alpine]).map(({ reference }) => reference);
    expect(order).toEqual([alpine.reference, "a", "b", nameless.reference]);
  });
});

describe("the doctor's report", () => {
  const report: HostReport = {
    version: "1.2.3",
    ready: true,
    machine: { vmm: "qemu", version: "7.2.22", acceleration: "kvm" },
    checks: [
      { name: "qemu", status: "ok", detail: "7.2.22 /usr/bin/qemu-system-x86_64" },
      { name: "passt", status: "missing", detail: "not found", hint: "sudo apt-get install passt" },
      { name: "disk", status: "warning", detail: "1.2GB left" },
    ],
  };

  it("is aligned, with what to do below", () => {
    expect(reportText(report, { colours: false })).toBe(
      [
        "ok       qemu   7.2.22 /usr/bin/qemu-system-x86_64",
        "missing  passt  not found",
        "                → sudo apt-get install passt",
        "warn     disk   1.2GB left",
        "",
        "FlameBox 1.2.3 is ready: qemu 7.2.22 with KVM.",
        "",
      ].join("\n"),
    );
  });

  it("says when it cannot run, and when it is no isolation", () => {
    expect(reportText({ ...report, ready: false, machine: null }, { colours: false })).toContain(
      "FlameBox 1.2.3 cannot run containers here yet.",
    );
    const machine = { vmm: "qemu" as const, version: "7.2.22", acceleration: "tcg" as const };
    expect(reportText({ ...report, machine }, { colours: false })).toContain("no isolation boundary");
  });

  it("colours only the status", () => {
    expect(reportText(report, { colours: true }).split("\n")[0]).toBe(
      "\u001b[32mok     \u001b[0m  qemu   7.2.22 /usr/bin/qemu-system-x86_64",
    );
  });
});
