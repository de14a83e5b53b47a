/**
 * A PostgreSQL for one test suite: started with its suite, reached at a port of this host, gone with it.
 *
 *     node throwaway-postgres.js [IMAGE]
 */
import { FlameBox } from "flamebox";

const image = process.argv[2] ?? "docker.io/library/postgres:17";

const database = await FlameBox.create(image, {
  // Not a process that does nothing, but the image's own.
  idle: false,
  env: { POSTGRES_HOST_AUTH_METHOD: "trust" },
  memoryMib: 768,
  shmSizeBytes: 256 * 2 ** 20,
  publish: [{ hostPort: 0, containerPort: 5432, protocol: "tcp" }],
});
try {
  const ask = ["psql", "-h", "127.0.0.1", "-U", "postgres", "-At", "-c"];
  for (let tries = 0; ; tries++) {
    const { exitCode, stderr } = await database.exec([...ask, "select 1"]);
    if (exitCode === 0) break;
    if (tries === 600) throw new Error(`the server did not come up: ${stderr}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  await database.exec([...ask, "create table kept (value int); insert into kept values (40), (2)"]);
  const { stdout } = await database.exec([...ask, "select sum(value) from kept"]);
  console.log(`the server at ${database.address(5432)} counts ${stdout.trim()}`);
} finally {
  await database[Symbol.asyncDispose]();
}
