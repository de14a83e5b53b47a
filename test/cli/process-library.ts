/**
 * A library of the real shape whose containers are plain processes of this host: what the command line does
 * with streams, signals, terminals and exit codes is tested against a real process, without a machine.
 * It is transpiled to stand where `index.js` stands in a build of the command line.
 *
 * The image's name says what should happen; see `runContainer` and `pull`.
 */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { PassThrough, type Readable, type Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import type { Library } from "../../src/cli/library.ts";
import type * as api from "../../src/index.ts";
import { FlameBoxError } from "../../src/util/error.ts";
import { locatePaths } from "../../src/util/paths.ts";

const DIGEST = `sha256:${"ab12".repeat(16)}`;

function imageNamed(reference: string): api.ImageInfo {
  const [repository = "", tag = "latest"] = reference.split(":");
  return {
    reference: `docker.io/library/${repository}:${tag}`,
    repository,
    tag,
    digest: DIGEST,
    id: `sha256:${"cd34".repeat(16)}`,
    platform: "linux/amd64",
    sizeBytes: 7_830_000,
    createdAt: "2024-01-02T03:04:05Z",
    pulledAt: "2024-05-06T07:08:09Z",
  };
}

type Child = ChildProcessByStdio<Writable | null, Readable, Readable>;

/** `script` gives the process a terminal, as the guest would. */
function spawnChild(command: readonly string[], options: api.ContainerOptions): Child {
  const quoted = command.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ");
  const [program = "true", ...words] =
    options.tty === undefined ? command : ["script", "-qefc", `exec ${quoted}`, "/dev/null"];
  return spawn(program, words, {
    env: { PATH: process.env["PATH"], ...options.env },
    // A group of its own: the terminal's Ctrl-C must reach it through the command line only.
    detached: true,
    stdio: [options.interactive === true ? "pipe" : "ignore", "pipe", "pipe"],
  }) as Child;
}

/** The process behind `script`, which would end the session if the signal were sent to itself. */
function onlyChildOf(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1").trim().split(" ")[0]);
}

async function startProcess(options: api.ContainerOptions): Promise<api.AttachedContainer> {
  const command = [...(options.entrypoint ?? []), ...(options.command ?? ["true"])];
  const child = spawnChild(command, options);
  const exit = new Promise<api.ContainerExit>((resolve) => {
    child.on("close", (code, signal) => {
      const number = signal === null ? undefined : constants.signals[signal];
      resolve(
        number === undefined
          ? { code: code ?? 0, oomKilled: false }
          : { code: 128 + number, signal: number, oomKilled: false },
      );
    });
  });
  await new Promise<void>((resolve, reject) => {
    child.once("spawn", resolve);
    child.once("error", (error: NodeJS.ErrnoException) => {
      const found = error.code !== "ENOENT";
      const code = found ? "command-not-executable" : "command-not-found";
      reject(
        new FlameBoxError(
          code,
          `${command[0] ?? ""}: ${found ? "cannot be executed" : "not found"} in the image`,
        ),
      );
    });
  });
  return {
    id: "0123456789ab",
    machine: "process",
    kernelRelease: "0",
    bootRetries: 0,
    ports: (options.publish ?? []).map((mapping) => ({
      ...mapping,
      hostAddress: mapping.hostAddress ?? "127.0.0.1",
      hostPort: mapping.hostPort === 0 ? 40_001 : mapping.hostPort,
    })),
    name: options.name ?? "quiet_ember",
    memoryLimitBytes: 400 * 2 ** 20,
    survives: false,
    stdin: child.stdin,
    stdout: child.stdout,
    stderr: child.stderr,
    wait: () => exit,
    kill: async (signal) => {
      if (child.pid !== undefined)
        process.kill(options.tty === undefined ? -child.pid : onlyChildOf(child.pid), signal);
    },
    resize: async () => {},
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode === null && child.signalCode === null && child.pid !== undefined) {
        process.kill(-child.pid, "SIGKILL");
        await exit;
      }
    },
  };
}

