/** A container that was asked for nothing: what it finds. */
import type { Group } from "../row.ts";

const ownPodman = "podman's own default; Docker's is the row's";

export const defaults: Group = {
  name: "by default",
  flags: [],
  rows: [
    {
      line: "env",
      name: "HOME is root's, from the image's passwd",
      script: 'echo "$HOME"',
      shows: "/root",
    },
    {
      line: "env",
      name: "PATH is the image's",
      script: 'echo "$PATH"',
      shows: {
        busybox: "/bin:/sbin:/usr/bin:/usr/sbin",
        debian: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
      },
    },
    {
      line: "env",
      name: "HOSTNAME is the host name, twelve hexadecimal digits",
      script: 'echo "$HOSTNAME"; [ "$HOSTNAME" = "$(cat /proc/sys/kernel/hostname)" ]',
      shows: /^[0-9a-f]{12}$/,
    },
    {
      line: "env",
      name: "no other variable is set",
      script: "tr '\\0' '\\n' </proc/1/environ | sed 's/=.*//' | sort | tr '\\n' ' '",
      shows: { busybox: "HOME HOSTNAME IMAGE_SAYS PATH", debian: "HOME HOSTNAME LANG PATH" },
      podman: {
        differs: "podman sets TERM without a terminal too, and says in container= what it is",
        shows: {
          busybox: "HOME HOSTNAME IMAGE_SAYS PATH TERM container",
          debian: "HOME HOSTNAME LANG PATH TERM container",
        },
      },
    },
    { line: "user", name: "root", script: "echo $(id -u) $(id -g) $(id -G)", shows: "0 0 0" },
    { line: "workdir", name: "the image's", script: "pwd", shows: "/" },
    {
      line: "etc",
      name: "/etc/hosts has localhost and the container's own name",
      script: `grep -c '^127.0.0.1[[:space:]].*localhost' /etc/hosts
        grep -w "$(cat /proc/sys/kernel/hostname)" /etc/hosts | grep -cv '^#'`,
      shows: "1\n1",
    },
    {
      line: "etc",
      name: "/etc/hostname has the host name",
      script: '[ "$(cat /etc/hostname)" = "$(cat /proc/sys/kernel/hostname)" ] && echo same',
      shows: "same",
    },
    {
      line: "etc",
      name: "/etc/resolv.conf has a name server",
      script: "grep -c '^nameserver [0-9]' /etc/resolv.conf",
      shows: /^[1-9]$/,
    },
    {
      line: "etc",
      name: "the three files can be written",
      script: "for name in hosts hostname resolv.conf; do echo '# mine' >>/etc/$name && echo $name; done",
      shows: "hosts\nhostname\nresolv.conf",
    },
    {
      line: "dev",
      name: "the six devices, with their numbers, modes and owners",
      script: "cd /dev; stat -c '%n %F %a %t:%T %u:%g' null zero full random urandom tty",
      shows: [
        "null character special file 666 1:3 0:0",
        "zero character special file 666 1:5 0:0",
        "full character special file 666 1:7 0:0",
        "random character special file 666 1:8 0:0",
        "urandom character special file 666 1:9 0:0",
        "tty character special file 666 5:0 0:0",
      ].join("\n"),
    },
    {
      line: "dev",
      name: "the links",
      script: "cd /dev; for name in fd stdin stdout stderr ptmx; do echo $name $(readlink $name); done",
      shows:
        "fd /proc/self/fd\nstdin /proc/self/fd/0\nstdout /proc/self/fd/1\nstderr /proc/self/fd/2\nptmx pts/ptmx",
    },
    {
      line: "dev",
      // runc links core to /proc/kcore, libcontainer kcore; both are masked.
      name: "nothing else, but for a link to the masked /proc/kcore; no console without a terminal",
      script: "ls /dev | grep -vxE 'k?core' | tr '\\n' ' '",
      shows: "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero",
    },
    {
      line: "dev",
      name: "/dev is a small tmpfs",
      script: "options /dev",
      shows: "tmpfs rw,nosuid,size=65536k,mode=755",
      podman: { differs: "podman mounts it noexec", shows: "tmpfs rw,nosuid,noexec,size=65536k,mode=755" },
    },
    {
      line: "dev",
      name: "/dev/pts is its own, for group 5",
      script: "options /dev/pts; ls /dev/pts",
      shows: "devpts rw,nosuid,noexec,gid=5,mode=620,ptmxmode=666\nptmx",
    },
    {
      line: "dev",
      name: "a terminal can be opened in it",
      images: ["debian"],
      script: `python3 -c 'import os; a, b = os.openpty(); print(os.ttyname(b), oct(os.fstat(b).st_mode), os.fstat(b).st_gid)'`,
      shows: "/dev/pts/0 0o20620 5",
    },
    {
      line: "dev",
      name: "/dev/shm has 64 MiB and mode 1777",
      script: "options /dev/shm; stat -c %a /dev/shm",
      shows: "tmpfs rw,nosuid,nodev,noexec,size=65536k\n1777",
      podman: {
        differs: "podman counts 64 MB in thousands",
        shows: "tmpfs rw,nosuid,nodev,noexec,size=64000k\n1777",
      },
    },
    {
      line: "dev",
      name: "message queues",
      script: "options /dev/mqueue; stat -c %a /dev/mqueue",
      shows: "mqueue rw,nosuid,nodev,noexec\n1777",
    },
    {
      line: "kernelFiles",
      name: "/proc",
      script: "options /proc",
      shows: "proc rw,nosuid,nodev,noexec",
    },
    {
      line: "kernelFiles",
      name: "/sys is read-only",
      script: "options /sys; refused touch /sys/fs/x",
      shows: "sysfs ro,nosuid,nodev,noexec\nrefused",
    },
    {
      line: "kernelFiles",
      name: "/sys/fs/cgroup is version 2, and read-only",
      script: "options /sys/fs/cgroup; refused mkdir /sys/fs/cgroup/below",
      shows: "cgroup2 ro,nosuid,nodev,noexec\nrefused",
      podman: {
        differs: "a host may have control groups of version 1",
        shows: /^(cgroup2 ro|tmpfs r[ow]),nosuid,nodev,noexec\S*\n(refused|allowed)$/,
      },
    },
    {
      line: "kernelFiles",
      name: "its control group is the root that it sees",
      script: "cat /proc/self/cgroup",
      shows: "0::/",
      podman: { differs: "a host may have control groups of version 1", shows: /^(0::\/$|\d+:)/ },
    },
    {
      line: "kernelFiles",
      name: "masked paths are empty",
      script: `for path in /proc/asound /proc/acpi /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list \\
          /proc/timer_stats /proc/sched_debug /proc/scsi /sys/firmware /sys/devices/virtual/powercap; do
        if [ -d $path ]; then ls -A $path; elif [ -e $path ]; then [ -z "$(head -c 1 $path | tr '\\0' x)" ] || echo "$path"; fi
      done`,
      shows: "",
      podman: {
        differs: "podman 4 does not mask interrupts; Docker 28 does",
        shows: /^(\/proc\/interrupts)?$/,
      },
    },
    {
      line: "kernelFiles",
      name: "read-only paths are that, with root's capabilities too",
      script: `for path in /proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger; do
          [ -e $path ] && options $path | grep -q '^proc ro' || { [ -e $path ] && echo "$path can be written"; }
        done
        refused sh -c 'echo 5 >/proc/sys/kernel/printk'`,
      shows: "refused",
    },
    {
      line: "capabilities",
      name: "the fourteen: effective, permitted, bounding; none inheritable or ambient",
      script: "grep ^Cap /proc/self/status | tr '\\t' ' '",
      shows: [
        "CapInh: 0000000000000000",
        "CapPrm: 00000000a80425fb",
        "CapEff: 00000000a80425fb",
        "CapBnd: 00000000a80425fb",
        "CapAmb: 0000000000000000",
      ].join("\n"),
    },
    {
      line: "capabilities",
      name: "no mount and no other host name without CAP_SYS_ADMIN",
      script: `mkdir -p /tmp/m; refused mount -t tmpfs none /tmp/m; refused hostname other`,
      shows: "refused\nrefused",
    },
    {
      line: "capabilities",
      name: "device nodes can be made; only the usual ones opened",
      script: `mknod /tmp/null c 1 3; echo x >/tmp/null && echo written; mknod /tmp/kmsg c 1 11
        refused head -c 1 /tmp/kmsg; mknod /tmp/disk b 254 0; refused head -c 1 /tmp/disk`,
      shows: "written\nrefused\nrefused",
    },
    {
      line: "capabilities",
      name: "files' owners and modes, set-user-ID bits, other processes",
      script: `echo >/tmp/f; chown 1234:5678 /tmp/f; chmod 6755 /tmp/f; stat -c '%u:%g %a' /tmp/f`,
      shows: "1234:5678 6755",
    },
    {
      line: "seccomp",
      name: "a filter, and privileges can be gained",
      script: "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status | tr '\\t' ' '",
      shows: "NoNewPrivs: 0\nSeccomp: 2",
    },
    {
      line: "seccomp",
      name: "user namespaces are refused",
      script: "unshare -U true 2>&1 | grep -o 'Operation not permitted'; :",
      shows: "Operation not permitted",
      podman: { differs: "podman's profile allows them; Docker's does not", shows: "" },
    },
    {
      line: "sysctls",
      name: "every port can be bound by everybody",
      script: "cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
      shows: "0",
      podman: { differs: ownPodman, shows: "1024" },
    },
    {
      line: "sysctls",
      name: "everybody may ping",
      script: "cat /proc/sys/net/ipv4/ping_group_range | tr '\\t' ' '",
      shows: "0 2147483647",
      podman: { differs: ownPodman, shows: /^[01] 0$/ },
    },
    {
      line: "limits",
      name: "open files",
      script: "ulimit -n; ulimit -Hn",
      shows: "1048576\n1048576",
      podman: { differs: "set in its containers.conf", shows: "1024\n1024" },
    },
    {
      line: "limits",
      name: "oom_score_adj",
      script: "cat /proc/self/oom_score_adj",
      shows: "0",
    },
    {
      line: "limits",
      name: "umask",
      script: "umask",
      shows: "0022",
    },
    {
      line: "processOne",
      name: "the command is process 1, leader of session and group, with no parent",
      script: `echo $$; awk '{ print $4, $5, $6 }' /proc/1/stat`,
      shows: "1\n0 1 1",
    },
    {
      line: "processOne",
      name: "there are only its own processes",
      script: `for dir in /proc/[0-9]*; do cat $dir/comm 2>/dev/null; done | grep -vxE 'sh|cat|grep|awk|sort' | sort -u`,
      shows: "",
    },
    {
      line: "processOne",
      name: "it inherits no file but the three streams",
      script: "ls /proc/1/fd | sort -n | tr '\\n' ' '",
      shows: "0 1 2",
    },
    {
      line: "processOne",
      name: "no signal is blocked or ignored",
      script: "grep -E '^Sig(Blk|Ign)' /proc/self/status | tr '\\t' ' '",
      shows: "SigBlk: 0000000000000000\nSigIgn: 0000000000000000",
    },
    {
      line: "processOne",
      name: "root of process 1 is the container's; the agent's tree is not there",
      script: `[ "$(stat -c %i /proc/1/root/)" = "$(stat -c %i /)" ] && echo same
        ls -d /init /proc/1/root/init /.flamebox 2>/dev/null || :`,
      shows: "same",
    },
    {
      line: "streams",
      name: "process 1's output can be opened by others, as jobs without one of their own do",
      script: "echo text >/proc/1/fd/1",
      shows: "text",
    },
    {
      line: "streams",
      name: "stdin is /dev/null without -i",
      script: "cat | wc -c; readlink /proc/1/fd/0",
      shows: "0\n/dev/null",
    },
    {
      line: "rootfs",
      name: "an overlay that can be written",
      script: `options / | cut -d, -f1; echo text >/etc/new && cat /etc/new && rm /etc/passwd && ls /etc/passwd 2>&1 | grep -c 'No such'`,
      shows: "overlay rw\ntext\n1",
    },
    {
      line: "layers",
      name: "set-user-ID programs are",
      images: ["debian"],
      script: `cp /usr/bin/id /tmp/id-of-root; chmod 4755 /tmp/id-of-root
        setpriv --reuid=33 --regid=33 --clear-groups /tmp/id-of-root -u`,
      shows: "0",
    },
    {
      line: "layers",
      name: "file capabilities give what they say",
      images: ["debian"],
      script: `cp /bin/grep /tmp/grep
        python3 -c 'import os; os.setxattr("/tmp/grep", "security.capability", bytes.fromhex("0100000200040000") + bytes(12))'
        setpriv --reuid=33 --regid=33 --clear-groups /tmp/grep ^CapEff /proc/self/status | tr '\\t' ' '`,
      shows: "CapEff: 0000000000000400",
    },
  ],
};
