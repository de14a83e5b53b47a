/** One simple query to a PostgreSQL server that trusts everybody, in the protocol's own bytes. */
import { once } from "node:events";
import { connect } from "node:net";

/** https://www.postgresql.org/docs/15/protocol-message-formats.html: a length counts itself, not the type. */
function message(type: string, body: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(body.length + 4);
  return Buffer.concat([Buffer.from(type), length, body]);
}

function startup(user: string): Buffer {
  const version = Buffer.alloc(4);
  version.writeUInt32BE(196_608);
  return message("", Buffer.concat([version, Buffer.from(`user\0${user}\0database\0${user}\0\0`)]));
}

/** The columns of a DataRow; null is "". */
function columnsOf(body: Buffer): string[] {
  const columns: string[] = [];
  let at = 2;
  for (let left = body.readUInt16BE(0); left > 0; left--) {
    const length = Math.max(0, body.readInt32BE(at));
    columns.push(body.toString("utf8", at + 4, at + 4 + length));
    at += 4 + length;
  }
  return columns;
}

/** The rows that `sql` gives user postgres. @throws Error with what the server says */
export async function query(port: number, sql: string): Promise<string[][]> {
  const socket = connect(port, "127.0.0.1");
  socket.setTimeout(60_000, () => socket.destroy(new Error("PostgreSQL says nothing")));
  const rows: string[][] = [];
  let pending: Buffer = Buffer.alloc(0);
  let ready = 0;
  try {
    await once(socket, "connect");
    socket.write(startup("postgres"));
    // The first "ready for query" ends the greeting, the second the answer. One that is not up yet just hangs up.
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      pending = Buffer.concat([pending, chunk]);
      while (pending.length >= 5 && pending.length > pending.readUInt32BE(1)) {
        const end = pending.readUInt32BE(1) + 1;
        const [type, body] = [pending.toString("latin1", 0, 1), pending.subarray(5, end)];
        pending = pending.subarray(end);
        if (type === "E") throw new Error(`PostgreSQL: ${body.toString().replaceAll("\0", " ")}`);
        if (type === "D") rows.push(columnsOf(body));
        if (type === "Z" && ++ready === 1) socket.write(message("Q", Buffer.from(`${sql}\0`)));
      }
      if (ready === 2) return rows;
    }
    throw new Error("PostgreSQL has ended the connection");
  } finally {
    socket.destroy();
  }
}
