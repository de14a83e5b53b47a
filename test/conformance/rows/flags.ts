/** Flags that go together: names, limits, rights, mounts, terminal. One container a group. */
import type { Group } from "../row.ts";

const names: Group = {
  name: "names and environment",
  flags: [
    ["--hostname", "box", "--domainname", "corp.example", "--add-host", "other:192.0.2.7"],
    ["--add-host", "six:2001:db8::7", "--dns", "192.0.2.53", "--dns-search", "corp.example"],
    ["--dns-option", "ndots:3", "-e", "GIVEN=a  b=c", "-e", "PATH=/bin:/usr/bin", "-w", "/made/for/it"],
    ["--env-file", "{envFile}", "--label", "a=b", "--annotation", "org.example.note=yes"],
  ].flat(),
  rows: [
    {
      line: "etc",
      name: "--hostname",
      script: 'hostname; echo $(cat /etc/hostname); echo "$HOSTNAME"',
      shows: "box\nbox\nbox",
    },
    {
      line: "etc",
      name: "--domainname",
      script: "cat /proc/sys/kernel/domainname",
      shows: "corp.example",
      podman: { differs: "podman has no --domainname", shows: "(none)" },
    },
    {
      line: "etc",
      name: "--add-host, both families",
      script: "grep -E 'other|six' /etc/hosts | tr -s '\\t ' '  '",
      shows: "192.0.2.7 other\n2001:db8::7 six",
    },
    {
      line: "etc",
      name: "--dns, --dns-search, --dns-option",
      script: "sort /etc/resolv.conf | grep -v '^#'",
      shows: "nameserver 192.0.2.53\noptions ndots:3\nsearch corp.example",
    },
    {
      line: "env",
      name: "-e, over the image's, spaces and equals signs kept",
      script: 'echo "$GIVEN"; echo "$PATH"',
      shows: "a  b=c\n/bin:/usr/bin",
    },
    {
      line: "env",
      name: "--env-file: comments are not variables, quotes are text",
      script: 'echo "$FROM_FILE"; env | grep "^#" | wc -l',
      shows: '"quoted" # no comment\n0',
    },
    {
      line: "workdir",
      name: "made when missing, root's",
      script: "pwd; stat -c '%a %u:%g' /made/for/it",
      shows: "/made/for/it\n755 0:0",
      podman: { notRun: "podman refuses a working directory that is not there" },
    },
  ],
  podman: {
    flags: [
      ["--hostname", "box", "--add-host", "other:192.0.2.7", "--add-host", "six:2001:db8::7"],
      ["--dns", "192.0.2.53", "--dns-search", "corp.example", "--dns-option", "ndots:3"],
      ["-e", "GIVEN=a  b=c", "-e", "PATH=/bin:/usr/bin"],
      ["--env-file", "{envFile}", "--label", "a=b", "--annotation", "org.example.note=yes"],
    ].flat(),
  },
};

