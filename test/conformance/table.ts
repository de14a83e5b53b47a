/** The whole table. */
import { defaults } from "./rows/defaults.ts";
import { elsewhere, missing } from "./rows/elsewhere.ts";
import { flagGroups } from "./rows/flags.ts";
import { runs } from "./rows/runs.ts";
import { userGroups } from "./rows/users.ts";
import type { Group } from "./row.ts";

export const groups: readonly Group[] = [defaults, ...flagGroups, ...userGroups];
export { elsewhere, missing, runs };
