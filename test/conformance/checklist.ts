/** What a container must be given, line by line. Every line has rows in the table; a test holds it to that. */
export const checklist = {
  args: "Entrypoint and Cmd; `--entrypoint` clears Cmd; nothing to run is an error that says so",
  env: "Env over the image's; default PATH; HOME from the image's passwd; HOSTNAME; TERM with a tty",
  user: "User as name, uid, name:group, uid:gid, from the image's files; supplementary groups; `--group-add`",
  workdir: "WorkingDir made when missing; a relative `-w` is refused",
  ends: "StopSignal and its timeout; exit codes: the process's own, 128+n, 125, 126, 127",
  portsAndVolumes:
    "ExposedPorts with `-P`; Volumes: anonymous, seeded from the image, gone with the container",
  health: "Healthcheck: NONE, CMD, CMD-SHELL; interval, timeout, retries, start period",
  labels: "Labels and annotations",
  platform: "Platform chosen from an index; a mismatch is refused; attestation manifests are skipped",
  layers:
    "Layers: compressions, diff IDs, whiteouts, links, xattrs, file capabilities, devices, setuid, names",
  etc: "/etc/hosts, /etc/resolv.conf, /etc/hostname; `--hostname`, `--add-host`, `--dns`",
  dev: "/dev: devices, links, devpts, shm, mqueue",
  kernelFiles: "/proc, /sys and /sys/fs/cgroup; masked and read-only paths",
  capabilities: "the 14 default capabilities; `--cap-add`, `--cap-drop`, `--privileged`",
  seccomp: "the default seccomp profile; `--security-opt`",
  sysctls: "sysctls",
  limits: "`--ulimit`, `--memory`, `--cpus`, `--pids-limit`; an OOM kill reported as such; oom_score_adj",
  processOne: "process 1 of its own pid namespace, out of reach of the agent; orphans reaped; `--init`",
  rootfs: "the root file system: read-only image, writable layer that does not eat memory, gone with `--rm`",
  mounts: "`--read-only`, `--tmpfs`, `-v` and `--mount`",
  streams: "`-i`, `-t`; end of stdin; stdout and stderr apart; window size; signals",
  exec: "exec: its own user, environment, directory, terminal, exit code",
} as const;

export type Line = keyof typeof checklist;
