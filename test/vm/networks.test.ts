/** Containers in networks with names: real machines, each owned by a process of its own. */
import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { makeHome } from "../support/home.ts";
import type { Home, Running } from "../support/home.ts";

const debian = `${inject("registry")}/flamebox/debian:12`;

let home: Home;
const servers: Running[] = [];

/** Says to whoever calls who it is, and whom it sees. */
const serve = `
import socket, sys
with socket.create_server(("::", 80), family=socket.AF_INET6, dualstack_ipv6=True) as server:
    print("listening", flush=True)
    while True:
        client, address = server.accept()
        with client:
            client.sendall(f"{sys.argv[1]} to {address[0]}".encode())
`;

/** A line for each place of its words: what it says, or that it has not said anything for as long as was last told. */
const script = `
for word; do
  case $word in within=*) seconds=\${word#*=}; continue;; esac
  if answer=$(timeout "$seconds" bash -c 'exec 3<>"/dev/tcp/$1/80" && cat <&3' - "$word" 2>/dev/null); then
    echo "$word $answer"
  else
    echo "$word no: $?"
  fi
done
`;
/** @param reached answer, however busy the host is @param closed must not, which a resolver says after half a minute */
function ask(reached: readonly string[], closed: readonly string[] = []): string[] {
  return ["bash", "-c", script, "ask", "within=15", ...reached, "within=4", ...closed];
}

async function start(...args: readonly string[]): Promise<void> {
  const running = home.spawn(["run", "--rm", "-q", ...args]);
  servers.push(running);
  let said = "";
  running.child.stdout.on("data", (chunk: Buffer) => (said += chunk.toString()));
  while (!said.includes("listening")) {
    const ended = await Promise.race([running.ended, once(running.child.stdout, "data")]);
    if ("code" in ended) throw new Error(ended.stderr);
  }
}

beforeAll(async () => {
  home = await makeHome(inject("kernelDir"));
  await home.run(["network", "create", "shop"]);
  await home.run(["network", "create", "other"]);
  const server = ["python3", "-u", "-c", serve];
  await Promise.all([
    start("--network", "shop", "--name", "db", "--network-alias", "store", debian, ...server, "db"),
    start("--network", "other", "--name", "hidden", debian, ...server, "hidden"),
  ]);
});
afterAll(async () => {
  for (const { child } of servers) child.kill("SIGKILL");
  await Promise.all(servers.map(async ({ ended }) => await ended));
  await home[Symbol.asyncDispose]();
});

/** The addresses of one container of each network that `network inspect` has shown. */
function firstMembers(text: string): { readonly ipv4: string; readonly ipv6: string }[] {
  const networks = JSON.parse(text) as {
    readonly Containers: Readonly<
      Record<string, { readonly IPv4Address: string; readonly IPv6Address: string }>
    >;
  }[];
  return networks.flatMap(({ Containers }) => {
    const [first] = Object.values(Containers);
    const bare = (address = "") => address.replace(/\/.*$/, "");
    return first === undefined ? [] : [{ ipv4: bare(first.IPv4Address), ipv6: bare(first.IPv6Address) }];
  });
}

describe("a container", () => {
  test("reaches those of its network by every name and by both families, and no others", async () => {
    const shown = await home.run(["network", "inspect", "shop", "other"]);
    const [db, hidden] = firstMembers(shown.stdout);
    const places = ["db", "store", "db.shop", `${db?.ipv4}`, `${db?.ipv6}`];
    const out = ["hidden", `${hidden?.ipv4}`, `${hidden?.ipv6}`];
    const args = ["--network", "shop", "--name", "web", debian, ...ask(places, out)];
    const { code, stdout, stderr } = await home.run(["run", "--rm", "-q", ...args]);
    const lines = stdout.trim().split("\n");
    expect({ code, count: lines.length }, stderr).toEqual({ code: 0, count: places.length + out.length });
    for (const [i, place] of places.entries()) expect(lines[i]).toContain(`${place} db to `);
    for (const line of lines.slice(places.length)) expect(line).toContain(" no: ");
  });

  test("that is in no network reaches none of them", async () => {
    const shown = await home.run(["network", "inspect", "shop"]);
    const [db] = firstMembers(shown.stdout);
    const places = ["db", `${db?.ipv4}`, `${db?.ipv6}`];
    const { stdout } = await home.run(["run", "--rm", "-q", debian, ...ask([], places)]);
    expect(stdout.match(/ no: /g), stdout).toHaveLength(3);
    expect(stdout).not.toContain("db to");
  });

  test("that was created elsewhere is put into a network, and taken out of it", async () => {
    // Nobody answers there, which is said at once.
    const options = ["--name", "late", "-p", "0:80", "--dns", "127.0.0.1"];
    const made = ["create", "-q", ...options, debian, ...ask(["db", "store"])];
    expect((await home.run(made)).code).toBe(0);
    expect(await home.run(["network", "connect", "shop", "late"])).toMatchObject({ code: 0, stdout: "" });
    const inside = await home.run(["start", "-a", "late"]);
    expect(inside.stdout, inside.stderr).toMatch(/^db db to .*\nstore db to /);
    expect((await home.run(["network", "disconnect", "shop", "late"])).code).toBe(0);
    const outside = await home.run(["start", "-a", "late"]);
    expect([outside.code, outside.stdout.match(/ no: /g)?.length], outside.stderr).toEqual([0, 2]);
    await home.run(["rm", "late"]);
    const refused = await home.run(["network", "disconnect", "shop", "db"]);
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining("stop it first") as string });
  });

  test("that is killed is nobody's neighbour any more, and leaves nothing", async () => {
    const [db] = servers;
    db?.child.kill("SIGKILL");
    await db?.ended;
    const listed = await home.run(["network", "ls", "--format", "{{.Name}} {{.Members}}"]);
    expect(listed.stdout).toBe("other 1\nshop 0\n");
    expect((await home.run(["network", "rm", "shop"])).stdout).toBe("Deleted: shop\n");
    const refused = await home.run(["network", "rm", "other"]);
    expect({ code: refused.code, stderr: refused.stderr }).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("in use by hidden") as string,
    });
  });
});
