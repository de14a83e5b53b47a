/** The screens of `top`, `stats` and `ps`: what is on them, and that they fit. */
import { describe, expect, test } from "vitest";
import { parseLog, parseRestart, parseTime } from "../../src/cli/args/lifecycle.ts";
import { parseSignalFlag } from "../../src/cli/args/signal.ts";
import { CONTAINER_FILTERS } from "../../src/cli/completion/tree.ts";
import { UsageError } from "../../src/cli/failure.ts";
import type { ContainerInfo, ContainerStatistics } from "../../src/cli/library.ts";
import { formatContainers, portText, statusText } from "../../src/cli/output/containers.ts";
import { bar, dashboardLines, SORTS } from "../../src/cli/output/dashboard.ts";
import { columnsOf } from "../../src/cli/output/text.ts";
import { formatUsage, usageOf } from "../../src/cli/output/usage.ts";
import { FILTER_KEYS, parseContainerFilters } from "../../src/container/lifecycle/filters.ts";

const NOW = Date.parse("2026-11-29T12:00:00Z");

function container(name: string, change: Partial<ContainerInfo> = {}): ContainerInfo {
  return {
    id: name.padEnd(64, "0"),
    name,
    image: "busybox:1",
    imageId: "sha256:abcd",
    args: ["sh", "-c", "a command that is longer than its column"],
    status: "running",
    createdAt: "2026-11-29T11:00:00Z",
    startedAt: "2026-11-29T11:30:00Z",
    oomKilled: false,
    restartCount: 0,
    ports: [],
    labels: {},
    network: "user",
    ...change,
  };
}

function statistics(change: Partial<ContainerStatistics> = {}): ContainerStatistics {
  return {
    memoryBytes: 50e6,
    memoryPeakBytes: 60e6,
    memoryLimitBytes: 100e6,
    pids: 3,
    cpuMicroseconds: 1_000_000,
    oomKills: 0,
    network: { receivedBytes: 1000, receivedPackets: 1, sentBytes: 500, sentPackets: 1 },
    block: { readBytes: 1e6, writtenBytes: 2e6 },
    machine: { residentBytes: 120e6, cpuMicroseconds: 2_000_000 },
    ...change,
  };
}

const usage = (name: string, cpuMicroseconds = 1_500_000) =>
  usageOf(
    { info: container(name), statistics: statistics({ cpuMicroseconds }), atMs: 2_000 },
    { info: container(name), statistics: statistics(), atMs: 1_000 },
  );

describe("the dashboard", () => {
  test.each([60, 80, 132, 200])("fits %i columns, whatever the names are", (columns) => {
    const names = ["web", "x".repeat(200), "名前", "\u001b[31mred"];
    for (const sort of SORTS) {
      const lines = dashboardLines(
        names.map((name) => usage(name)),
        { columns, rows: 24, nowMs: NOW, sort },
      );
      expect(lines).toHaveLength(2 + names.length);
      for (const line of lines) {
        expect(columnsOf(line)).toBeLessThanOrEqual(columns);
        expect(line).not.toContain("\u001b");
      }
    }
  });

  test("is read in 80 columns", () => {
    const lines = dashboardLines([usage("web"), usage("db", 1_100_000)], {
      columns: 80,
      rows: 24,
      nowMs: NOW,
      sort: "cpu",
    });
    expect(lines).toEqual([
      "flamebox: 2 running, 2 shown   cpu 60%   mem 100MB, of the host 240MB   by cpu",
      "NAME                      CPU              MEM            NET/s STATUS",
      "web                       50% ████        50MB ████          0B Up 30 minutes",
      "db                        10% ▊           50MB ████          0B Up 30 minutes",
    ]);
  });

  test("says how many do not fit", () => {
    const usages = Array.from({ length: 30 }, (_, i) => usage(`c${i}`));
    const lines = dashboardLines(usages, { columns: 80, rows: 10, nowMs: NOW, sort: "memory" });
    expect(lines).toHaveLength(9);
    expect(lines.at(-1)).toBe("… 24 more");
  });

  test.each([
    [0, "        "],
    [1, "████████"],
    [2, "████████"],
    [-1, "        "],
    [0.5, "████    "],
    [1 / 64, "▏       "],
  ])("a bar of %f", (share, text) => {
    expect(bar(share)).toBe(text);
  });
});