/** Ends at once, having written the options it was given. */
function showOptions(image: string, options: api.ContainerOptions): Promise<api.AttachedContainer> {
  const { signal: _signal, onProgress: _progress, onNotice: _notice, ...rest } = options;
  const text = JSON.stringify({ image, ...rest });
  return startProcess({ command: ["printf", "%s\n", text] });
}

async function runContainer(image: string, options: api.CreateOptions = {}): Promise<api.AttachedContainer> {
  options.onProgress?.({ id: "boot", label: "boot", state: "running" });
  switch (image) {
    case "missing":
      throw new FlameBoxError("image-not-found", "there is no image 'missing'\u001b[31m", {
        hint: "check\nthe name",
      });
    case "show-options":
      return showOptions(image, options);
    case "never-starts":
      process.stderr.write("starting\n");
      await sleep(60_000, undefined, { signal: options.signal });
      break;
    case "lost": {
      const container = await startProcess(options);
      const lost = async () =>
        Promise.reject(new FlameBoxError("machine-lost", "the machine ended unexpectedly"));
      return { ...container, stdout: new PassThrough().end(), stderr: new PassThrough().end(), wait: lost };
    }
    case "defect":
      setTimeout(() => {
        throw new TypeError("x is not a function");
      }, 50);
      break;
    case "notice":
      options.onNotice?.("no usable KVM: running under software emulation");
      break;
    default:
      break;
  }
  options.onProgress?.({ id: "boot", label: "boot", state: "done" });
  return startProcess(options);
}

async function pull(reference: string, options: api.PullOptions = {}): Promise<api.ImageInfo> {
  if (reference === "missing") {
    const cause = Object.assign(new Error("getaddrinfo ENOTFOUND registry"), { code: "ENOTFOUND" });
    throw new FlameBoxError("image-not-found", "there is no image 'missing'", {
      hint: "check the name",
      cause,
    });
  }
  if (reference === "defect") throw new TypeError("x is not a function");
  options.onProgress?.({
    id: "layer:a",
    label: "layer a",
    state: "running",
    unit: "bytes",
    current: 0,
    total: 2000,
  });
  options.onProgress?.({
    id: "layer:a",
    label: "layer a",
    state: "done",
    unit: "bytes",
    current: 2000,
    total: 2000,
  });
  return imageNamed(reference);
}

function template(key: string): api.TemplateInfo {
  return {
    key,
    description: "qemu, software emulation, Linux 6.12.1",
    cpus: 1,
    memoryMib: 512,
    network: true,
    storageBytes: 10 * 1024 ** 3,
    disk: "passing",
    createdAt: "2024-01-02T03:04:05Z",
    lastUsedAt: "2024-05-06T07:08:09Z",
    diskBytes: 117_000_000,
  };
}

function kernel(name: string, inUse = false): api.KernelInfo {
  return {
    name,
    release: "6.12.1",
    kind: "built",
    path: `/k/${name}/vmlinuz`,
    diskBytes: 9_000_000,
    createdAt: "2024-01-02T03:04:05Z",
    inUse,
  };
}

function network(name: string, subnet = "10.87.0.0/24", internal = false): api.NetworkInfo {
  return {
    name,
    id: "0123456789abcdef".repeat(2),
    createdAt: "2024-01-02T03:04:05Z",
    subnet,
    ipv6Subnet: "fd01::/64",
    gateway: "10.87.0.1",
    ipv6Gateway: "fd01::1",
    internal,
    labels: {},
    members: [
      {
        containerId: "c".repeat(64),
        name: "db",
        hostname: "db",
        aliases: ["store"],
        mac: "52:54:00:00:00:01",
        ipv4: "10.87.0.2",
        ipv6: "fd01::2",
      },
    ],
  };
}

