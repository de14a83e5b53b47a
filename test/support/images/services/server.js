// An HTTP server with a worker thread for its sums and a child process for its name; ends itself on SIGTERM.
"use strict";
const { execFile } = require("node:child_process");
const { createServer } = require("node:http");
const { Worker, isMainThread, parentPort } = require("node:worker_threads");

if (!isMainThread) {
  parentPort.on("message", (count) => {
    let sum = 0;
    for (let n = 1; n <= count; n++) sum += n;
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker, not a window
    parentPort.postMessage(sum);
  });
} else {
  const worker = new Worker(__filename);
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url, "http://localhost");
    if (pathname === "/sum") {
      worker.once("message", (sum) => response.end(`${sum}\n`));
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker, not a window
      worker.postMessage(Number(searchParams.get("to")));
    } else if (pathname === "/user") {
      execFile("id", ["-un"], (error, stdout) => response.end(error ? String(error) : stdout));
    } else if (request.method === "POST") {
      request.pipe(response);
    } else {
      response.end(`node ${process.version}, ${process.env.NODE_ENV}, process ${process.pid}\n`);
    }
  });
  server.listen(3000, () => console.log("listening"));
  process.on("SIGTERM", () => {
    console.log("closing");
    server.close(() => process.exit(0));
    server.closeAllConnections();
  });
}
