/** The options of `run`, with Docker's names. What they are made of is run-options.ts's business. */
import { type Command, Option } from "commander";
import { collect } from "../commands/describe.ts";
import { parseNetwork } from "./network.ts";
import { refuseWithReason } from "./refused.ts";

function addProcessOptions(command: Command): void {
  command
    .optionsGroup("Process:")
    .option("-i, --interactive", "give standard input to the process")
    .option("-t, --tty", "give the process a terminal")
    .option("--detach-keys <keys>", "keys that leave a terminal; default ctrl-p,ctrl-q; '' for none")
    .option("-e, --env <variable>", "set KEY=VALUE, or take KEY from this environment (repeatable)", collect)
    .option("--env-file <file>", "read variables from a file, one a line (repeatable)", collect)
    .option("-w, --workdir <dir>", "working directory, an absolute path")
    .option("-u, --user <user>", "NAME or UID, with :GROUP or :GID")
    .option("--group-add <group>", "a further group (repeatable)", collect)
    .option("--entrypoint <program>", "replace the image's entry point; '' takes it away")
    .option("--init", "process 1 is an init that reaps orphans and hands signals on")
    .option("--stop-signal <signal>", "what asks the process to end; default: the image's, or SIGTERM")
    .option("--stop-timeout <seconds>", "how long it may take before it is killed; default 10, -1 for ever")
    .option(
      "--ulimit <limit>",
      "NAME=SOFT[:HARD], as in nofile=1024:2048; -1 is unlimited (repeatable)",
      collect,
    )
    .option(
      "--oom-score-adj <number>",
      "-1000 to 1000: the higher, the sooner it is ended when memory is short",
    )
    .option("--sig-proxy", "hand signals on to the process; always so, accepted for Docker's sake");
}

function addLifeOptions(command: Command): void {
  command
    .optionsGroup("Life:")
    .option("--rm", "remove the container when it has ended")
    .option(
      "--restart <policy>",
      "start it again when it has ended: no, on-failure[:TIMES], always, unless-stopped",
    )
    .option("--cidfile <file>", "write the container's id to a file that is not there yet")
    .option("--log-driver <driver>", "local keeps the output for flamebox logs; none keeps nothing")
    .option("--log-opt <option>", "max-size=SIZE of a file, default 10m; max-file=COUNT, default 5", collect);
}

function addDescriptionOptions(command: Command): void {
  command
    .optionsGroup("Name and labels:")
    .option("--name <name>", "a name for the container; default: one is made up")
    .option("-l, --label <label>", "KEY=VALUE (repeatable)", collect)
    .option("--label-file <file>", "read labels from a file, one a line (repeatable)", collect)
    .option("--annotation <annotation>", "KEY=VALUE for the OCI configuration (repeatable)", collect);
}

function addFileOptions(command: Command): void {
  command
    .optionsGroup("Files:")
    .option(
      "-v, --volume <volume>",
      "HOST-PATH:PATH[:ro] mounts a folder of this host; PATH is a volume that goes with the container (repeatable)",
      collect,
    )
    .option("--mount <mount>", "type=bind|volume|tmpfs,source=…,target=…[,readonly] (repeatable)", collect)
    .option(
      "--tmpfs <mount>",
      "PATH[:OPTIONS], in memory, as in /run:size=64m,mode=755 (repeatable)",
      collect,
    )
    .option("--read-only", "the root file system takes no writes")
    .option("--shm-size <size>", "size of /dev/shm; default 64m")
    .option("--storage-size <size>", "size of the writable disk, sparse; default 10g")
    .option(
      "--device <device>",
      "/dev/fuse, /dev/kmsg or /dev/hwrng of the machine: PATH[:PATH-IN-CONTAINER][:rwm] (repeatable)",
      collect,
    )
    .option("--device-cgroup-rule <rule>", "allow devices, as in 'c 10:229 rwm' (repeatable)", collect);
}

function addSecurityOptions(command: Command): void {
  command
    .optionsGroup("Security:")
    .option("--cap-add <capability>", "give a capability, or ALL (repeatable)", collect)
    .option("--cap-drop <capability>", "take a capability, or ALL (repeatable)", collect)
    .option(
      "--privileged",
      "all capabilities, no filter, nothing hidden or read-only, every device of the machine",
    )
    .option(
      "--security-opt <option>",
      "no-new-privileges, seccomp=FILE, seccomp=unconfined, systempaths=unconfined (repeatable)",
      collect,
    )
    .option("--sysctl <setting>", "NAME=VALUE of net.*, fs.mqueue.* or System V IPC (repeatable)", collect);
  for (const name of ["ipc", "pid", "uts", "userns", "cgroupns"])
    command.option(`--${name} <mode>`, "only private: a container has a machine of its own");
}

