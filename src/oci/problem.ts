/** The first thing that a schema found wrong, as one short printable line: `layers.3.size: Invalid …`. */
import { getDotPath } from "valibot";
import type { BaseIssue } from "valibot";
import { printable } from "../util/printable.ts";

export function problemOf(issues: readonly [BaseIssue<unknown>, ...BaseIssue<unknown>[]]): string {
  const [issue] = issues;
  const path = getDotPath(issue) ?? "";
  // Paths and messages quote the document: a name in it may be long or hold control characters.
  return printable(`${path === "" ? "" : `${path}: `}${issue.message}`);
}
