import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";
import { BaseSequencer } from "vitest/node";
import type { TestSpecification } from "vitest/node";

/** Files that take long, the longest first: begun last, one of them would run alone while the other core waits. */
const LONG = [
  "hostile-container",
  "lifecycle",
  "files",
  "template-damage",
  "networks",
  "conformance-debian",
  "example",
  "contents",
  "templates",
  "layer",
  "services",
  "shares",
  "real-images",
  "terminal",
  "prepared",
  "conformance-busybox",
  "conformance-podman",
  "network",
  "sizing",
  "hostile-kernel",
  "conformance-ends",
  "export",
  "streams",
  "ends",
  "tree",
  "fire",
  "flood",
  "ext4",
];

class LongFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const rank = ({ moduleId }: TestSpecification): number => {
      const index = LONG.findIndex((name) => moduleId.endsWith(`/${name}.test.ts`));
      return index === -1 ? LONG.length : index;
    };
    // A stable sort keeps the rest as they are; groups stay apart, which the runner sees to.
    return sorted.toSorted((a, b) => rank(a) - rank(b));
  }
}

/** Set by scripts/test-firecracker.sh, which alone asks for its projects. */
const beside = process.env["FLAMEBOX_TEST_FIRECRACKER"] === "1";

const firecracker = [
  {
    test: {
      name: "firecracker",
      include: ["test/firecracker/**/*.test.ts"],
      globalSetup: ["test/firecracker/global-setup.ts"],
      testTimeout: 240_000,
      hookTimeout: 300_000,
      maxWorkers: 1,
    },
  },
  {
    test: {
      name: "nested",
      include: ["test/nested/**/*.test.ts"],
      testTimeout: 2_700_000,
      hookTimeout: 600_000,
    },
  },
];

/**
 * `host` tests need no machine and run side by side. `vm` tests start real machines: three at a time at most,
 * behind the others, because under software emulation each keeps a core busy for most of its time. `firecracker` tests need the
 * program and KVM; `nested` runs those in an outer machine that has both (scripts/test-firecracker.sh).
 */
export default defineConfig({
  test: {
    sequence: { sequencer: LongFirst },
    projects: [
      {
        test: {
          name: "host",
          include: ["test/**/*.test.ts"],
          exclude: ["test/vm/**", "test/firecracker/**", "test/nested/**"],
          testTimeout: 60_000,
          hookTimeout: 120_000,
          // A fifth of their time is waiting: for programs, for clocks, for other processes.
          maxWorkers: Math.ceil(availableParallelism() * 1.5),
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          name: "vm",
          include: ["test/vm/**/*.test.ts"],
          globalSetup: ["test/global-setup.ts"],
          testTimeout: 180_000,
          hookTimeout: 300_000,
          maxWorkers: 3,
          sequence: { groupOrder: 1 },
        },
      },
      ...(beside ? firecracker : []),
    ],
  },
});
