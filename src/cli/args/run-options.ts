/** The flags of `run` to the library's `ContainerOptions`: each flag is checked here and named in its error. */
import { resolve } from "node:path";
import type { Environment } from "../context.ts";
import { UsageError } from "../failure.ts";
import type { CreateOptions } from "../library.ts";
import { cniFrom, pullOptionsFrom } from "./access.ts";
import { type EnvEntry, loadEnvFile, parseEnv } from "./environment.ts";
import { type HealthFlags, parseHealth } from "./health.ts";
import { parseEndTimeout, parseLog, parseRestart } from "./lifecycle.ts";
import { type LabelEntry, loadLabelFile, parseAnnotation, parseLabel, recordOf } from "./labels.ts";
import { type MountFlags, parseMounts } from "./mounts.ts";
import { type EgressFlags, parseAddHost, parseDns, parseEgress } from "./network.ts";
import { parseHostname, parsePublish } from "./network.ts";
import { parseSysctl, parseUlimit } from "./resources.ts";
import {
  checkNamespaces,
  type NamespaceFlags,
  parseDevice,
  parseDeviceCgroupRule,
  parseSecurityOpts,
} from "./security.ts";
import { parseCount, parseCpus, parseMemoryMib, parseSize, parseSizeOrUnlimited } from "./size.ts";
import { readTextFile } from "./text-file.ts";

/** As commander delivers them: strings still, lists in the order given. */
export interface RunFlags extends EgressFlags, HealthFlags, MountFlags, NamespaceFlags {
  readonly interactive?: boolean;
  readonly tty?: boolean;
  readonly detachKeys?: string;
  readonly env?: readonly string[];
  readonly envFile?: readonly string[];
  readonly workdir?: string;
  readonly user?: string;
  readonly groupAdd?: readonly string[];
  readonly entrypoint?: string;
  readonly init?: boolean;
  readonly stopSignal?: string;
  readonly stopTimeout?: string;
  readonly name?: string;
  readonly label?: readonly string[];
  readonly labelFile?: readonly string[];
  readonly annotation?: readonly string[];
  readonly hostname?: string;
  readonly domainname?: string;
  readonly addHost?: readonly string[];
  readonly dns?: readonly string[];
  readonly dnsSearch?: readonly string[];
  readonly dnsOption?: readonly string[];
  readonly publish?: readonly string[];
  readonly publishAll?: boolean;
  readonly expose?: readonly string[];
  readonly macAddress?: string;
  readonly dnsOpt?: readonly string[];
  readonly network?: string;
  readonly net?: string;
  readonly networkAlias?: readonly string[];
  readonly ip?: string;
  readonly privileged?: boolean;
  readonly capAdd?: readonly string[];
  readonly capDrop?: readonly string[];
  readonly securityOpt?: readonly string[];
  readonly device?: readonly string[];
  readonly deviceCgroupRule?: readonly string[];
  readonly sysctl?: readonly string[];
  readonly ulimit?: readonly string[];
  readonly readOnly?: boolean;
  readonly shmSize?: string;
  readonly pull?: "always" | "missing" | "never";
  readonly verify?: boolean;
  readonly platform?: string;
  readonly cpus?: string;
  readonly cpuShares?: string;
  readonly cpuPeriod?: string;
  readonly cpuQuota?: string;
  readonly cpusetCpus?: string;
  readonly memory?: string;
  readonly memorySwap?: string;
  readonly memoryReservation?: string;
  readonly oomScoreAdj?: string;
  readonly pidsLimit?: string;
  readonly blkioWeight?: string;
  readonly storageSize?: string;
  readonly kernel?: string;
  readonly requireKvm?: boolean;
  readonly vmm?: "firecracker" | "qemu";
  /** False with --no-template. */
  readonly template?: boolean;
  readonly insecure?: boolean;
  readonly rm?: boolean;
  readonly detach?: boolean;
  readonly cidfile?: string;
  readonly restart?: string;
  readonly logDriver?: string;
  readonly logOpt?: readonly string[];
}

/** What the files that flags name have in them. */
export interface RunFiles {
  readonly env: readonly EnvEntry[];
  readonly labels: readonly LabelEntry[];
  /** JSON text. */
  readonly seccompProfile?: string | undefined;
}

