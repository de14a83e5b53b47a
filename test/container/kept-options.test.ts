/** What is written down of a container's options: nothing that is secret, or another start's. */
import { expect, test } from "vitest";
import { draftOf } from "../../src/container/lifecycle/create.ts";
import type { CreateOptions } from "../../src/container/lifecycle/create.ts";

const SECRET = "s3cret-word";

test("neither secrets nor what the next start has by itself are kept", () => {
  const options: CreateOptions = {
    memoryMib: 64,
    env: { GREETING: "hello" },
    proxies: { https: `http://user:${SECRET}@proxy.test:3128` },
    credentials: { username: "me", password: SECRET },
    dockerConfig: `/${SECRET}`,
    ca: SECRET,
    firecracker: `/${SECRET}/firecracker`,
    jailer: `/${SECRET}/jailer`,
    signal: new AbortController().signal,
    onNotice: () => {},
    onRefused: () => {},
  };
  const plan = { configFor: () => ({ process: { args: ["true"] } }), labels: {} };
  const found = { name: "app", image: {}, plan } as unknown as Parameters<typeof draftOf>[1];
  const draft = draftOf("0".repeat(64), found, options);
  expect(draft.options).toEqual({ memoryMib: 64, env: { GREETING: "hello" } });
  expect(JSON.stringify(draft)).not.toContain(SECRET);
});