const limits: Group = {
  name: "limits",
  flags: [
    ["--memory", "96m", "--memory-swap", "96m", "--memory-reservation", "48m", "--cpus", "0.5"],
    ["--cpu-shares", "512", "--pids-limit", "64", "--ulimit", "nofile=100:200", "--ulimit", "core=0"],
    ["--shm-size", "16m", "--oom-score-adj", "200", "--sysctl", "kernel.msgmax=16384"],
    ["--sysctl", "net.core.somaxconn=99"],
  ].flat(),
  podman: {
    flags: [
      ["--memory", "96m", "--memory-swap", "96m", "--memory-reservation", "48m", "--cpus", "0.5"],
      ["--cpu-shares", "512", "--pids-limit", "64", "--ulimit", "nofile=100:200", "--ulimit", "core=0"],
      ["--ulimit", "nproc=4096:4096", "--shm-size", "16m", "--oom-score-adj", "200"],
      ["--sysctl", "kernel.msgmax=16384", "--sysctl", "net.core.somaxconn=99"],
    ].flat(),
  },
  rows: [
    {
      line: "limits",
      name: "--memory",
      script: "first /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes",
      shows: "100663296",
    },
    {
      line: "limits",
      name: "--memory-swap equal to --memory: no swap",
      script: "first /sys/fs/cgroup/memory.swap.max /sys/fs/cgroup/memory/memory.memsw.limit_in_bytes",
      shows: "0",
      podman: { differs: "version 1 counts memory and swap together", shows: /^(0|100663296|none of .*)$/ },
    },
    {
      line: "limits",
      name: "--memory-reservation",
      script: "first /sys/fs/cgroup/memory.low /sys/fs/cgroup/memory/memory.soft_limit_in_bytes",
      shows: "50331648",
    },
    {
      line: "limits",
      name: "--cpus, a fraction",
      script: `first /sys/fs/cgroup/cpu.max; cd /sys/fs/cgroup/cpu 2>/dev/null && echo $(cat cpu.cfs_quota_us cpu.cfs_period_us); :`,
      shows: "50000 100000",
      podman: { differs: "version 1 has two files for it", shows: /(^|\n)50000 100000$/ },
    },
    {
      line: "limits",
      name: "--cpu-shares",
      script: "first /sys/fs/cgroup/cpu.weight /sys/fs/cgroup/cpu/cpu.shares",
      shows: "59",
      podman: {
        differs: "version 1 has shares; older releases of runc make another weight of them",
        shows: /^(512|20|59)$/,
      },
    },
    {
      line: "limits",
      name: "--ulimit, soft and hard",
      script: "ulimit -n; ulimit -Hn; ulimit -c; ulimit -Hc",
      shows: "100\n200\n0\n0",
    },
    {
      line: "limits",
      name: "--oom-score-adj",
      script: "cat /proc/1/oom_score_adj",
      shows: "200",
    },
    {
      line: "sysctls",
      name: "--sysctl, of the ipc namespace and of the network",
      script: "cat /proc/sys/kernel/msgmax /proc/sys/net/core/somaxconn",
      shows: "16384\n99",
    },
    {
      line: "dev",
      name: "--shm-size",
      script: "options /dev/shm; df -k /dev/shm | awk 'END { print $2 }'",
      shows: "tmpfs rw,nosuid,nodev,noexec,size=16384k\n16384",
    },
    {
      line: "rootfs",
      name: "twice as much as there is memory can be written to the root",
      script: "dd if=/dev/zero of=/large bs=1M count=192 2>/dev/null; stat -c %s /large; rm /large",
      shows: "201326592",
    },
    {
      line: "limits",
      name: "--pids-limit, and a fork beyond it",
      // The last one: there are no processes left for another.
      script: `first /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max
        (i=0; while [ $i -lt 80 ]; do sleep 60 >/dev/null 2>&1 & i=$((i + 1)); done) 2>&1 | grep -ciE "fork|Resource temporarily"`,
      shows: "64\n1",
    },
  ],
};

const capabilities: Group = {
  name: "capabilities dropped and added",
  flags: [
    ["--cap-drop", "ALL", "--cap-add", "CAP_CHOWN", "--cap-add", "net_admin", "--cap-add", "SETUID"],
    ["--security-opt", "no-new-privileges"],
  ].flat(),
  rows: [
    {
      line: "capabilities",
      name: "--cap-drop ALL with three added",
      script: "grep -E '^Cap(Prm|Eff|Bnd)' /proc/self/status | cut -f2 | sort -u",
      shows: "0000000000001081",
    },
    {
      line: "capabilities",
      name: "what is left can be done, what is not cannot",
      script: `echo >/tmp/f; chown 7 /tmp/f; stat -c %u /tmp/f; refused chmod 600 /tmp/f; refused mknod /tmp/n c 1 3`,
      shows: "7\nrefused\nrefused",
    },
    {
      line: "seccomp",
      name: "--security-opt no-new-privileges",
      script: "grep NoNewPrivs /proc/self/status | cut -f2",
      shows: "1",
    },
    {
      line: "layers",
      name: "set-user-ID programs gain nothing with no-new-privileges",
      images: ["debian"],
      script: `cp /usr/bin/id /tmp/id-of-root; chmod 4755 /tmp/id-of-root
        setpriv --reuid=33 /tmp/id-of-root -u`,
      shows: "33",
    },
  ],
};

const allCapabilities: Group = {
  name: "all capabilities but one, no seccomp",
  flags: [
    ["--cap-add", "ALL", "--cap-drop", "mknod", "--security-opt", "seccomp=unconfined"],
    ["--security-opt", "systempaths=unconfined", "--security-opt", "apparmor=unconfined"],
    ["--security-opt", "label=disable"],
  ].flat(),
  images: ["debian"],
  podman: {
    flags: [
      ["--cap-add", "ALL", "--cap-drop", "mknod", "--security-opt", "seccomp=unconfined"],
      ["--security-opt", "unmask=ALL"],
    ].flat(),
  },
  rows: [
    {
      line: "capabilities",
      name: "--cap-add ALL --cap-drop mknod",
      script: "grep ^CapBnd /proc/self/status | cut -f2; refused mknod /tmp/n c 1 3",
      shows: "000001fff7ffffff\nrefused",
      podman: {
        differs: "podman gives what it has been given itself",
        shows: /^000001ff[0-9a-f]{8}\nrefused$/,
      },
    },
    {
      line: "seccomp",
      name: "seccomp=unconfined",
      script: "grep ^Seccomp: /proc/self/status | cut -f2; unshare -U -r id -u",
      shows: "0\n0",
    },
    {
      line: "kernelFiles",
      name: "systempaths=unconfined: nothing masked, nothing read-only",
      script: "grep ' /proc/' /proc/mounts | wc -l; refused sh -c 'echo 128 >/proc/sys/net/core/somaxconn'",
      shows: "0\nallowed",
    },
    {
      line: "capabilities",
      name: "CAP_SYS_ADMIN mounts",
      script: "mount -t tmpfs none /mnt && options /mnt | cut -d, -f1",
      shows: "tmpfs rw",
    },
  ],
};