function addHealthOptions(command: Command): void {
  command
    .optionsGroup("Health:")
    .option("--health-cmd <command>", "what is run to see whether the container is well; exit code 0 is well")
    .option("--health-interval <duration>", "time between checks; default 30s")
    .option("--health-timeout <duration>", "how long a check may take; default 30s")
    .option("--health-retries <count>", "failures in a row that mean unhealthy; default 3")
    .option("--health-start-period <duration>", "how long failures do not count in the beginning; default 0s")
    .option("--health-start-interval <duration>", "time between checks in that period; default 5s")
    .option("--no-healthcheck", "no checks, whatever the image says");
}

function addNetworkOptions(command: Command): void {
  command
    .optionsGroup("Network:")
    .option("-h, --hostname <name>", "host name in the container")
    .option("--domainname <name>", "NIS domain name in the container")
    .option(
      "--add-host <host:address>",
      "a line for /etc/hosts; host-gateway is this host's loopback (repeatable)",
      collect,
    )
    .option("--dns <address>", "a name server (repeatable)", collect)
    .option("--dns-search <domain>", "where short names are looked up; '.' is nowhere (repeatable)", collect)
    .option("--dns-option <option>", "an option for resolv.conf, as in ndots:2 (repeatable)", collect)
    .option("-p, --publish <mapping>", "[ADDRESS:]HOST:CONTAINER[/tcp|udp] (repeatable)", collect)
    .option("-P, --publish-all", "publish every exposed port on a free port of this host")
    .option("--expose <port>", "a port or range besides those that the image exposes (repeatable)", collect)
    .option("--mac-address <address>", "of the network interface, as in 02:00:00:12:34:56")
    .option(
      "--network <network>",
      "user, or bridge: outbound through the host; none; the name of a network; or cni:NAME",
      parseNetwork,
    )
    .option("--network-alias <name>", "a further name in its network (repeatable)", collect)
    .option("--ip <address>", "its address in its network")
    .addOption(
      new Option(
        "--egress <policy>",
        "what no rule speaks of: default allow, or deny with --egress-allow",
      ).choices(["allow", "deny"]),
    )
    .option(
      "--egress-allow <rule>",
      "where it may connect to, as in '*.debian.org:443' (repeatable)",
      collect,
    )
    .option("--egress-deny <rule>", "where it may not, whatever else allows it (repeatable)", collect)
    // Docker's shorter names, which many still type.
    .addOption(new Option("--net <network>", "as --network").argParser(parseNetwork).hideHelp())
    .addOption(new Option("--dns-opt <option>", "as --dns-option").argParser(collect).hideHelp());
}

function addMachineOptions(command: Command): void {
  command
    .optionsGroup("Image and machine:")
    .addOption(
      new Option("--pull <when>", "when to ask the registry").choices(["always", "missing", "never"]),
    )
    .option("--verify", "read every byte of the image at each start, and fetch what is damaged again")
    .option("--platform <platform>", "os/architecture[/variant]; default: the host's")
    .option("--insecure", "allow http and unverified TLS for the registry")
    .option("--cpus <count>", "CPUs, as in 2 or 0.5; default 1")
    .option("-c, --cpu-shares <weight>", "2 to 262144, among the machine's processes")
    .option("--cpu-period <microseconds>", "period of the CPU quota; default 100000")
    .option("--cpu-quota <microseconds>", "time of all CPUs together in a period")
    .option("--cpuset-cpus <list>", "CPUs of this host that the machine runs on, as in 0-3,5")
    .option("-m, --memory <size>", "memory of the container, as in 512m or 2g; see below")
    .option(
      "--memory-swap <size>",
      "memory and swap together; there is no swap in a machine, so it only has to fit",
    )
    .option("--memory-reservation <size>", "what the container keeps when memory is short")
    .option("--pids-limit <count>", "processes and threads; -1 is no limit")
    .option("--blkio-weight <weight>", "10 to 1000, among the machine's processes")
    .option("--kernel <file>", "a kernel of your own (bzImage)")
    .option("--no-template", "boot the machine; default: restored from a saved one, made at first use")
    .addOption(
      new Option(
        "--vmm <name>",
        "what runs the machine; default: firecracker where it is and KVM is usable, else qemu",
      ).choices(["firecracker", "qemu"]),
    )
    .option("--require-kvm", "fail rather than run under software emulation");
}

export function declareRunOptions(command: Command): void {
  addProcessOptions(command);
  addLifeOptions(command);
  addDescriptionOptions(command);
  addFileOptions(command);
  addSecurityOptions(command);
  addHealthOptions(command);
  addNetworkOptions(command);
  addMachineOptions(command);
  refuseWithReason(command);
}
