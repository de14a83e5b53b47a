/** docs/performance.md, out of one run of the benchmarks. */
import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { cpus, totalmem } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { diagnose, locatePaths } from "flamebox";
import { repository } from "../test/support/images/layouts.ts";
import { vmmOptions } from "./floors.ts";
import type { Measurement } from "./measurement.ts";

const GIB = 2 ** 30;

/** What each figure says, for somebody who has not read the benchmark. */
const MEANINGS: Readonly<Record<string, string>> = {
  "image.pull_convert":
    "an image of six layers, pulled from a registry on loopback and made ready to run, against inflating the same layers",
  "image.pull_convert_unverified": "the same with hashing switched off, for the benchmark alone",
  "image.peak_rss_mb": "the memory that takes",
  "image.cached_assembly": "the same image when all its layers are here, against inflating them",
  "image.new_layer":
    "the same image with a seventh layer, when six are here, against inflating that one and the assembly",
  "image.new_layer_fetched": "bytes of layers fetched for it, against the new layer's size",
  "image.pull_convert_zstd": "the six layers in zstd, against the quickest zstd decoder that is here",
  "image.vs_skopeo_umoci": "the pull, against `skopeo copy` and `umoci unpack` of the same image",
  "start.run_true":
    "`flamebox run --rm busybox true`, against a bare restore of the same template and `node -e 0`",
  "start.run_true_vs_podman": "the same, against `podman run --rm` with runc",
  "start.sdk_run_true": "the same from a Node process that runs already, against the bare restore",
  "start.pool_take_exec": "from a pool to the exit of `true`, against the bare restore",
  "start.exec_vs_podman":
    "`flamebox exec` of `true` into a container that runs, against `podman exec` with runc",
  "start.cold": "without a template, against a bare boot of the same kernel and initramfs and `node -e 0`",
  "start.parallel": "80 starts, eight at a time: the 95th percentile against the median of single ones",
  "memory.idle_each":
    "what an idle container takes (VMM, network program, its share of the process that owns it), mean of 50 alive",
  "memory.monitor":
    "the process that keeps a detached container, its share of what several have in common counted once: mean of 8",
  "density.alive": "idle containers that stand at once within 8 GiB, and answer",
  "streams.output": "bytes out of a machine, against `dd` through a pipe",
  "streams.input": "bytes into a machine, against the same",
  "streams.both": "bytes in and out through `cat`, against the same",
  "network.judging":
    "the processor's time for judging frames of 64 KiB, against that for taking them from one socket to another",
  "network.download":
    "64 MiB from a guest to a client of a published port, against the bare pair of QEMU and passt",
  "network.download_loopback": "the same, against a server on the host's loopback",
  "network.upload": "64 MiB from such a client to the guest, against the bare pair",
  "network.upload_loopback": "the same, against loopback",
  "network.outbound": "64 MiB from a guest that connects to the host, against the bare pair",
  "network.outbound_loopback": "the same, against loopback",
  "network.connections":
    "twenty connections to a published port, each to its first answer, against the bare pair",
  "network.connections_loopback": "the same, against loopback",
  "streams.host_growth_mb": "what the host's process grows by meanwhile",
  "streams.host_own_mb": "all memory of the host's process meanwhile, without the program's files (64 MiB)",
};

async function versionOf(program: string, args: readonly string[], pattern: RegExp): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)(program, [...args]);
    return pattern.exec(stdout)?.[1] ?? "?";
  } catch {
    return "not installed";
  }
}

async function describeMachine(): Promise<string> {
  const { machine } = await diagnose({ paths: locatePaths(process.env), ...vmmOptions() });
  const vmm = machine === null ? "no VMM" : `${machine.vmm} ${machine.version}`;
  const way = machine?.acceleration === "kvm" ? "KVM" : "software emulation";
  const podman = await versionOf("podman", ["--version"], /(\d[\d.]*)/);
  const runc = await versionOf("runc", ["--version"], /(\d[\d.]*)/);
  const [processor] = cpus();
  return [
    `${cpus().length} virtual CPUs (${processor?.model.trim() ?? "?"}), ${Math.round(totalmem() / GIB)} GiB of memory,`,
    `Node ${process.versions.node}, ${vmm} with ${way}, podman ${podman}, runc ${runc}.`,
  ].join(" ");
}

