/** `--publish`, `--add-host`, `--dns`, `--hostname`, `--egress`. */
import { isIP, isIPv6 } from "node:net";
import { UsageError } from "../failure.ts";
import type { EgressOptions, PortMapping } from "../library.ts";

const PUBLISH_HINT = "write [ADDRESS:]HOST:CONTAINER[/tcp|udp], as in 8080:80 or 127.0.0.1:5353:53/udp";

interface PortRange {
  readonly first: number;
  readonly count: number;
}

/** `80`, `8000-8010`; null when it is neither. */
function parseRange(text: string, least: number): PortRange | null {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
  if (match === null) return null;
  const first = Number(match[1]);
  const last = match[2] === undefined ? first : Number(match[2]);
  if (first < least || last < first || last > 65_535) return null;
  return { first, count: last - first + 1 };
}

/** The address is what stands before the last two colons: an IPv6 address has brackets. */
function splitPublish(spec: string): { address: string | undefined; host: string; container: string } | null {
  const match = /^(?:(\[[^\]]*\]|[^:[\]]*):(?=[^:]*:))?(?:([^:]*):)?([^:]+)$/.exec(spec);
  if (match === null) return null;
  const [, address, host = "", container = ""] = match;
  return { address, host, container };
}

/**
 * One `--publish`. Equal ranges become one mapping a port. No host port means a free one. The host address
 * defaults to loopback in the library, not to every interface as in Docker.
 */
export function parsePublish(argument: string): PortMapping[] {
  const fail = (reason: string): never => {
    throw new UsageError(`--publish '${argument}': ${reason}`, PUBLISH_HINT);
  };
  const [spec = "", protocol = "tcp", ...rest] = argument.split("/");
  if (rest.length > 0 || (protocol !== "tcp" && protocol !== "udp"))
    return fail("the protocol is neither tcp nor udp");
  const parts = splitPublish(spec);
  if (parts === null) return fail("that is not a port mapping");
  let hostAddress: string | undefined;
  if (parts.address !== undefined && parts.address !== "") {
    const bare = parts.address.replace(/^\[(.*)\]$/, "$1");
    if (isIP(bare) === 0) return fail(`'${parts.address}' is not an IP address`);
    if (isIPv6(bare) !== parts.address.startsWith("["))
      return fail("an IPv6 address, and no other, stands in brackets");
    hostAddress = bare;
  }
  const container =
    parseRange(parts.container, 1) ?? fail(`'${parts.container}' is not a port from 1 to 65535`);
  const host =
    parts.host === ""
      ? undefined
      : (parseRange(parts.host, 0) ?? fail(`'${parts.host}' is not a port from 0 to 65535`));
  if (host !== undefined && host.count !== container.count) return fail("the two ranges differ in length");
  return Array.from({ length: container.count }, (_, index) => ({
    ...(hostAddress === undefined ? {} : { hostAddress }),
    hostPort: host === undefined || host.first === 0 ? 0 : host.first + index,
    containerPort: container.first + index,
    protocol,
  }));
}

// RFC 1123 names, and the underscore that many use in spite of it.
const HOST_NAME =
  /^(?=.{1,253}$)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*$/;

export function parseAddHost(argument: string): { host: string; address: string } {
  const match = /^([^:=]*)[:=](.*)$/.exec(argument);
  const host = match?.[1] ?? "";
  const address = (match?.[2] ?? "").replace(/^\[(.*)\]$/, "$1");
  const hint = "write HOST:ADDRESS, as in db:10.0.0.5";
  if (match === null || !HOST_NAME.test(host))
    throw new UsageError(`--add-host '${argument}' has no host name`, hint);
  if (address === "host-gateway") return { host, address };
  if (isIP(address) === 0)
    throw new UsageError(`--add-host '${argument}': '${address}' is not an IP address`, hint);
  return { host, address };
}

export function parseDns(argument: string): string {
  if (isIP(argument) === 0) throw new UsageError(`--dns '${argument}' is not an IP address`);
  return argument;
}

export interface EgressFlags {
  readonly egress?: "allow" | "deny";
  readonly egressAllow?: readonly string[];
  readonly egressDeny?: readonly string[];
}

/** Undefined when nothing was said. The library reads the rules. */
export function parseEgress(flags: EgressFlags): EgressOptions | undefined {
  const { egress: policy, egressAllow: allow, egressDeny: deny } = flags;
  if (policy === undefined && allow === undefined && deny === undefined) return undefined;
  return { ...(policy && { policy }), ...(allow && { allow }), ...(deny && { deny }) };
}

// sethostname(2) takes 64 bytes.
const MAX_HOST_NAME = 64;

export function parseHostname(argument: string): string {
  if (argument.length > MAX_HOST_NAME || !HOST_NAME.test(argument)) {
    throw new UsageError(
      `--hostname '${argument}' is not a host name of at most ${MAX_HOST_NAME} characters`,
    );
  }
  return argument;
}

/** `bridge` is Docker's word for what `user` is: an address of its own, and the way out through the host. */
export function parseNetwork(text: string): string {
  if (text === "bridge" || text === "default") return "user";
  if (text === "host")
    throw new UsageError(
      "--network host is not supported: a machine has a network of its own",
      "publish ports with -p",
    );
  if (/^cni:[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$/.test(text)) return text;
  if (text.startsWith("container:"))
    throw new UsageError(
      `--network '${text}' is not supported: containers run in machines of their own, and share no interface`,
      "put both into a network: flamebox network create NAME",
    );
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$/.test(text))
    throw new UsageError(
      `--network '${text}' is not a network's name`,
      "write user, none, a name, or cni:NAME",
    );
  return text;
}
