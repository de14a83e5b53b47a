/** Images of the table's own: busybox with another config, and a layer on it. */
import type { Variant } from "../support/busybox-variant.ts";
import { entry } from "../support/tar-builder.ts";

const show = `#!/bin/sh
printf '%s|' "$@"
printf '\\nuser %s:%s, in %s, FROM_IMAGE=%s\\n' "$(id -u)" "$(id -g)" "$PWD" "$FROM_IMAGE"
`;

export const variants = {
  /** Says its words, its user, its directory and a variable. */
  "conform-configured": {
    entries: [entry({ name: "bin/show", mode: 0o755 }, show)],
    config: {
      Entrypoint: ["/bin/show", "from entrypoint"],
      Cmd: ["from cmd", "two"],
      Env: ["PATH=/bin:/usr/bin", "FROM_IMAGE=yes"],
      User: "www-data:audio",
      WorkingDir: "/made/by/image",
      Labels: { "org.opencontainers.image.title": "configured", maintainer: "nobody" },
    },
  },
  "conform-nothing": { config: { Cmd: [] } },
  "conform-volumes": {
    entries: [
      entry({ name: "srv/", type: "5", mode: 0o755 }),
      entry({ name: "srv/data/", type: "5", mode: 0o750, uid: 33, gid: 29 }),
      entry({ name: "srv/data/seed", mode: 0o640, uid: 33, gid: 33 }, "from the image\n"),
      entry({ name: "srv/data/link", type: "2", linkName: "seed" }),
    ],
    config: { Volumes: { "/srv/data": {}, "/made/volume": {} } },
  },
} as const satisfies Readonly<Record<string, Variant>>;

/** A seccomp profile in Docker's format: mkdir fails with ENXIO, all else is allowed. */
export const profile = {
  defaultAction: "SCMP_ACT_ALLOW",
  archMap: [{ architecture: "SCMP_ARCH_X86_64", subArchitectures: ["SCMP_ARCH_X86", "SCMP_ARCH_X32"] }],
  syscalls: [{ names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: 6 }],
};
