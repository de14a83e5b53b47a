/** A process that notes events: `events-child.js DATA NAME COUNT BYTES`. Several do at once, for a test. */
import { noteEvent } from "../../src/container/lifecycle/events.ts";

const [dataDir = "", name = "", count = "0", bytes = "0"] = process.argv.slice(2);
const record = { id: "0".repeat(64), name, imageName: "busybox", labels: {} };
for (let i = 0; i < Number(count); i++)
  await noteEvent({ dataDir, runtimeDir: dataDir }, "exec_start", record, {
    execId: String(i),
    command: "x".repeat(Number(bytes)),
  });
