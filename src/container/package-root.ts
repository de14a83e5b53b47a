/** Where the package is. This file's folder and those of all bundles are two levels below it. */
import { fileURLToPath } from "node:url";

export const PACKAGE_ROOT = fileURLToPath(new URL("../..", import.meta.url));
