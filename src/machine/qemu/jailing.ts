/** What only a QEMU of root's needs, in one piece to be loaded. */
export { makeJail } from "../jail/jail.ts";
export { placeDisks } from "./jailed-disks.ts";