test("what is used is a rate between two looks, and none at the first", () => {
  expect(usage("web")).toMatchObject({ cpuPercent: 50, networkRate: 0, hostCpuPercent: 0 });
  const first = usageOf({ info: container("web"), statistics: statistics(), atMs: 1 }, undefined);
  expect(first).toMatchObject({ cpuPercent: undefined, networkRate: undefined });
  expect(formatUsage(undefined, false)([usage("web")])).toContain("50MB / 100MB");
  expect(formatUsage("{{.Name}} {{.CPUPerc}}", false)([first])).toBe("web --\n");
});

test.each<[Partial<ContainerInfo>, string]>([
  [{ status: "created" }, "Created"],
  [{}, "Up 30 minutes"],
  [{ health: "starting" }, "Up 30 minutes (health: starting)"],
  [{ health: "unhealthy" }, "Up 30 minutes (unhealthy)"],
  [{ status: "paused" }, "Up 30 minutes (Paused)"],
  [{ status: "exited", exitCode: 3, finishedAt: "2026-11-29T11:58:00Z" }, "Exited (3) 2 minutes ago"],
  [{ status: "restarting", exitCode: 1, finishedAt: "2026-11-29T11:59:58Z" }, "Restarting (1) 2 seconds ago"],
])("the status of %j", (change, text) => {
  expect(statusText(container("web", change), NOW)).toBe(text);
});

test("a table as Docker's", () => {
  const ports = [{ hostAddress: "::1", hostPort: 8080, containerPort: 80, protocol: "tcp" as const }];
  expect(portText(ports[0] ?? { hostPort: 0, containerPort: 0, protocol: "tcp" })).toBe("[::1]:8080->80/tcp");
  const text = formatContainers(undefined, { nowMs: NOW, whole: false })([container("web", { ports })]);
  expect(text.split("\n")[0]).toMatch(/^CONTAINER ID +IMAGE +COMMAND +CREATED +STATUS +PORTS +NAMES$/);
  expect(text).toContain('"sh -c a command tha…"');
});

describe("filters", () => {
  const all = [
    container("web", { labels: { a: "1", b: "2" } }),
    container("db", { status: "exited", exitCode: 3 }),
  ];
  test.each<[string[], string[]]>([
    [[], ["web", "db"]],
    [["name=we"], ["web"]],
    [
      ["status=running", "status=exited"],
      ["web", "db"],
    ],
    [["status=running", "name=db"], []],
    [["label=a"], ["web"]],
    [["label=a=1", "label=b=2"], ["web"]],
    [["label=a=2"], []],
    [["exited=3"], ["db"]],
    [["ancestor=busybox"], ["web", "db"]],
    [["health=none"], ["web", "db"]],
  ])("%j", (texts, names) => {
    expect(
      parseContainerFilters(texts)
        .apply(all)
        .map(({ name }) => name),
    ).toEqual(names);
  });

  test("completion has them all", () => {
    expect([...CONTAINER_FILTERS].toSorted()).toEqual([...FILTER_KEYS].toSorted());
  });

  test.each(["name", "=x", "colour=red", "status=dancing", "__proto__=x"])("%j is none", (text) => {
    expect(() => parseContainerFilters([text])).toThrow(
      expect.objectContaining({ code: "invalid-filter" }) as Error,
    );
  });
});

test.each<[string, number]>([
  ["10m", NOW - 600_000],
  ["1h30m", NOW - 5_400_000],
  ["2026-11-29T11:00:00Z", NOW - 3_600_000],
  ["1700000000", 1_700_000_000_000],
  ["1700000000.5", 1_700_000_000_500],
])("the time %s", (text, timeMs) => {
  expect(parseTime(text, "--since", NOW)).toBe(timeMs);
});

test.each(["", "yesterday", "10x", "m", "-1", "2026-99-99"])("%j is no time", (text) => {
  expect(() => parseTime(text, "--since", NOW)).toThrow(UsageError);
});

test("policies, logs and signals as Docker writes them", () => {
  expect(parseRestart("on-failure:3")).toEqual({ name: "on-failure", maximumRetryCount: 3 });
  expect(parseLog("json-file", ["max-size=1k", "max-file=2"])).toEqual({
    driver: "local",
    maxSizeBytes: 1024,
    maxFiles: 2,
  });
  expect(["KILL", "sighup", "15", "RTMIN+3"].map((text) => parseSignalFlag(text, "-s"))).toEqual([
    9, 1, 15, 37,
  ]);
  for (const text of ["", "0", "65", "SIGNOPE", "RTMIN+99"])
    expect(() => parseSignalFlag(text, "-s")).toThrow(UsageError);
});
