/** Lines, or parts of them, that other tests show, and what is not here yet. */
import type { Elsewhere, Missing } from "../row.ts";

export const elsewhere: readonly Elsewhere[] = [
  {
    line: "platform",
    name: "a platform's manifest out of an index, and what is no match",
    file: "test/oci/platform.test.ts",
    words: "arm v7 takes v6 when there is no v7",
  },
  {
    line: "platform",
    name: "attestation manifests are skipped",
    file: "test/oci/platform.test.ts",
    words: "not an attestation",
  },
  {
    line: "platform",
    name: "a mismatch is refused, with what there is",
    file: "test/images/pull.test.ts",
    words: "for another platform says so",
  },
  {
    line: "layers",
    name: "every entry of a six-layer image is inside what `umoci unpack` makes",
    file: "test/vm/tree.test.ts",
    words: "is inside the guest what umoci unpacks",
  },
  {
    line: "layers",
    name: "a layer is what its diff ID says",
    file: "test/images/pull.test.ts",
    words: "because a layer is not what the config says",
  },
  {
    line: "env",
    name: "odd variables: none without a name, the last of two",
    file: "test/vm/odd-images.test.ts",
    words: "odd-env",
  },
  {
    line: "portsAndVolumes",
    name: "-p: TCP and UDP, a free port, an address",
    file: "test/vm/network.test.ts",
    words: "published ports",
  },
  {
    line: "portsAndVolumes",
    name: "-P: every port that the image exposes",
    file: "test/vm/real-images.test.ts",
    words: "publishAll",
  },
  {
    line: "ends",
    name: "the image's stop signal, `--stop-signal`, `--stop-timeout` and then KILL",
    file: "test/vm/conformance-ends.test.ts",
    words: "sends the image's StopSignal",
  },
  {
    line: "ends",
    name: "servers end cleanly by their images' stop signals",
    file: "test/vm/real-images.test.ts",
    words: "container.stop(",
  },
  {
    line: "limits",
    name: "an OOM kill is told as one, in process 1 and in another",
    file: "test/vm/conformance-ends.test.ts",
    words: "out of memory",
  },
  {
    line: "health",
    name: "an image's CMD-SHELL: starting, unhealthy after retries, healthy",
    file: "test/vm/conformance-ends.test.ts",
    words: "unhealthy after its retries",
  },
  {
    line: "health",
    name: "CMD, timeout, start period, NONE",
    file: "test/vm/conformance-ends.test.ts",
    words: "failures of the start period do not count",
  },
  {
    line: "streams",
    name: "the window's size, and its changes",
    file: "test/vm/library.test.ts",
    words: "can be written to, resized, signalled and waited for",
  },
  {
    line: "streams",
    name: "megabytes both ways, byte for byte",
    file: "test/vm/run.test.ts",
    words: "megabytes of bytes arrive as they are, both ways",
  },
  {
    line: "streams",
    name: "keys one by one, the window's changes, detach keys, and a terminal that is as it was",
    file: "test/vm/terminal.test.ts",
    words: "and the detach keys leave the container running; attach comes back to it",
  },
  {
    line: "exec",
    name: "`flamebox exec`: streams, user, directory, variables, terminal, exit code",
    file: "test/vm/lifecycle.test.ts",
    words: "has its own streams, user, directory, variables and exit code",
  },
  {
    line: "streams",
    name: "`-d`, and attaching to what runs",
    file: "test/vm/lifecycle.test.ts",
    words: "attaches to what runs, and leaves it",
  },
  {
    line: "rootfs",
    name: "a container that is started again has its files",
    file: "test/vm/lifecycle.test.ts",
    words: "has its files again when it is started again, and its log goes on",
  },
  {
    line: "labels",
    name: "labels and `org.opencontainers.image.…` are annotations of config.json",
    file: "test/runtime-spec/annotations.test.ts",
    words: "labels, which win",
  },
  {
    line: "layers",
    name: "gzip, zstd and none give the same bytes",
    file: "test/rootfs/convert.test.ts",
    words: "gives the same bytes for gzip, zstd and none",
  },
  {
    line: "layers",
    name: "sparse files of a terabyte",
    file: "test/rootfs/convert.test.ts",
    words: "a terabyte of hole costs nothing",
  },
  {
    line: "env",
    name: "PATH where neither image nor user has one",
    file: "test/runtime-spec/generate.test.ts",
    words: "PATH=/usr/local/sbin",
  },
  {
    line: "exec",
    name: "its own user, environment, directory, terminal, streams and exit code, as the guest has them",
    file: "test/vm/exec.test.ts",
    words: "what can be asked for",
  },
  {
    line: "processOne",
    name: "the agent outlives what uses up the kernel, and whoever is held up by a container is let go",
    file: "test/vm/hostile-kernel.test.ts",
    words: "waits for a quarter of a million descriptors",
  },
  {
    line: "rootfs",
    name: "what a container wrote is gone with it",
    file: "test/vm/run.test.ts",
    words: "nothing that an earlier container wrote",
  },
];

export const missing: readonly Missing[] = [
  {
    line: "processOne",
    name: "`>/proc/1/fd/1` with `--init`",
    why: "that init is a copy of the agent's process and closed to the container; /dev/stdout and the like work",
  },
  {
    line: "mounts",
    name: "`--volumes-from`, named volumes",
    why: "a volume is a folder on its container's own disk",
  },
  {
    line: "processOne",
    name: "`--pid host` and its like",
    why: "a machine of its own has nothing of the host's to share",
  },
];
