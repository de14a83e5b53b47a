/** `--user` in its forms: one container each, as a user is a whole process's. */
import type { Group, Row, Shown } from "../row.ts";

const who = 'echo "$(id -u) $(id -g) $(id -G | tr " " "\\n" | sort -n | uniq | tr "\\n" " ")"; echo "$HOME"';

function user(name: string, flags: readonly string[], shows: Shown, more: readonly Row[] = []): Group {
  const row: Row = { line: "user", name: "ids, groups and HOME", script: who, shows };
  return { name, flags, images: ["busybox"], rows: [row, ...more] };
}

export const userGroups: readonly Group[] = [
  {
    name: "-u by name",
    flags: ["-u", "www-data", "-w", "/made/by/root"],
    podman: { flags: ["-u", "www-data"] },
    rows: [
      {
        line: "user",
        name: "ids, groups and HOME",
        script: who,
        shows: { busybox: "33 33 29 33 \n/var/www", debian: "33 33 33 \n/var/www" },
      },
      {
        line: "capabilities",
        name: "none for another user, and the bounding set stays",
        script: "grep -E '^Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status | cut -f2 | tr '\\n' ' '",
        shows: "0000000000000000 0000000000000000 0000000000000000 00000000a80425fb 0000000000000000",
      },
      {
        line: "streams",
        name: "/dev/stdout and /dev/stderr can be opened anew",
        script: "echo one >/dev/stdout; echo two >/dev/stderr",
        shows: "one\ntwo",
      },
      {
        line: "workdir",
        name: "made when missing, root's for any user",
        script: "pwd; stat -c '%a %u:%g' .",
        shows: "/made/by/root\n755 0:0",
        podman: { notRun: "podman refuses a working directory that is not there" },
      },
    ],
  },
  user("-u by number, unknown to the image", ["-u", "1234"], "1234 0 0 \n/"),
  user("-u NAME:GROUP", ["-u", "nobody:audio"], "65534 29 29 \n/"),
  user("-u UID:GID", ["-u", "7:8"], "7 8 8 \n/"),
  user(
    "--group-add",
    ["-u", "33", "--group-add", "tty", "--group-add", "4711"],
    "33 33 5 29 33 4711 \n/var/www",
  ),
];
