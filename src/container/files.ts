/** The files that every container gets from outside its image: hosts, hostname, resolv.conf. */
import { isIP } from "node:net";
import { FlameBoxError } from "../util/error.ts";

export interface GeneratedFile {
  readonly path: string;
  readonly mode: number;
  readonly text: string | Uint8Array;
}

export interface HostsEntry {
  readonly host: string;
  readonly address: string;
}

export interface FilesRequest {
  readonly hostname: string;
  /** Without a prefix length; undefined without a network. */
  readonly address: string | undefined;
  readonly addHosts: readonly HostsEntry[];
  readonly resolvConf: string;
}

const LOCAL_HOSTS = `127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
ff00::0\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
`;

/** @throws FlameBoxError `invalid-option` */
export function generatedFiles(request: FilesRequest): GeneratedFile[] {
  const { hostname, address, addHosts, resolvConf } = request;
  for (const { host, address: ip } of addHosts) {
    // A line feed would be another line of the file.
    if (isIP(ip) === 0 || !/^[0-9A-Za-z_.-]{1,253}$/.test(host))
      throw new FlameBoxError(
        "invalid-option",
        `not a host and an address: ${JSON.stringify(`${host}:${ip}`.slice(0, 300))}`,
      );
  }
  const own = address === undefined ? [] : [{ host: hostname, address }];
  const hosts =
    LOCAL_HOSTS + [...addHosts, ...own].map((entry) => `${entry.address}\t${entry.host}\n`).join("");
  return [
    { path: "/etc/hosts", mode: 0o644, text: hosts },
    { path: "/etc/hostname", mode: 0o644, text: `${hostname}\n` },
    { path: "/etc/resolv.conf", mode: 0o644, text: resolvConf },
  ];
}
