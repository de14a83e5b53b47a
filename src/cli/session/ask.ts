/** Questions on a terminal. They are asked on standard error, as standard output is data. */
import type { CliContext } from "../context.ts";
import { CliError, UsageError } from "../failure.ts";

const MAX_ANSWER_BYTES = 64 * 1024;

/** One line of standard input, without its end. */
async function readLine(context: CliContext): Promise<string> {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  // Not `for await`, which would close the stream for the next question.
  return await new Promise<string>((resolve, reject) => {
    const { stdin } = context;
    const settle = (finish: () => void) => {
      stdin.off("data", onData).off("end", onEnd).off("error", onError);
      stdin.pause();
      finish();
    };
    const onEnd = () => settle(() => resolve(Buffer.concat(chunks).toString("utf8")));
    const onError = (error: Error) => settle(() => reject(error));
    const onData = (given: Buffer | string) => {
      const chunk = Buffer.from(given as string);
      const end = chunk.indexOf(0x0a);
      chunks.push(end === -1 ? chunk : chunk.subarray(0, end));
      sizeBytes += chunk.length;
      if (end !== -1) onEnd();
      else if (sizeBytes > MAX_ANSWER_BYTES)
        onError(new CliError("input-too-long", "the answer does not end"));
    };
    stdin.on("data", onData).on("end", onEnd).on("error", onError);
  });
}

export async function ask(context: CliContext, question: string): Promise<string> {
  context.stderr.write(question);
  return (await readLine(context)).replace(/\r$/, "");
}

/** What is typed does not appear. */
export async function askSecretly(context: CliContext, question: string): Promise<string> {
  const restore = () => context.stty(["echo"]);
  const withdraw = context.onExit(restore);
  context.stty(["-echo"]);
  try {
    return await ask(context, question);
  } finally {
    restore();
    withdraw();
    context.stderr.write("\n");
  }
}

/** All of standard input, without one line's end behind it. */
export async function readSecret(context: CliContext): Promise<string> {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of context.stdin as AsyncIterable<Buffer | string>) {
    const bytes = Buffer.from(chunk as string);
    sizeBytes += bytes.length;
    if (sizeBytes > MAX_ANSWER_BYTES)
      throw new CliError("input-too-long", `a password has at most ${MAX_ANSWER_BYTES} bytes`);
    chunks.push(bytes);
  }
  return Buffer.concat(chunks)
    .toString("utf8")
    .replace(/\r?\n$/, "");
}

/** @throws UsageError where nobody can be asked, and for any answer but yes */
export async function confirm(context: CliContext, warning: string): Promise<void> {
  if (context.stdin.isTTY !== true)
    throw new UsageError("this is to be confirmed, and standard input is no terminal", "use --force");
  const answer = await ask(context, `${warning}\nAre you sure you want to continue? [y/N] `);
  if (!/^y(?:es)?$/i.test(answer.trim())) throw new CliError("not-confirmed", "nothing was removed");
}