const privileged: Group = {
  name: "--privileged",
  flags: ["--privileged"],
  rows: [
    {
      line: "capabilities",
      name: "all that the kernel has",
      script: `grep -E '^Cap(Prm|Eff|Bnd)' /proc/self/status | cut -f2 | sort -u`,
      shows: "000001ffffffffff",
      podman: { differs: "podman gives what it has been given itself", shows: /^000001ff[0-9a-f]{8}$/ },
    },
    {
      line: "seccomp",
      name: "no filter",
      script: "grep ^Seccomp: /proc/self/status | cut -f2",
      shows: "0",
    },
    {
      line: "kernelFiles",
      name: "/sys and the control groups can be written, nothing is masked",
      script: `options /sys | cut -d, -f1; options /sys/fs/cgroup | cut -d, -f1; grep ' /proc/' /proc/mounts | wc -l`,
      shows: "sysfs rw\ncgroup2 rw\n0",
      podman: {
        differs: "a host may have control groups of version 1",
        shows: /^sysfs rw\n(cgroup2|tmpfs) rw\n0$/,
      },
    },
    {
      line: "capabilities",
      name: "file systems can be mounted, kernel parameters set",
      script: `mkdir -p /m; mount -t tmpfs none /m && options /m | cut -d, -f1
        cat /proc/sys/kernel/msgmnb >/proc/sys/kernel/msgmnb && echo set`,
      shows: "tmpfs rw\nset",
    },
    {
      line: "dev",
      name: "the kernel's devices, and any other",
      script: "[ -c /dev/kmsg ] && mknod /tmp/mem c 1 11 && : </tmp/mem && echo opened",
      shows: "opened",
      podman: {
        differs: "the kernel of the test's host may refuse it",
        shows: /^(opened|.*(not permitted|denied|No such).*)?$/i,
      },
    },
  ],
};

const readOnly: Group = {
  name: "--read-only",
  flags: ["--read-only", "--tmpfs", "/scratch:size=1m,mode=1770", "--tmpfs", "/run"],
  rows: [
    {
      line: "mounts",
      name: "--read-only",
      script: "options / | cut -d, -f1; refused touch /x; refused touch /etc/x",
      shows: "overlay ro\nrefused\nrefused",
    },
    {
      line: "mounts",
      name: "--tmpfs with options: size and mode; noexec, nosuid and nodev unless said otherwise",
      script: "options /scratch; stat -c %a /scratch",
      shows: "tmpfs rw,nosuid,nodev,noexec,size=1024k,mode=1770\n1770",
      podman: {
        differs: "podman's is not noexec",
        shows: "tmpfs rw,nosuid,nodev,size=1024k,mode=1770\n1770",
      },
    },
    {
      line: "mounts",
      name: "--tmpfs is full at its size",
      script: "dd if=/dev/zero of=/scratch/file bs=4k count=1000 2>/dev/null || stat -c %s /scratch/file",
      shows: "1048576",
    },
    {
      line: "mounts",
      name: "--tmpfs without options",
      script: "options /run | cut -d, -f1-4; echo text >/run/x && cat /run/x",
      shows: "tmpfs rw,nosuid,nodev,noexec\ntext",
      podman: { differs: "podman's is not noexec", shows: /^tmpfs rw,nosuid,nodev(,\S+)?\ntext$/ },
    },
    {
      line: "mounts",
      name: "/dev and /dev/shm can still be written",
      script: "touch /dev/shm/x /dev/x && ls /dev/shm",
      shows: "x",
    },
    {
      line: "etc",
      name: "/etc/hosts is there",
      script: "grep -c localhost /etc/hosts | grep -cv '^0'",
      shows: "1",
    },
  ],
};

