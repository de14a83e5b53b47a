/** The peer: podman with runc, where both are installed. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { findProgram } from "../src/util/find-program.ts";

const execute = promisify(execFile);

/** What podman calls the image. */
export const podmanHas = (image: string): string => image;

/** Fetches the image for podman. False where it cannot be run, or only root could. */
export async function preparePodman(image: string): Promise<boolean> {
  const programs = await Promise.all(["podman", "runc"].map(findProgram));
  if (programs.includes(undefined) || process.getuid?.() !== 0) return false;
  await execute("podman", ["pull", "--quiet", "--tls-verify=false", image]);
  return true;
}
