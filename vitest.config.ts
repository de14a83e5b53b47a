import { defineConfig } from "vitest/config";

/**
 * `host` tests need no machine and run side by side. `vm` tests start real machines: two at a time at most,
 * behind the others, because under software emulation each keeps a core busy.
 */
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "host",
          include: ["test/**/*.test.ts"],
          exclude: ["test/vm/**"],
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
    ],
  },
});