const binds: Group = {
  name: "binds and volumes",
  flags: [
    ["-v", "{folder}:/bound", "-v", "{folder}:/bound-ro:ro"],
    ["-v", "{file}:/etc/one-file:ro", "-v", "/anonymous"],
    ["--mount", "type=bind,source={folder},target=/mounted,readonly"],
    ["--mount", "type=tmpfs,destination=/fast,tmpfs-size=2m,tmpfs-mode=0700"],
    ["--mount", "type=volume,dst=/volume"],
  ].flat(),
  rows: [
    {
      line: "mounts",
      name: "-v FOLDER",
      script:
        "cat /bound/from-host; echo inside >/bound/$$-new && cat /bound/$$-new && rm /bound/$$-new; ls /bound/sub",
      shows: "from the host\ninside\ndeep",
    },
    {
      line: "mounts",
      name: "-v FOLDER:ro",
      script: "cat /bound-ro/from-host; refused touch /bound-ro/x; options /bound-ro | grep -oE ' ro,'",
      shows: "from the host\nrefused\n ro,",
    },
    {
      line: "mounts",
      name: "-v of a single file",
      script: "cat /etc/one-file; refused sh -c 'echo >/etc/one-file'; [ -f /etc/one-file ] && echo file",
      shows: "one file\nrefused\nfile",
    },
    {
      line: "mounts",
      name: "--mount type=bind,readonly",
      script: "cat /mounted/from-host; refused touch /mounted/x",
      shows: "from the host\nrefused",
    },
    {
      line: "mounts",
      name: "--mount type=tmpfs",
      script: "options /fast | grep -oE '(tmpfs|size=[0-9a-z]*)' | tr '\\n' ' '; stat -c %a /fast",
      shows: "tmpfs size=2048k 700",
    },
    {
      line: "portsAndVolumes",
      name: "-v PATH, --mount type=volume: a file system of its own",
      script:
        "for at in /anonymous /volume; do stat -c '%a %u:%g' $at; options $at | grep -c overlay; echo x >$at/x && cat $at/x; done",
      shows: "755 0:0\n0\nx\n755 0:0\n0\nx",
    },
  ],
};

const init: Group = {
  name: "--init",
  flags: ["--init"],
  rows: [
    {
      line: "processOne",
      name: "an init is process 1, the command its child",
      script: `[ "$(cat /proc/1/comm)" != sh ] && echo other; echo "$PPID"; [ $$ != 1 ] && echo child`,
      shows: "other\n1\nchild",
    },
    {
      line: "processOne",
      name: "orphans are reaped",
      script: `i=0; while [ $i -lt 5 ]; do sh -c 'sleep 0.1 & exec true'; i=$((i + 1)); done; sleep 1
        cat /proc/[0-9]*/stat 2>/dev/null | awk '$3 == "Z"' | wc -l`,
      shows: "0",
    },
    {
      line: "processOne",
      name: "no further right for the command",
      script: "grep CapEff /proc/self/status | cut -f2",
      shows: "00000000a80425fb",
    },
  ],
};

const terminal: Group = {
  name: "-t",
  flags: ["-t"],
  rows: [
    {
      line: "streams",
      name: "a terminal on all three",
      script: "tty <&1; test -t 1 && echo yes",
      shows: "/dev/pts/0\nyes",
    },
    { line: "env", name: "TERM", script: 'echo "$TERM"', shows: "xterm" },
    {
      line: "dev",
      name: "/dev/console is the terminal",
      script: "stat -c '%F %a' /dev/console; stat -c '%t:%T' /dev/console",
      shows: "character special file 620\n88:0",
    },
    {
      line: "streams",
      name: "it is the session's controlling terminal",
      script: "awk '{ print $7 != 0 }' /proc/1/stat; echo to-tty >/dev/tty",
      shows: "1\nto-tty",
    },
    {
      line: "streams",
      name: "a size",
      script: "stty size </dev/tty",
      shows: /^[1-9]\d* [1-9]\d*$/,
      podman: { notRun: "podman leaves it empty when there is no terminal on its side" },
    },
  ],
};

const noNetwork: Group = {
  name: "--network none",
  flags: ["--network", "none", "--security-opt", "seccomp={profile}", "--device", "/dev/fuse"],
  images: ["busybox"],
  rows: [
    {
      line: "etc",
      name: "only loopback with --network none",
      script: "ls /sys/class/net; cat /sys/class/net/lo/flags",
      shows: "lo\n0x9",
    },
    {
      line: "seccomp",
      name: "seccomp=FILE: mkdir fails as the profile says",
      script:
        "grep ^Seccomp: /proc/self/status | cut -f2; mkdir /tmp/x 2>&1 | grep -o 'No such device or address'",
      shows: "2\nNo such device or address",
    },
    {
      line: "dev",
      name: "--device /dev/fuse",
      script: "stat -c '%F %t:%T' /dev/fuse; : <>/dev/fuse && echo opened",
      shows: "character special file a:e5\nopened",
    },
  ],
};

export const flagGroups: readonly Group[] = [
  names,
  limits,
  capabilities,
  allCapabilities,
  privileged,
  readOnly,
  binds,
  init,
  terminal,
  noNetwork,
];
