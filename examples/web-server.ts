/**
 * A web server behind a port of this host, with files that it was given.
 *
 *     node web-server.js [IMAGE]
 */
import { FlameBox } from "flamebox";

const image = process.argv[2] ?? "docker.io/library/python:3-slim";

const server = await FlameBox.create(image, {
  publish: [{ hostPort: 0, containerPort: 8000, protocol: "tcp" }],
  egress: { policy: "deny" },
});
try {
  await server.files.write("/srv/www/index.html", "<h1>from a machine of its own</h1>\n");
  const serving = await server.spawn(["python3", "-m", "http.server", "8000"], { workdir: "/srv/www" });
  serving.stdout.resume();
  serving.stderr.resume();
  const url = `http://${server.address(8000)}/`;
  for (let tries = 0; ; tries++) {
    try {
      const answer = await fetch(url);
      console.log(`${answer.status} ${(await answer.text()).trim()}`);
      break;
    } catch (error) {
      if (tries === 300) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
} finally {
  await server[Symbol.asyncDispose]();
}
