/** Preloaded into a process that is measured: writes its peak resident size, in KiB, to PEAK_FILE when it ends. */
import { readFileSync, writeFileSync } from "node:fs";

process.on("exit", () => {
  const [, peak = "0"] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "latin1")) ?? [];
  writeFileSync(process.env["PEAK_FILE"] ?? "/dev/null", peak);
});