/** @throws UsageError for a file that cannot be read */
export async function loadRunFiles(flags: RunFlags, environment: Environment): Promise<RunFiles> {
  const env: EnvEntry[] = [];
  for (const path of flags.envFile ?? []) env.push(...(await loadEnvFile(path, environment)));
  const labels: LabelEntry[] = [];
  for (const path of flags.labelFile ?? []) labels.push(...(await loadLabelFile(path)));
  const { seccomp } = parseSecurityOpts(flags.securityOpt);
  const isFile = seccomp !== undefined && seccomp !== "unconfined";
  return {
    env,
    labels,
    seccompProfile: isFile ? await readTextFile(seccomp.file, "seccomp profile") : undefined,
  };
}

function parseWorkdir(text: string): string {
  if (!text.startsWith("/")) throw new UsageError(`--workdir '${text}' is not an absolute path`);
  return text;
}

function parseUser(text: string): string {
  if (!/^[^:\s]+(:[^:\s]+)?$/.test(text)) {
    throw new UsageError(
      `--user '${text}' is not a user`,
      "write NAME or UID, and a group behind a colon if you like",
    );
  }
  return text;
}

function parseGroup(text: string): string {
  if (!/^[^:\s]+$/.test(text)) throw new UsageError(`--group-add '${text}' is not a group name or number`);
  return text;
}

/** `fileEntries` are those of the env files; a variable given by `--env` wins over them. */
function environmentOf(flags: RunFlags, fileEntries: readonly EnvEntry[], environment: Environment) {
  const given = (flags.env ?? []).map((argument) => parseEnv(argument, environment));
  const entries = [...fileEntries, ...given.filter((entry) => entry !== undefined)];
  // A null prototype, so that a variable named __proto__ is a variable.
  const env = Object.create(null) as Record<string, string>;
  for (const [name, value] of entries) env[name] = value;
  return entries.length === 0 ? {} : { env };
}

/** Leaves out what was not given, so that the library's defaults are the only ones. */
function given<K extends string, T>(key: K, value: T | undefined): { readonly [P in K]?: T } {
  return (value === undefined ? {} : { [key]: value }) as { readonly [P in K]?: T };
}

function optional<G, T>(value: G | undefined, parse: (value: G) => T): T | undefined {
  return value === undefined ? undefined : parse(value);
}

function size(text: string | undefined, flag: string): number | undefined {
  return optional(text, (given) => parseSize(given, flag));
}

/** Counts of which -1 or a negative one has a meaning. */
function count(text: string | undefined, flag: string, least = -1): number | undefined {
  return optional(text, (given) => parseCount(given, flag, least));
}

function machineOptions(flags: RunFlags) {
  return {
    ...given("cpus", optional(flags.cpus, parseCpus)),
    ...given("cpuShares", count(flags.cpuShares, "--cpu-shares", 0)),
    ...given("cpuPeriodUs", count(flags.cpuPeriod, "--cpu-period", 0)),
    ...given("cpuQuotaUs", count(flags.cpuQuota, "--cpu-quota")),
    ...given("cpusetCpus", flags.cpusetCpus),
    ...given("memoryMib", optional(flags.memory, parseMemoryMib)),
    ...given(
      "memorySwapBytes",
      optional(flags.memorySwap, (text) => parseSizeOrUnlimited(text, "--memory-swap")),
    ),
    ...given("memoryReservationBytes", size(flags.memoryReservation, "--memory-reservation")),
    ...given("oomScoreAdj", count(flags.oomScoreAdj, "--oom-score-adj", -1_000)),
    ...given("pidsLimit", count(flags.pidsLimit, "--pids-limit")),
    ...given("blkioWeight", count(flags.blkioWeight, "--blkio-weight", 0)),
    ...given("storageBytes", size(flags.storageSize, "--storage-size")),
    ...given("shmSizeBytes", size(flags.shmSize, "--shm-size")),
    ...given(
      "kernel",
      optional(flags.kernel, (path) => resolve(path)),
    ),
    ...given("requireKvm", flags.requireKvm),
    ...given("vmm", flags.vmm),
    ...(flags.template === false ? { template: false } : {}),
  };
}

