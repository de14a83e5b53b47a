/** Containers in networks with names: real machines, each owned by a process of its own. */
import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { makeHome } from "../support/home.ts";
import type { Home, Running } from "../support/home.ts";

const debian = `${inject("registry")}/flamebox/debian:12`;

let home: Home;
const servers: Running[] = [];

const serve = `
import http.server, socket, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{sys.argv[1]} to {self.client_address[0]}".encode())
    def log_message(self, *_):
        pass
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
server = Server(("::", 80), Answer)
print("listening", flush=True)
server.serve_forever()
`;

/** A line for each place of argv: what it says, or how it failed. */
const ask = `
import sys, urllib.request
for place in sys.argv[1:]:
    try:
        with urllib.request.urlopen(f"http://{place}/", timeout=20) as answer:
            print(place, answer.read().decode())
    except OSError as error:
        print(place, "no:", type(getattr(error, "reason", error)).__name__)
`;

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
    const places = ["db", "store", "db.shop", `${db?.ipv4}`, `[${db?.ipv6}]`];
    const out = ["hidden", `${hidden?.ipv4}`, `[${hidden?.ipv6}]`];
    const args = ["--network", "shop", "--name", "web", debian, "python3", "-c", ask, ...places, ...out];
    const { code, stdout, stderr } = await home.run(["run", "--rm", "-q", ...args]);
    const lines = stdout.trim().split("\n");
    expect({ code, count: lines.length }, stderr).toEqual({ code: 0, count: places.length + out.length });
    for (const [i, place] of places.entries()) expect(lines[i]).toContain(`${place} db to `);
    for (const line of lines.slice(places.length)) expect(line).toContain(" no: ");
  });

  test("that is in no network reaches none of them", async () => {
    const shown = await home.run(["network", "inspect", "shop"]);
    const [db] = firstMembers(shown.stdout);
    const places = ["db", `${db?.ipv4}`, `[${db?.ipv6}]`];
    const { stdout } = await home.run([
      "run",
      "--rm",
      "-q",
      debian,
      "timeout",
      "60",
      "python3",
      "-c",
      ask,
      ...places,
    ]);
    expect(stdout).not.toContain("db to");
  });

  test("that was created elsewhere is put into a network, and taken out of it", async () => {
    const made = [
      "create",
      "-q",
      "--name",
      "late",
      "-p",
      "0:80",
      debian,
      "python3",
      "-c",
      ask,
      "db",
      "store",
    ];
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
