/**
 * Preloaded into a process that is measured: writes to PEAK_FILE, when it ends, its peak resident size and the peak of
 * what of it is its own (anonymous, not the program's mapped files), both in KiB. The second is looked at fifty times a
 * second.
 */
import { readFileSync, writeFileSync } from "node:fs";

const LOOK_MS = 20;

function field(name: string): number {
  const [, kib = "0"] =
    new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(readFileSync("/proc/self/status", "latin1")) ?? [];
  return Number(kib);
}

let own = 0;
const look = (): void => {
  own = Math.max(own, field("RssAnon"));
};
setInterval(look, LOOK_MS).unref();
process.on("exit", () => {
  look();
  writeFileSync(process.env["PEAK_FILE"] ?? "/dev/null", `${field("VmHWM")} ${own}`);
});
