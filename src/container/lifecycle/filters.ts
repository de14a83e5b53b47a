/** `KEY=VALUE`, as Docker's `ps --filter` has it. Those of one key are alternatives, those of several keys all hold. */
import { FlameBoxError } from "../../util/error.ts";
import { quote } from "../../util/printable.ts";
import type { ContainerInfo } from "./info.ts";

type Test = (container: ContainerInfo, value: string, all: readonly ContainerInfo[]) => boolean;

const STATUSES = ["created", "running", "paused", "restarting", "exited", "dead", "removing"];
const HEALTHS = ["starting", "healthy", "unhealthy", "none"];

/** The one that is meant by the value, by name or by the beginning of its id. */
function meant(all: readonly ContainerInfo[], value: string): ContainerInfo | undefined {
  return all.find(({ name }) => name === value) ?? all.find(({ id }) => id.startsWith(value));
}

interface Ports {
  readonly first: number;
  readonly last: number;
  readonly protocol: string;
}

/** `80`, `53/udp`, `8000-8010/tcp`. */
function portsOf(text: string): Ports | undefined {
  const [, first, last = first, protocol = "tcp"] =
    /^(\d{1,5})(?:-(\d{1,5}))?(?:\/([a-z]+))?$/.exec(text.toLowerCase()) ?? [];
  return first === undefined ? undefined : { first: Number(first), last: Number(last), protocol };
}

function exposes(exposed: readonly string[], value: string): boolean {
  const wanted = portsOf(value);
  return exposed
    .map(portsOf)
    .some(
      (ports) =>
        ports !== undefined &&
        wanted !== undefined &&
        ports.protocol === wanted.protocol &&
        ports.first <= wanted.last &&
        wanted.first <= ports.last,
    );
}

const TESTS: Readonly<Record<string, Test>> = {
  id: ({ id }, value) => id.startsWith(value),
  name: ({ name }, value) => name.includes(value.replace(/^\//, "")),
  status: ({ status }, value) => status === value,
  health: ({ health = "none" }, value) => health === value,
  exited: ({ status, exitCode }, value) => status === "exited" && exitCode === Number(value),
  ancestor: ({ image, imageId }, value) =>
    image === value || image.split(":")[0] === value || imageId.replace("sha256:", "").startsWith(value),
  label: ({ labels }, value) => {
    const [key = "", ...rest] = value.split("=");
    return Object.hasOwn(labels, key) && (rest.length === 0 || labels[key] === rest.join("="));
  },
  network: ({ network }, value) => network === value,
  publish: ({ ports }, value) =>
    ports.some(({ hostPort, protocol }) => `${hostPort}/${protocol}` === value || `${hostPort}` === value),
  expose: ({ exposed = [] }, value) => exposes(exposed, value),
  volume: ({ mounts = [] }, value) =>
    mounts.some(({ source, target }) => source === value || target === value),
  before: ({ createdAt }, value, all) => createdAt < (meant(all, value)?.createdAt ?? ""),
  since: ({ createdAt }, value, all) => createdAt > (meant(all, value)?.createdAt ?? "~"),
};

export const FILTER_KEYS: readonly string[] = Object.keys(TESTS);

const WORDS: Readonly<Record<string, readonly string[]>> = { status: STATUSES, health: HEALTHS };

export interface ContainerFilters {
  /** Of all containers, those that fit. */
  readonly apply: (all: readonly ContainerInfo[]) => ContainerInfo[];
  /** Whether containers that do not run may be meant. */
  readonly wantsAll: boolean;
  /** Whether it takes `surroundings` to tell. */
  readonly wantsSurroundings: boolean;
}

function invalid(text: string, problem: string, hint?: string): FlameBoxError {
  return new FlameBoxError("invalid-filter", `the filter ${quote(text)}: ${problem}`, { hint });
}

/** @throws FlameBoxError `invalid-filter` */
export function parseContainerFilters(texts: readonly string[] = []): ContainerFilters {
  const byKey = new Map<string, string[]>();
  for (const text of texts) {
    const at = text.indexOf("=");
    const [key, value] = [text.slice(0, at), text.slice(at + 1)];
    if (at < 1 || !Object.hasOwn(TESTS, key))
      throw invalid(text, "there is no such filter", `write KEY=VALUE; keys are ${FILTER_KEYS.join(", ")}`);
    const words = WORDS[key];
    if (words !== undefined && !words.includes(value))
      throw invalid(text, `${value} is none of ${words.join(", ")}`);
    if (key === "expose" && portsOf(value) === undefined)
      throw invalid(text, `${value} is no port`, "write PORT or FIRST-LAST, with /tcp or /udp behind it");
    byKey.set(key, [...(byKey.get(key) ?? []), value]);
  }
  const apply = (all: readonly ContainerInfo[]) =>
    all.filter((container) =>
      [...byKey].every(([key, values]) =>
        key === "label"
          ? values.every((value) => TESTS[key]?.(container, value, all))
          : values.some((value) => TESTS[key]?.(container, value, all)),
      ),
    );
  return {
    apply,
    wantsAll: byKey.has("status") || byKey.has("exited"),
    wantsSurroundings: byKey.has("volume") || byKey.has("expose"),
  };
}