function row({ name, value, unit, goal, ok, p95, medianMs, floorMs }: Measurement): string {
  const direction = unit === "machines" ? "≥" : "≤";
  const details = [
    p95 === undefined ? "" : `p95 ${p95}`,
    medianMs === undefined ? "" : `${medianMs.toFixed(0)} ms`,
    floorMs === undefined ? "" : `floor ${floorMs.toFixed(0)} ms`,
  ].filter((part) => part !== "");
  const shown = unit === "ratio" ? String(value) : `${value} ${unit}`;
  return `| \`${name}\` | ${MEANINGS[name] ?? ""} | ${shown} | ${direction} ${goal} | ${ok ? "met" : "**missed**"} | ${details.join(", ")} |`;
}

export async function writeDocument(measurements: readonly Measurement[]): Promise<void> {
  const text = `# Performance

Written by \`npm run bench -- --write\`, which runs all benchmarks and takes some minutes. Ratios are to a floor or a
peer that took turns with the subject in the same run; milliseconds are of the machine below, which other work shared,
and say little about another.

${await describeMachine()}

| figure | what it is | value | goal | | of which |
| --- | --- | --- | --- | --- | --- |
${measurements.map(row).join("\n")}

## Where a start's time goes

Under software emulation, in translating: each piece of the guest's code, kernel or program, is translated when it is
executed for the first time in a VMM's process, and a restored VMM has translated nothing yet. A container that is made
from nothing executes some sixty thousand such pieces; so all of it that does not depend on the image is done before a
template is saved ([decision 0012](decisions/0012-containers-made-beforehand.md)), which leaves some forty thousand. Of
these the image's file system, the overlay and the files that each container gets take a third, executing and ending the
program another, and the rest are the memory that all of it touches first. With KVM nothing is translated.

Tried, and no faster: fewer features of the processor (SMAP, PCID, INVPCID, FSGSBASE, AVX, XSAVE), expedited grace periods,
no preemption, larger and smaller buffers for translations; further security modules and mitigations are off already. A
buffer that is too small for a start would make an idle container smaller, and every larger program slow.

Of an idle container half is translated code, a tenth the guest's own memory, and the rest the VMM's and the network
program's; what it only reads of its template is shared by all.

## On Firecracker

The benchmark \`start\` measures the VMM that FlameBox chooses on its host, against bare restores and boots of the same
one. There was no host with usable KVM; so these are of \`npm run test:firecracker\`, whose suite prints them: Firecracker
1.16.1 in an outer machine with two processors (an EPYC with SVM, in QEMU 7.2's software emulation) and 3 GiB of memory,
Debian's kernel 6.12, as an ordinary user, machines of 256 MiB and one CPU, by turns. The floor is told a machine by raw
requests to the API of a Firecracker that nothing encloses, by a small program of C
(\`test/support/bare-firecracker.c\`).

| ms, to the guest's first answer | count | least | median | most | median to its floor |
| --- | --- | --- | --- | --- | --- |
| bare boot | 20 | 3664 | 3924 | 4625 | |
| boot | 20 | 3711 | 4025 | 4321 | 1.03 |
| bare restore | 20 | 254 | 360 | 511 | |
| restore | 20 | 369 | 484 | 657 | 1.35 |
| container from a template, to the exit of \`true\` | 20 | 1190 | 1590 | 2339 | 4.42 |
| container that boots, to the exit of \`true\` | 7 | 5286 | 5461 | 6025 | 1.39 |

A restore takes an eighth of a boot here.
`;
  await writeFile(join(repository, "docs", "performance.md"), text);
}