function securityOptions(flags: RunFlags, files: RunFiles) {
  checkNamespaces(flags);
  const { noNewPrivileges, seccomp, systemPaths } = parseSecurityOpts(flags.securityOpt);
  const profile = files.seccompProfile === undefined ? undefined : { profile: files.seccompProfile };
  return {
    ...given("privileged", flags.privileged),
    ...given("capAdd", flags.capAdd),
    ...given("capDrop", flags.capDrop),
    ...given("noNewPrivileges", noNewPrivileges),
    ...given("seccomp", seccomp === "unconfined" ? seccomp : profile),
    ...given("systemPaths", systemPaths),
    ...given("devices", flags.device?.map(parseDevice)),
    ...given("deviceCgroupRules", flags.deviceCgroupRule?.map(parseDeviceCgroupRule)),
    ...given(
      "sysctls",
      optional(flags.sysctl, (list) => recordOf(list.map(parseSysctl))),
    ),
    ...given("ulimits", flags.ulimit?.map(parseUlimit)),
    ...given("readOnly", flags.readOnly),
  };
}

function networkOptions(flags: RunFlags, environment: Environment) {
  const network = flags.network ?? flags.net;
  if (network === "none" && ((flags.publish?.length ?? 0) > 0 || flags.publishAll === true)) {
    throw new UsageError("--publish needs a network", "leave out --network none");
  }
  return {
    ...given("hostname", optional(flags.hostname, parseHostname)),
    ...given("domainname", flags.domainname),
    ...given("addHosts", flags.addHost?.map(parseAddHost)),
    ...given("dns", flags.dns?.map(parseDns)),
    ...given("dnsSearch", flags.dnsSearch),
    ...given("dnsOptions", flags.dnsOption ?? flags.dnsOpt),
    ...given("network", network),
    ...given("cni", network?.startsWith("cni:") === true ? cniFrom(environment) : undefined),
    ...given("networkAliases", flags.networkAlias),
    ...given("ipAddress", flags.ip),
    ...given("egress", parseEgress(flags)),
    ...given("publish", flags.publish?.flatMap(parsePublish)),
    ...given("publishAll", flags.publishAll),
    ...given("expose", flags.expose),
    ...given("macAddress", flags.macAddress),
  };
}

function lifeOptions(flags: RunFlags, files: RunFiles) {
  const labels = [...files.labels, ...(flags.label ?? []).map((label) => parseLabel(label))];
  return {
    ...given("name", flags.name),
    ...given("labels", labels.length === 0 ? undefined : recordOf(labels)),
    ...given(
      "annotations",
      optional(flags.annotation, (list) => recordOf(list.map(parseAnnotation))),
    ),
    ...given("init", flags.init),
    ...given("stopSignal", flags.stopSignal),
    ...given(
      "stopTimeoutMs",
      optional(flags.stopTimeout, (text) => parseEndTimeout(text, "--stop-timeout")),
    ),
    ...given("restart", optional(flags.restart, parseRestart)),
    ...given("log", parseLog(flags.logDriver, flags.logOpt)),
    ...given("autoRemove", flags.rm),
    ...given("healthcheck", parseHealth(flags)),
  };
}

export function containerOptions(
  flags: RunFlags,
  command: readonly string[],
  files: RunFiles,
  environment: Environment,
): CreateOptions {
  return {
    ...pullOptionsFrom(flags, environment),
    ...machineOptions(flags),
    ...securityOptions(flags, files),
    ...networkOptions(flags, environment),
    ...lifeOptions(flags, files),
    ...parseMounts(flags),
    ...given("pull", flags.pull),
    ...given("verify", flags.verify),
    ...(command.length === 0 ? {} : { command }),
    // As in Docker, --entrypoint '' takes the image's away.
    ...given(
      "entrypoint",
      optional(flags.entrypoint, (text) => (text === "" ? [] : [text])),
    ),
    ...environmentOf(flags, files.env, environment),
    ...given("workdir", optional(flags.workdir, parseWorkdir)),
    ...given("user", optional(flags.user, parseUser)),
    ...given("groupAdd", flags.groupAdd?.map(parseGroup)),
    ...given("interactive", flags.interactive),
  };
}
