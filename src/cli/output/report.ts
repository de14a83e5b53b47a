/**
 * The doctor's report: a line a check, and under those that are not well what to do.
 *
 *     ok        qemu      7.2.22
 *     warning   kvm       /dev/kvm is not there
 *                         → enable virtualisation …
 */
import type { Check, HostReport } from "../library.ts";
import { columnsOf, padEnd, printable } from "./text.ts";

const COLOURS: Readonly<Record<Check["status"], string>> = {
  ok: "\u001b[32m",
  warning: "\u001b[33m",
  missing: "\u001b[31m",
};

const STATUS_WORD: Readonly<Record<Check["status"], string>> = {
  ok: "ok",
  warning: "warn",
  missing: "missing",
};
const STATUS_COLUMNS = 7;

function verdict({ ready, machine, version }: HostReport): string {
  if (!ready || machine === null) return `FlameBox ${version} cannot run containers here yet.`;
  const how =
    machine.acceleration === "kvm" ? "with KVM" : "in software emulation, which is no isolation boundary";
  return `FlameBox ${version} is ready: ${machine.vmm} ${machine.version} ${how}.`;
}

export function reportText(report: HostReport, style: { readonly colours: boolean }): string {
  const nameColumns = report.checks.reduce((most, { name }) => Math.max(most, columnsOf(printable(name))), 0);
  const indent = " ".repeat(STATUS_COLUMNS + 2 + nameColumns + 2);
  const lines = report.checks.flatMap(({ name, status, detail, hint }) => {
    const word = padEnd(STATUS_WORD[status], STATUS_COLUMNS);
    const painted = style.colours ? `${COLOURS[status]}${word}\u001b[0m` : word;
    const line = `${painted}  ${padEnd(printable(name), nameColumns)}  ${printable(detail)}`.trimEnd();
    return hint === undefined ? [line] : [line, `${indent}→ ${printable(hint)}`];
  });
  return `${[...lines, "", printable(verdict(report))].join("\n")}\n`;
}
