/** Options of Docker's `run` that FlameBox cannot have, and why: better than to say that they are not known. */
import { type Command, Option } from "commander";
import { UsageError } from "../failure.ts";

export interface Refusal {
  readonly flags: readonly string[];
  readonly reason: string;
  readonly hint?: string;
  /** A switch has no value behind it. */
  readonly isSwitch?: boolean;
}

const HOST_DISK = "it names a disk of this host, and a machine has disks of its own";

export const REFUSALS: readonly Refusal[] = [
  {
    flags: ["a, --attach"],
    reason: "both outputs are always attached, and standard input with -i",
    hint: "leave -i out for no input, and send an output that you do not want to /dev/null",
  },
  {
    flags: ["volumes-from"],
    reason: "containers run in machines of their own, and have no volumes in common yet",
    hint: "mount a folder of this host into both: -v ./data:/data",
  },
  {
    flags: ["ip6", "link-local-ip"],
    reason: "they follow from the container's IPv4 address",
    hint: "use --ip in a network with a name",
  },
  {
    flags: ["link"],
    reason: "containers see each other by name in a network",
    hint: "make one with flamebox network create, and use --network",
  },
  {
    flags: ["kernel-memory", "memory-swappiness"],
    reason: "cgroup v2, which a machine has, does not know it",
    hint: "limit memory with --memory",
  },
  {
    flags: ["oom-kill-disable"],
    reason: "cgroup v2, which a machine has, does not know it: a process without memory is ended",
    hint: "raise --memory, or lower --oom-score-adj",
    isSwitch: true,
  },
  { flags: ["cpu-rt-period", "cpu-rt-runtime"], reason: "cgroup v2, which a machine has, does not know it" },
  { flags: ["cpuset-mems"], reason: "a machine has one memory node" },
  { flags: ["blkio-weight-device"], reason: HOST_DISK, hint: "use --blkio-weight" },
  {
    flags: ["device-read-bps", "device-read-iops", "device-write-bps", "device-write-iops"],
    reason: HOST_DISK,
  },
  { flags: ["gpus"], reason: "no device of this host can be given to a machine" },
  { flags: ["runtime", "isolation"], reason: "a container always runs in a microVM" },
  { flags: ["cgroup-parent"], reason: "a container's cgroup is in its machine, alone" },
  { flags: ["volume-driver"], reason: "there are no named volumes yet" },
  { flags: ["storage-opt"], reason: "a container's disk has only a size", hint: "use --storage-size" },
  {
    flags: ["disable-content-trust"],
    reason: "there is no content trust; digests are always verified",
    isSwitch: true,
  },
  { flags: ["use-api-socket"], reason: "there is no daemon, and so no socket of one", isSwitch: true },
  {
    flags: ["cpu-count", "cpu-percent", "io-maxbandwidth", "io-maxiops"],
    reason: "it is for containers of Windows",
    hint: "use --cpus",
  },
];

export function refuseWithReason(command: Command): void {
  for (const { flags, reason, hint, isSwitch = false } of REFUSALS)
    for (const flag of flags) {
      const written = flag.includes("--") ? `-${flag}` : `--${flag}`;
      const option = new Option(isSwitch ? written : `${written} <value>`, reason).hideHelp();
      command.addOption(option);
      command.on(`option:${option.name()}`, () => {
        throw new UsageError(`--${option.name()} is not supported: ${reason}`, hint);
      });
    }
}
