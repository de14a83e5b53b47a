/** Networks as rows, with the fields that `network ls --format` knows, and in full as `network inspect` prints them. */
import type { CniNetworkInfo, NetworkInfo } from "../library.ts";
import { compileTemplate, type TemplateFields, type TemplateRow } from "./template.ts";
import { humanAge } from "./units.ts";

const NETWORK_FIELDS: TemplateFields = {
  ID: "NETWORK ID",
  Name: "NAME",
  Driver: "DRIVER",
  Subnet: "SUBNET",
  IPv6Subnet: "IPV6 SUBNET",
  Gateway: "GATEWAY",
  Internal: "INTERNAL",
  Members: "CONTAINERS",
  Labels: "LABELS",
  CreatedAt: "CREATED AT",
  CreatedSince: "CREATED",
};

const TABLE =
  "table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Subnet}}\t{{.IPv6Subnet}}\t{{.Internal}}\t{{.Members}}\t{{.CreatedSince}}";
const SHORT_ID_LENGTH = 12;

/** One of FlameBox's own, or one that CNI's plugins make, of which only these know more. */
export type ListedNetwork = (NetworkInfo & { readonly driver: "flamebox" }) | CniNetworkInfo;

function rowOf(info: ListedNetwork, nowMs: number): TemplateRow {
  if (info.driver === "cni") {
    const unknown = Object.fromEntries(Object.keys(NETWORK_FIELDS).map((field) => [field, ""]));
    return { ...unknown, Name: info.name, Driver: `cni (${info.plugins.join(", ")})` };
  }
  const { id, name, subnet, ipv6Subnet, gateway, internal, members, labels, createdAt } = info;
  return {
    ID: id.slice(0, SHORT_ID_LENGTH),
    Name: name,
    Driver: info.driver,
    Subnet: subnet,
    IPv6Subnet: ipv6Subnet,
    Gateway: gateway,
    Internal: internal ? "yes" : "",
    Members: String(members.length),
    Labels: Object.entries(labels)
      .map(([key, value]) => `${key}=${value}`)
      .join(","),
    CreatedAt: createdAt,
    CreatedSince: humanAge(nowMs - Date.parse(createdAt)),
  };
}

/** Throws UsageError for a bad template, before anything is asked of the library. Without one: the table. */
export function formatNetworks(
  template: string | undefined,
  nowMs: number,
): (networks: readonly ListedNetwork[]) => string {
  const source = template === undefined || template === "table" ? TABLE : template;
  const format = compileTemplate(source, NETWORK_FIELDS);
  return (networks) => format(networks.map((info) => rowOf(info, nowMs)));
}

/** The document of a network in Docker's words; and its addresses besides, where they are easy to find. */
export function networkDocument(info: NetworkInfo): object {
  const { name, id, createdAt, subnet, ipv6Subnet, gateway, ipv6Gateway, internal, labels, members } = info;
  const withPrefix = (address: string, network: string) => `${address}/${network.split("/")[1] ?? ""}`;
  return {
    Name: name,
    Id: id,
    Created: createdAt,
    EnableIPv6: true,
    Internal: internal,
    Subnet: subnet,
    Gateway: gateway,
    IPv6Subnet: ipv6Subnet,
    IPv6Gateway: ipv6Gateway,
    IPAM: {
      Config: [
        { Subnet: subnet, Gateway: gateway },
        { Subnet: ipv6Subnet, Gateway: ipv6Gateway },
      ],
    },
    Containers: Object.fromEntries(
      members.map((member) => [
        member.containerId,
        {
          Name: member.name ?? "",
          Hostname: member.hostname,
          Aliases: member.aliases,
          MacAddress: member.mac,
          IPv4Address: withPrefix(member.ipv4, subnet),
          IPv6Address: withPrefix(member.ipv6, ipv6Subnet),
        },
      ]),
    ),
    Labels: labels,
  };
}
