import { defineConfig } from "vitest/config";

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
 * `host` tests need no machine and run side by side. `vm` tests start real machines: two at a time at most,
 * behind the others, because under software emulation each keeps a core busy. `firecracker` tests need the
 * program and KVM; `nested` runs those in an outer machine that has both (scripts/test-firecracker.sh).
 */
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "host",
          include: ["test/**/*.test.ts"],
          exclude: ["test/vm/**", "test/firecracker/**", "test/nested/**"],
          testTimeout: 60_000,
          hookTimeout: 120_000,
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
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
      ...(beside ? firecracker : []),
    ],
  },
});
