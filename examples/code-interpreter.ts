/**
 * A code interpreter for Python that nobody trusts: each snippet runs in the same machine, which has no network, little
 * memory and ten seconds for each; what one leaves behind, the next one finds, and the host never.
 *
 *     node code-interpreter.js [IMAGE]
 */
import { FlameBox } from "flamebox";

const image = process.argv[2] ?? "docker.io/library/python:3-slim";

const snippets = [
  "print(sum(range(101)))",
  "open('/tmp/state', 'w').write('kept between snippets')",
  "print(open('/tmp/state').read())",
  "import urllib.request; urllib.request.urlopen('http://192.0.2.1/', timeout=2)",
  "while True: pass",
];

const box = await FlameBox.create(image, { network: "none", memoryMib: 256, pidsLimit: 64 });
try {
  for (const [index, source] of snippets.entries()) {
    const path = `/app/snippet-${index}.py`;
    await box.files.write(path, source);
    try {
      const { exitCode, stdout, stderr } = await box.exec(["python3", path], { timeoutMs: 10_000 });
      const lastLine = stderr.trim().split("\n").at(-1) ?? "";
      console.log(`${index}: exit ${exitCode} ${stdout.trim() || lastLine}`);
    } catch (error) {
      console.log(`${index}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
} finally {
  await box[Symbol.asyncDispose]();
}
