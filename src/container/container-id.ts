/** Containers are named by 64 hexadecimal digits; people see the first 12. */
import { randomBytes } from "node:crypto";

export function newContainerId(): string {
  return randomBytes(32).toString("hex");
}

export function shortId(id: string): string {
  return id.slice(0, 12);
}
