/**
 * Prints a directory tree as JSON: path (latin1) to [mode, uid, gid, names, size, mtime in ns, device, content].
 * Plain JavaScript, so that it also runs alone, in a mount namespace of its own.
 */
import { lstatSync, readFileSync, readdirSync, readlinkSync } from "node:fs";

const MAX_CONTENT_BYTES = 1_000_000n;
const found = {};

function visit(path, name) {
  const stat = lstatSync(path, { bigint: true });
  let content = "";
  if (stat.isSymbolicLink()) content = readlinkSync(path, "latin1");
  if (stat.isFile() && stat.size < MAX_CONTENT_BYTES) content = readFileSync(path, "latin1");
  const numbers = [stat.mode, stat.uid, stat.gid, stat.nlink, stat.size, stat.mtimeNs, stat.rdev];
  found[name] = [...numbers.map(String), content];
  if (!stat.isDirectory()) return;
  for (const child of readdirSync(path, { encoding: "buffer" })) {
    visit(Buffer.concat([path, Buffer.from("/"), child]), `${name}/${child.toString("latin1")}`);
  }
}

visit(Buffer.from(process.argv[2]), "");
process.stdout.write(JSON.stringify(found));