const library = {
  FlameBoxError,
  locatePaths,
  version: "0.0.0",
  runContainer,
  pull,
  run: async () => Promise.reject(new Error("the command line uses runContainer")),
  listImages: async () => [
    imageNamed("alpine:3"),
    { ...imageNamed("debian:12"), createdAt: "2024-02-03T00:00:00Z" },
  ],
  listContainers: async () => [{ name: "quiet_ember" }, { name: "web" }] as api.ContainerInfo[],
  removeImage: async (reference: string) => {
    if (reference === "missing") throw new FlameBoxError("image-not-found", "there is no image 'missing'");
    const { reference: full, id } = imageNamed(reference);
    return { untagged: [full], deleted: [id], reclaimedBytes: 7_830_000 };
  },
  writeRootfs: async (_reference: string, path: string, options?: api.RootfsFileOptions) => ({
    path,
    format: options?.format ?? "erofs",
    sizeBytes: 4096,
  }),
  streamRootfs: async (_reference: string, out: Writable) => {
    out.write("an archive");
    return { sizeBytes: 10 };
  },
  diagnose: async () => ({
    version: "0.0.0",
    ready: true,
    machine: { vmm: "qemu" as const, version: "7.2.22", acceleration: "tcg" as const },
    checks: [
      { name: "qemu", status: "ok" as const, detail: "7.2.22" },
      {
        name: "kvm",
        status: "warning" as const,
        detail: "/dev/kvm is not there",
        hint: "enable virtualisation",
      },
    ],
  }),
  setup: async () => ({
    kernel: { path: "/k/vmlinuz", release: "6.12.1" },
    agent: { path: "/g/agent" },
    initramfs: { path: "/g/initramfs" },
    firecracker: null,
    template: template("488425218ea368f5a883b2ba"),
  }),
  listTemplates: async () => [template("488425218ea368f5a883b2ba"), template("f".repeat(24))],
  buildTemplate: async (options?: api.BuildTemplateOptions) => ({
    ...template("0".repeat(24)),
    cpus: options?.cpus ?? 1,
    network: options?.network !== "none",
  }),
  removeTemplates: async (keys: readonly string[]) => {
    if (keys.includes("missing"))
      throw new FlameBoxError("template-not-found", "there is no template 'missing'");
    return keys.map(template);
  },
  pruneTemplates: async () => [],
  listKernels: async () => [kernel("6.12.1-flamebox-0a", true), kernel("6.12.1-cloud-amd64")],
  buildKernel: async (options?: api.BuildKernelOptions) => kernel(`built-${options?.jobs ?? "auto"}`),
  useKernel: async (name: string) => {
    if (name === "missing") throw new FlameBoxError("kernel-not-found", "there is no kernel 'missing'");
    return name === "debian" ? null : kernel(name, true);
  },
  removeKernels: async (names: readonly string[]) => names.map((name) => kernel(name)),
  createNetwork: async (name: string, options?: api.CreateNetworkOptions) => {
    if (name === "taken") throw new FlameBoxError("network-exists", "there is a network taken already");
    return network(name, options?.subnet, options?.internal);
  },
  listNetworks: async () => [network("shop"), network("vault", "10.9.0.0/24", true)],
  listCniNetworks: async () => [
    { name: "cni:podman", driver: "cni", cniVersion: "0.4.0", plugins: ["bridge", "portmap"] },
  ],
  inspectNetwork: async (name: string) => network(name),
  removeNetwork: async (name: string) => network(name),
  pruneNetworks: async () => [network("old")],
} satisfies Partial<Omit<Library, "version">> & { readonly version: string };

const { run, listContainers, listImages, removeImage, writeRootfs, streamRootfs } = library;
const { diagnose, setup, version } = library;
const { buildTemplate, listTemplates, pruneTemplates, removeTemplates } = library;
const { createNetwork, inspectNetwork, listCniNetworks, listNetworks, pruneNetworks, removeNetwork } =
  library;
const { buildKernel, listKernels, removeKernels, useKernel } = library;
export {
  createNetwork,
  inspectNetwork,
  listCniNetworks,
  listNetworks,
  pruneNetworks,
  removeNetwork,
  buildKernel,
  buildTemplate,
  diagnose,
  FlameBoxError,
  listContainers,
  listImages,
  listKernels,
  listTemplates,
  locatePaths,
  pruneTemplates,
  pull,
  removeImage,
  removeKernels,
  removeTemplates,
  run,
  setup,
  runContainer,
  useKernel,
  version,
  writeRootfs,
  streamRootfs,
};
