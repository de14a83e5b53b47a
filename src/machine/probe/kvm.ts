/**
 * Is KVM usable? That /dev/kvm opens is no answer: a paravirtual or badly nested KVM opens, takes a guest, and
 * hangs it. So the probe boots a real one, without disks or network, and waits for its agent under a deadline.
 * The verdict holds until the host boots again, or the VMM, the kernel or the agent is another.
 */
import { constants } from "node:fs";
import { access, readFile, stat } from "node:fs/promises";
import type { Duplex } from "node:stream";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { array, boolean, object, safeParse, string } from "valibot";
import type { InferOutput } from "valibot";
import { makePrivateDir, writeFileAtomic } from "../../util/atomic-file.ts";
import { messageOf, systemCode } from "../../util/error.ts";
import { bootId } from "../../util/liveness.ts";
import type { Paths } from "../../util/paths.ts";
import { printable } from "../../util/printable.ts";
import type { BootFiles, MachineDriver } from "../machine.ts";
import { AGENT_PORT } from "../machine.ts";

export interface KvmVerdict {
  readonly usable: boolean;
  /** What was found, one sentence without a full stop. */
  readonly reason: string;
  readonly hint?: string | undefined;
}

export interface KvmProbeOptions {
  readonly paths: Paths;
  readonly boot: BootFiles;
  /** A driver that uses KVM. */
  readonly driver: MachineDriver;
  /** Path of the VMM's program: another file is another verdict. */
  readonly program: string;
  /** Tried with a network interface, which some VMMs need more for than KVM. */
  readonly network?: boolean | undefined;
  /** Whether the driver jails its VMMs, which may stand in their way. */
  readonly isJailed?: boolean | undefined;
  /** Resolves once the guest behind the stream has answered. */
  readonly answered: (stream: Duplex, deadlineMs: number, signal: AbortSignal | undefined) => Promise<void>;
  readonly deadlineMs?: number;
  readonly signal?: AbortSignal | undefined;
  /** Told before a guest is really started, because that takes a while where it hangs. */
  readonly onStart?: () => void;
}

const DEVICE = "/dev/kvm";
/** With working KVM the agent answers within a second or two, on a busy host as well. */
const DEADLINE_MS = 10_000;
/**
 * How long the VMM takes to start tells how slow this host is: some 60 ms usually, a second where the host is a machine
 * in an emulator. There a guest may take 10 s.
 */
const DEADLINE_PER_START = 25;
const MAX_DEADLINE_MS = 60_000;
const EXIT_GRACE_MS = 500;
const PROBE_MAC = "52:54:00:00:00:01";

const verdictRecord = object({ key: string(), usable: boolean(), reason: string() });
const records = array(verdictRecord);
/** Several installations may share a directory, each with an agent of its own. */
const MOST_RECORDS = 16;

export async function probeKvm(options: KvmProbeOptions): Promise<KvmVerdict> {
  const closed = await deviceProblem();
  if (closed !== undefined) return closed;
  const cachePath = join(
    options.paths.dataDir,
    "probe",
    `kvm-${options.driver.name}${options.network === true ? "-network" : ""}.json`,
  );
  const { program, boot, isJailed = false } = options;
  const files = [program, boot.kernelPath, boot.initramfsPath];
  const key = [bootId(), ...(await Promise.all(files.map(identityOf))), isJailed].join(" ");
  const known = await readRecords(cachePath);
  const cached = known.find((entry) => entry.key === key);
  if (cached !== undefined) return verdictOf(cached);
  options.onStart?.();
  const verdict = await runGuest(options);
  await makePrivateDir(join(options.paths.dataDir, "probe"));
  const others = (await readRecords(cachePath)).filter((entry) => entry.key !== key);
  await writeFileAtomic(cachePath, JSON.stringify([{ key, ...verdict }, ...others].slice(0, MOST_RECORDS)));
  return verdict;
}

/** Another place is not another file: a home that is moved keeps its verdicts. */
async function identityOf(path: string): Promise<string> {
  const { size, mtimeMs } = await stat(path);
  return `${basename(path)}:${size}:${mtimeMs}`;
}

async function deviceProblem(): Promise<KvmVerdict | undefined> {
  try {
    await access(DEVICE, constants.R_OK | constants.W_OK);
    return undefined;
  } catch (error) {
    if (systemCode(error) === "ENOENT")
      return {
        usable: false,
        reason: `there is no ${DEVICE}`,
        hint: "turn on virtualization in the firmware, or nested virtualization in the cloud machine's settings",
      };
    return {
      usable: false,
      reason: `this user may not open ${DEVICE}`,
      hint: "add the user to the group kvm: sudo usermod -aG kvm $USER, then log in again",
    };
  }
}

async function readRecords(path: string): Promise<readonly InferOutput<typeof verdictRecord>[]> {
  const text = await readFile(path, "utf8").catch(() => "");
  try {
    const parsed = safeParse(records, JSON.parse(text));
    return parsed.success ? parsed.output : [];
  } catch {
    // Not JSON: as good as not there, and about to be written again.
    return [];
  }
}

function verdictOf({ usable, reason }: { usable: boolean; reason: string }): KvmVerdict {
  return { usable, reason };
}

async function runGuest(options: KvmProbeOptions): Promise<KvmVerdict> {
  const { driver, boot, answered, signal } = options;
  const network = { attach: (frames: Duplex) => void frames.resume(), mac: PROBE_MAC };
  const config = { boot, cpus: 1, memoryMib: 256, disks: {}, ...(options.network === true && { network }) };
  let said: string | undefined;
  try {
    const began = performance.now();
    await using machine = await driver.start(config, { signal });
    const slow = (performance.now() - began) * DEADLINE_PER_START;
    const { deadlineMs = Math.min(DEADLINE_MS + slow, MAX_DEADLINE_MS) } = options;
    const stream = await machine.dial(AGENT_PORT);
    try {
      await answered(stream, deadlineMs, signal);
    } catch (error) {
      // A VMM that broke off has usually said why; its end comes a moment after the stream's.
      await Promise.race([machine.exited, sleep(EXIT_GRACE_MS)]);
      said = complaintOf(machine.diagnostics().stderr);
      throw error;
    }
    return { usable: true, reason: "a guest booted and answered" };
  } catch (error) {
    signal?.throwIfAborted();
    return {
      usable: false,
      reason: `${DEVICE} opens, but a guest does not run on it (${said ?? messageOf(error)})`,
    };
  }
}

/** QEMU says its error first and may then die of an assertion. */
function complaintOf(stderr: string): string | undefined {
  const lines = stderr.trim().split("\n");
  const line = lines.find((text) => /\berror: /.test(text)) ?? lines.at(-1) ?? "";
  return printable(line.replace(/^.*?\berror: /, "")) || undefined;
}
