/**
 * An outer machine, in which KVM works: QEMU in software emulation gives its guest's processor SVM, and the guest
 * loads KVM. FlameBox boots it as it boots every machine, and a privileged container in it runs what is to be tested.
 *
 *     image: Debian + one layer with /opt/flamebox     node, the sources, the tests, node_modules, the agent
 *                                                     (built), kernels/, firecracker, jailer
 *     boot:  the kernel's own modules + kvm-amd, tun, …
 */
import { execFile } from "node:child_process";
import { access, cp, mkdir, mkdtemp, readFile, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { acquireImage } from "../../src/container/acquire.ts";
import { openHome } from "../../src/container/home.ts";
import { requireAgent } from "../../src/container/host.ts";
import type { Host } from "../../src/container/host.ts";
import type { RunningContainer } from "../../src/container/options.ts";
import { startOn } from "../../src/container/start.ts";
import { downloadKernel } from "../../src/machine/kernel/debian-package.ts";
import { buildInitramfs } from "../../src/machine/kernel/initramfs.ts";
import type { Kernel } from "../../src/machine/kernel/store.ts";
import { findKernel } from "../../src/machine/kernel/kernel.ts";
import type { MachineDriver } from "../../src/machine/machine.ts";
import { GUEST_MODULES } from "../../src/machine/kernel/modules.ts";
import { qemuDriver } from "../../src/machine/qemu/qemu.ts";
import { writeFileAtomic } from "../../src/util/atomic-file.ts";
import { CleanupStack } from "../../src/util/cleanup.ts";
import type { Paths } from "../../src/util/paths.ts";
import { locatePaths } from "../../src/util/paths.ts";
import { compile } from "../support/compile.ts";
import { layout, repository } from "../support/images/layouts.ts";
import { startRegistry } from "../support/registry.ts";

const run = promisify(execFile);
const cacheDir = join(repository, ".cache", "nested");

/** Of the outer machine's kernel, besides what a guest of FlameBox's has. */
const OUTER_MODULES = ["kvm_amd", "tun", "dummy"];
/** What FlameBox uses inside, and what its tests look with. */
const PACKAGES = "iproute2,passt,e2fsprogs,procps,zstd";
/** Of node_modules, what no test needs to run. */
const LEFT_OUT = [
  "@biomejs",
  "@oxlint",
  "@oxlint-tsgolint",
  "oxlint",
  "oxlint-tsgolint",
  "typescript",
  "@types",
];
/** With all that QEMU can emulate, five levels of page tables among it, the outer kernel died now and then. */
const PROCESSOR = "EPYC,+svm,+npt,+nrip-save";
/** Two cores are all that most hosts of this test have; the tests and their machine take one each. */
const CPUS = 2;
const MEMORY_MIB = 3_072;
const BOOT_DEADLINE_MS = 180_000;

/** Debian's kernel of the release that is installed, with the modules of an outer machine. */
async function outerKernel(installed: Kernel): Promise<Kernel> {
  const dir = join(cacheDir, installed.release);
  const load = async (): Promise<Kernel> => {
    const { release, modules } = JSON.parse(await readFile(join(dir, "kernel.json"), "utf8")) as Kernel;
    const paths = { path: join(dir, "vmlinuz"), moduleDir: join(dir, "modules") };
    return { name: release, release, kind: "debian", ...paths, modules };
  };
  const isThere = await access(join(dir, "kernel.json")).then(
    () => true,
    () => false,
  );
  if (isThere) return await load();
  await mkdir(cacheDir, { recursive: true });
  const temporary = await mkdtemp(join(cacheDir, ".new-"));
  try {
    const { release, modules } = await downloadKernel(temporary, {
      packageName: `linux-image-${installed.release}`,
      modules: [...GUEST_MODULES, ...OUTER_MODULES],
      onProgress: () => {},
    });
    await writeFileAtomic(join(temporary, "kernel.json"), JSON.stringify({ release, modules }));
    await rename(temporary, dir);
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
  return await load();
}

async function outerHost(work: string, kernel: Kernel, agentPath: string): Promise<Host> {
  const initramfsPath = join(work, "outer.cpio");
  const modules = await Promise.all(
    kernel.modules.map(async (name) => ({ name, data: await readFile(join(kernel.moduleDir, name)) })),
  );
  await writeFileAtomic(initramfsPath, buildInitramfs({ agent: await readFile(agentPath), modules }));
  const boot = { kernelPath: kernel.path, initramfsPath };
  const kvm = { usable: false, reason: "this machine is the one that is to have it" };
  const driver = tellingOfPanics(qemuDriver({ acceleration: "tcg", processor: PROCESSOR }));
  return { driver, boot, kernel, kvm };
}

/** The end of a console that is told in an error begins behind what a kernel says first when it panics. */
function tellingOfPanics(driver: MachineDriver): MachineDriver {
  const start: MachineDriver["start"] = async (...given) => {
    const machine = await driver.start(...given);
    const tell = (): void => {
      const { console } = machine.diagnostics();
      if (console.includes("Kernel panic"))
        process.stderr.write(`the outer machine's console:\n${console}\n`);
    };
    void machine.exited.then(tell);
    return machine;
  };
  return { ...driver, start };
}

/** Fills `root` with /opt/flamebox. */
async function fillPayload(root: string, payload: Payload): Promise<void> {
  const { home, agentPath, firecracker } = payload;
  const target = join(root, "opt", "flamebox");
  await mkdir(target, { recursive: true });
  const leave = new Set(LEFT_OUT.map((name) => join(repository, "node_modules", name)));
  for (const name of [
    "src",
    "dist",
    "test",
    "protocol",
    "package.json",
    "package-lock.json",
    "vitest.config.ts",
  ])
    await cp(join(repository, name), join(target, name), { recursive: true });
  await cp(join(repository, "node_modules"), join(target, "node_modules"), {
    recursive: true,
    verbatimSymlinks: true,
    filter: (source) => !leave.has(source),
  });
  const agent = join(target, "guest", "target", "x86_64-unknown-linux-gnu", "release", "flamebox-agent");
  await mkdir(dirname(agent), { recursive: true });
  await cp(agentPath, agent);
  await cp(join(home.dataDir, "kernels"), join(target, "home", "data", "kernels"), { recursive: true });
  await mkdir(join(target, "bin"));
  await run("strip", ["-o", join(target, "bin", "node"), process.execPath]);
  await cp(firecracker, join(target, "bin", "firecracker"));
  const jailer = join(dirname(firecracker), "jailer");
  await cp(jailer, join(target, "bin", "jailer")).catch(() => {});
  // There is no compiler inside.
  for (const program of ["bare-firecracker", "hold-kvm"]) await compile(program, join(target, "bin"));
}

interface Payload {
  readonly home: Paths;
  readonly agentPath: string;
  readonly firecracker: string;
  /** Images for the tests. */
  readonly images: readonly string[];
}

/** A layout of one image, with the tag `outer`. */
async function makeLayout(work: string, payload: Payload): Promise<string> {
  const base = join(repository, ".cache", "images", "outer");
  await run("bash", [join(repository, "scripts", "debian-image.sh"), base, PACKAGES]);
  const [dir, root, tar] = [join(work, "layout"), join(work, "root"), join(work, "payload.tar")];
  await fillPayload(root, payload);
  for (const image of payload.images) await pullInto(root, image);
  await run("tar", [`--owner=${USER}`, `--group=${USER}`, "-C", root, "-cf", tar, "opt"]);
  await cp(base, dir, { recursive: true });
  await run("umoci", ["raw", "add-layer", "--image", `${dir}:12`, "--tag", "outer", tar]);
  return dir;
}

/** The image, pulled, in /opt/flamebox/home. */
async function pullInto(root: string, reference: string): Promise<void> {
  const paths = locatePaths({ FLAMEBOX_HOME: join(root, "opt", "flamebox", "home") });
  await using store = await openHome({ paths });
  await acquireImage(store, reference, { dockerConfig: null });
}

/** Who runs what is to be tested first, and owns /opt/flamebox: FlameBox needs no root. */
const USER = 1000;
export const AS_USER = `setpriv --reuid ${USER} --regid ${USER} --clear-groups --inh-caps=-all --bounding-set=-all`;

/**
 * A virtual machine that does nothing. With the first one that is made, and the last one that ends, KVM has the kernel
 * rewrite instructions of its scheduler while both processors run; an emulator that translates code has been seen to execute
 * one half written, and the outer machine was lost. It is lost more rarely with this. 0xAE01 is KVM_CREATE_VM.
 */
const LASTING_VM = `perl -e 'open(my $kvm, "+<", "/dev/kvm") or die; ioctl($kvm, 0xAE01, 0) or die; sleep' </dev/null >/dev/null 2>&1`;

/**
 * What a host has and no container of FlameBox's: nodes of the outer kernel's devices, with the modes that Debian
 * gives them, and a network interface with addresses, one of them link-local, and a route, which passt looks for.
 */
const SURROUNDINGS = [
  "mkdir -p /dev/net",
  "mknod -m 666 /dev/kvm c 10 232",
  "mknod -m 666 /dev/net/tun c 10 200",
  `{ ${LASTING_VM} & }`,
  "ip link add lan0 type dummy",
  "ip address add 192.0.2.1/24 dev lan0",
  "ip address add 169.254.77.1/16 dev lan0",
  "ip link set lan0 up",
  "ip route add default via 192.0.2.2",
].join(" && ");

export interface Outer extends AsyncDisposable {
  readonly container: RunningContainer;
}

/**
 * What root needs besides, for jails: a home that is root's, and a control group below the topmost for this process, so
 * that others can have controllers.
 */
export const AS_ROOT = [
  "chown -R 0:0 /opt/flamebox/home",
  "{ mountpoint -q /sys/fs/cgroup || mount -t cgroup2 none /sys/fs/cgroup; }",
  "mkdir -p /sys/fs/cgroup/tests",
  'for process in $(cat /sys/fs/cgroup/cgroup.procs); do { echo "$process" > /sys/fs/cgroup/tests/cgroup.procs; } 2>/dev/null; done',
].join("; ");

/**
 * Starts a shell script in an outer machine, as root; /opt/flamebox is its working directory. FLAMEBOX_TEST_REGISTRY
 * is in the names of the images that are there.
 */
export async function startOuter(firecracker: string, script: string): Promise<Outer> {
  await using cleanup = new CleanupStack();
  const work = await mkdtemp(join(tmpdir(), "flamebox-outer-"));
  cleanup.defer(async () => await rm(work, { recursive: true, force: true }));
  const installedAt = locatePaths(process.env);
  const installed = await findKernel(installedAt);
  if (installed === undefined) throw new Error(`flamebox setup has left no kernel in ${installedAt.dataDir}`);
  const agentPath = await requireAgent(installedAt);
  const host = await outerHost(work, await outerKernel(installed), agentPath);
  const registry = cleanup.use(await startRegistry());
  const images: string[] = [];
  for (const name of ["busybox", "network"] as const) {
    const { dir, tag } = await layout(name);
    await registry.push(dir, tag, `${name}:1`);
    images.push(`${registry.host}/${name}:1`);
  }
  const outer = await makeLayout(work, { home: installedAt, agentPath, firecracker, images });
  await registry.push(outer, "outer", "outer:1");
  const container = cleanup.use(
    await startOn(
      { prepareHost: async () => host, bootDeadlineMs: BOOT_DEADLINE_MS, patience: 10 },
      `${registry.host}/outer:1`,
      {
        paths: locatePaths({ FLAMEBOX_HOME: join(work, "home") }),
        dockerConfig: null,
        template: false,
        network: "none",
        privileged: true,
        cpus: CPUS,
        memoryMib: MEMORY_MIB,
        workdir: "/opt/flamebox",
        command: ["sh", "-c", `${SURROUNDINGS} && eval "$0"`, script],
        env: { FLAMEBOX_TEST_REGISTRY: registry.host },
      },
    ),
  );
  const owned = cleanup.move();
  return { container, [Symbol.asyncDispose]: () => owned[Symbol.asyncDispose]() };
}
