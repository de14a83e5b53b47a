/** Options of Docker's `run` that FlameBox cannot have, and why: better than to say that they are not known. */
import { type Command, Option } from "commander";
import { UsageError } from "../failure.ts";

interface Refusal {
  readonly flags: readonly string[];
  readonly reason: string;
  readonly hint?: string;
  /** A switch has no value behind it. */
  readonly isSwitch?: boolean;
}

const HOST_DISK = "it names a disk of this host, and a machine has disks of its own";

const REFUSALS: readonly Refusal[] = [
  {
    flags: ["volumes-from"],
    reason: "containers run in machines of their own, and have no volumes in common yet",
    hint: "mount a folder of this host into both: -v ./data:/data",
  },
  {
    flags: ["ip", "ip6", "link-local-ip"],
    reason: "a machine is alone in its network, so its address is nobody else's to know",
    hint: "publish ports with -p",
  },
  {
    flags: ["link", "network-alias"],
    reason: "containers do not see each other by name",
    hint: "publish ports with -p, and name hosts with --add-host",
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
    flags: ["log-driver", "log-opt"],
    reason: "output goes to whoever runs the container, and is not kept",
    hint: "redirect standard output",
  },
];

export function refuseWithReason(command: Command): void {
  for (const { flags, reason, hint, isSwitch = false } of REFUSALS)
    for (const flag of flags) {
      command.addOption(new Option(isSwitch ? `--${flag}` : `--${flag} <value>`, reason).hideHelp());
      command.on(`option:${flag}`, () => {
        throw new UsageError(`--${flag} is not supported: ${reason}`, hint);
      });
    }
}
