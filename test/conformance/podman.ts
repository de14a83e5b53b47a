/**
 * podman with runc, as root, in a storage of its own: what another runtime shows for the same rows. The tests
 * never install it; where it is missing or cannot run anything they are skipped, and say why.
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findProgram } from "../../src/util/find-program.ts";
import { spawnWatched } from "../support/running.ts";
import type { Ended, Running } from "../support/running.ts";

/** Limits that a host which is a container itself can give, and nothing that needs systemd. */
const configuration = `
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
`;

export class Podman implements AsyncDisposable {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
  }

  spawn(args: readonly string[]): Running {
    const storage = ["--root", join(this.#dir, "root"), "--runroot", join(this.#dir, "run")];
    const env = { ...process.env, CONTAINERS_CONF: join(this.#dir, "containers.conf") };
    // Its monitor leaves a file `oom` where it was started, when memory has run out.
    return spawnWatched("podman", [...storage, ...args], env, this.#dir);
  }

  async run(args: readonly string[], input = ""): Promise<Ended> {
    const running = this.spawn(args);
    running.child.stdin.end(input);
    return await running.ended;
  }

  async pull(image: string): Promise<void> {
    const { code, stderr } = await this.run(["pull", "-q", "--tls-verify=false", image]);
    if (code !== 0) throw new Error(`podman could not pull ${image}: ${stderr}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Unmounts what rm could not remove.
    await this.run(["system", "reset", "--force"]);
    await rm(this.#dir, { recursive: true, force: true });
  }
}

/** A podman that has run `image`, or the reason why there is none. */
export async function openPodman(image: string): Promise<Podman | string> {
  if (process.getuid?.() !== 0) return "needs root";
  for (const name of ["podman", "runc"])
    if ((await findProgram(name)) === undefined) return `${name} is not installed`;
  const dir = await mkdtemp(join(tmpdir(), "flamebox-podman-"));
  await writeFile(join(dir, "containers.conf"), configuration);
  const podman = new Podman(dir);
  await podman.pull(image);
  const { code, stderr } = await podman.run(["run", "--rm", "--network", "none", image, "true"]);
  if (code === 0) return podman;
  await podman[Symbol.asyncDispose]();
  return `podman runs nothing here: ${stderr.trim().slice(0, 200)}`;
}
