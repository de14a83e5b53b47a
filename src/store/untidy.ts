/**
 * Stores in which a transaction failed half-way through its publication, for a full disk or a broken one. The parts that
 * are there already have no commit point, so nobody takes them for anything; but nobody knows of them either, since
 * the process lives on. They are collected when the store is closed, when its leases are gone.
 */
import type { Layout } from "./layout.ts";

const untidy = new WeakSet<Layout>();

export function markUntidy(layout: Layout): void {
  untidy.add(layout);
}

export function isUntidy(layout: Layout): boolean {
  return untidy.has(layout);
}
