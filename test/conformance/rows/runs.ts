/** Whole runs: exit codes, words, streams, signals, and what is refused. */
import type { Run } from "../row.ts";

const mine = "a machine of its own has nothing of the host's to share";
const script = (text: string): string[] => ["sh", "-c", text];

const words: readonly Run[] = [
  {
    line: "args",
    name: "the image's Entrypoint and Cmd; its user, directory and environment",
    image: "conform-configured",
    code: 0,
    stdout: "from entrypoint|from cmd|two|\nuser 33:29, in /made/by/image, FROM_IMAGE=yes\n",
  },
  {
    line: "args",
    name: "a command replaces Cmd",
    image: "conform-configured",
    words: ["a b", "", "*"],
    code: 0,
    stdout: /^from entrypoint\|a b\|\|\*\|\n/,
  },
  {
    line: "args",
    name: "--entrypoint clears Cmd",
    image: "conform-configured",
    flags: ["--entrypoint", "/bin/show"],
    code: 0,
    stdout: /^\|\n/,
  },
  {
    line: "args",
    name: "--entrypoint '' leaves the command alone",
    image: "conform-configured",
    flags: ["--entrypoint", "", "-e", "FROM_IMAGE=changed", "-u", "0"],
    words: ["show", "alone"],
    code: 0,
    stdout: "alone|\nuser 0:0, in /made/by/image, FROM_IMAGE=changed\n",
  },
  {
    line: "args",
    name: "nothing to run",
    image: "conform-nothing",
    code: 125,
    stdout: "",
    stderr: /no command/i,
  },
  {
    line: "labels",
    name: "a label without a name is refused",
    image: "busybox",
    flags: ["--label", "=x"],
    words: ["true"],
    code: 125,
    stderr: /label/,
  },
];

const ends: readonly Run[] = [
  {
    line: "ends",
    name: "the process's own code; stdout and stderr stay apart",
    image: "busybox",
    words: script("echo out; echo err >&2; exit 7"),
    code: 7,
    stdout: "out\n",
    stderr: "err\n",
  },
  {
    line: "ends",
    name: "126 when the file is no program",
    image: "busybox",
    words: ["/etc/not-executable"],
    code: 126,
    stdout: "",
    stderr: /permission denied|not executable|cannot be executed/i,
  },
  {
    line: "ends",
    name: "127 when the command is not there",
    image: "busybox",
    words: ["no-such-command"],
    code: 127,
    stdout: "",
    stderr: /no-such-command/,
  },
  {
    line: "user",
    name: "125 for a user that the image does not have",
    image: "busybox",
    flags: ["-u", "nobody-knows"],
    words: ["true"],
    code: 125,
    stdout: "",
    stderr: /nobody-knows/,
    podman: { differs: "podman says 126", code: 126 },
  },
  {
    line: "ends",
    name: "128+n when a signal ended the process, through --init too",
    image: "busybox",
    flags: ["--init"],
    words: script("kill -TERM $$; sleep 5"),
    code: 143,
  },
  {
    line: "ends",
    name: "128+n for a fault of process 1",
    image: "debian",
    words: ["python3", "-c", "import ctypes; ctypes.string_at(0)"],
    code: 139,
  },
  {
    line: "limits",
    name: "137 and a word about it when memory runs out",
    image: "debian",
    flags: ["--memory", "64m", "--memory-swap", "64m"],
    words: ["python3", "-c", "blocks = [b'x' * (1 << 20) for _ in range(400)]"],
    code: 137,
    stderr: /out of memory.*64 ?M/i,
    podman: { differs: "podman says it in inspect only", code: 137, stderr: "" },
  },
  {
    line: "ends",
    name: "a signal reaches the process, and its exit code counts",
    image: "busybox",
    words: script("trap 'echo caught; exit 3' TERM; echo ready; while :; do sleep 0.1; done"),
    signal: { name: "SIGTERM", after: "ready" },
    code: 3,
    stdout: "ready\ncaught\n",
  },
  {
    line: "processOne",
    name: "--init hands signals on",
    image: "busybox",
    flags: ["--init"],
    words: script("trap 'echo caught; exit 4' USR1; echo ready; while :; do sleep 0.1; done"),
    signal: { name: "SIGUSR1", after: "ready" },
    code: 4,
    stdout: "ready\ncaught\n",
  },
  {
    line: "streams",
    name: "-i: stdin reaches the process, its end too",
    image: "busybox",
    flags: ["-i"],
    words: script("cat; echo end"),
    input: "one\ntwo",
    code: 0,
    stdout: "one\ntwoend\n",
  },
  {
    line: "portsAndVolumes",
    name: "Volumes of the image: seeded with its content, owners, modes and links",
    image: "conform-volumes",
    words: script(`stat -c '%a %u:%g' /srv/data /srv/data/seed; readlink /srv/data/link; cat /srv/data/seed
      awk '$2 == "/srv/data" || $2 == "/made/volume" { print $2, $3 != "overlay" }' /proc/mounts | sort
      echo new >>/srv/data/seed; wc -l </srv/data/seed`),
    code: 0,
    stdout: "750 33:29\n640 33:33\nseed\nfrom the image\n/made/volume 1\n/srv/data 1\n2\n",
  },
];

/** Told before a machine is started; with podman they share something, or fail later. */
const refused: readonly Run[] = (
  [
    ["mounts", "--volumes-from", "other", /volumes-from/],
    ["processOne", "--pid", "host", /pid/],
    ["processOne", "--ipc", "host", /ipc/],
    ["etc", "--uts", "host", /uts/],
    ["user", "--userns", "host", /userns/],
    ["kernelFiles", "--cgroupns", "host", /cgroupns/],
    ["etc", "--ip", "192.0.2.9", /network with a name/],
    ["dev", "--device", "/dev/sda", /\/dev\/sda/],
    ["workdir", "-w", "relative", /absolute/],
    ["capabilities", "--cap-add", "CAP_FLY", /FLY/],
    ["seccomp", "--security-opt", "seccomp=/nowhere.json", /\/nowhere\.json/],
    ["sysctls", "--sysctl", "kernel.domainname", /sysctl/],
    ["limits", "--ulimit", "nofile=200:100", /ulimit/],
    ["limits", "--memory", "1k", /memory/],
    ["etc", "--hostname", "no space", /hostname/],
    ["ends", "--stop-signal", "SIGNOTHING", /SIGNOTHING/],
    ["health", "--health-interval", "often", /health-interval/],
  ] as const
).map(
  ([line, flag, value, stderr]): Run => ({
    line,
    name: `${flag} ${value} is refused, and said why`,
    image: "busybox",
    flags: [flag, value],
    words: ["true"],
    code: 125,
    stdout: "",
    stderr,
    podman: {
      notRun: ["--pid", "--ipc", "--uts", "--userns", "--cgroupns"].includes(flag)
        ? mine
        : "each tool's own words",
    },
  }),
);

export const runs: readonly Run[] = [...words, ...ends, ...refused];
