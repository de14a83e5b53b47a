/**
 * Firecracker's API: HTTP with JSON over a unix socket. Each file beside this one mirrors one resource, with the
 * API's own names; this one sends what they make.
 * https://github.com/firecracker-microvm/firecracker/blob/main/src/firecracker/swagger/firecracker.yaml
 *
 * The VMM is trusted less than it seems: a guest that broke into it answers here, so answers and waits are bounded.
 */
import type { IncomingMessage } from "node:http";
import { Agent, request as httpRequest } from "node:http";
import { looseObject, safeParse, string } from "valibot";
import { messageOf } from "../../../util/error.ts";
import { printable } from "../../../util/printable.ts";
import { MachineError } from "../../machine.ts";

const MAX_ANSWER_BYTES = 256 * 1024;
const DEFAULT_DEADLINE_MS = 10_000;

export interface ApiRequest {
  readonly method: "GET" | "PUT" | "PATCH";
  /** `/machine-config` */
  readonly path: string;
  readonly body?: object | undefined;
  /** The code of the error that a refusal becomes: `boot-source-refused`. */
  readonly refusal: string;
  /** The files that it is about, for the error: Firecracker does not name them. */
  readonly files?: readonly string[] | undefined;
  /** Default 10,000. */
  readonly deadlineMs?: number | undefined;
}

const fault = looseObject({ fault_message: string() });

export class ApiClient {
  readonly #agent: Agent;
  readonly #socketPath: string;

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
    // One connection, used again: Firecracker takes ten, and answers in order.
    this.#agent = new Agent({ keepAlive: true, maxSockets: 1 });
  }

  /**
   * @returns the answer's JSON, unchecked; undefined for an empty one
   * @throws MachineError the request's `refusal`, `firecracker-timeout`, `firecracker-lost`
   */
  async send(request: ApiRequest): Promise<unknown> {
    const { statusCode = 0, text } = await this.#exchange(request);
    const answer = parse(text);
    if (statusCode >= 200 && statusCode < 300) return answer;
    const found = safeParse(fault, answer);
    const why = found.success ? found.output.fault_message : `status ${statusCode}`;
    const { method, path, files = [] } = request;
    const what = [method, path, ...files.map((file) => `"${file}"`)].join(" ");
    throw new MachineError(
      request.refusal,
      `Firecracker refused ${what}: ${printable(why.trim()).slice(0, 1_000)}`,
    );
  }

  async #exchange(request: ApiRequest): Promise<{ statusCode: number | undefined; text: string }> {
    const { method, path, body, deadlineMs = DEFAULT_DEADLINE_MS } = request;
    const text = body === undefined ? undefined : JSON.stringify(body);
    const headers = text === undefined ? {} : { "content-type": "application/json" };
    return await new Promise((resolve, reject) => {
      const timeout = new MachineError(
        "firecracker-timeout",
        `no answer to ${method} ${path} within ${deadlineMs} ms`,
      );
      const lost = (error: unknown) =>
        error instanceof MachineError
          ? error
          : new MachineError("firecracker-lost", `${method} ${path}: ${messageOf(error)}`, { cause: error });
      const asked = httpRequest({
        socketPath: this.#socketPath,
        agent: this.#agent,
        method,
        path,
        headers: { ...headers, ...(text !== undefined && { "content-length": Buffer.byteLength(text) }) },
      });
      const timer = setTimeout(() => asked.destroy(timeout), deadlineMs);
      asked.once("close", () => clearTimeout(timer));
      asked.once("error", (error) => reject(lost(error)));
      asked.once("response", (answer) => {
        textOf(answer).then(
          (said) => resolve({ statusCode: answer.statusCode, text: said }),
          (error: unknown) => reject(lost(error)),
        );
      });
      asked.end(text);
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}

async function textOf(answer: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    sizeBytes += chunk.length;
    if (sizeBytes > MAX_ANSWER_BYTES)
      throw new MachineError("firecracker-lost", "Firecracker sent an answer without end");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

function parse(text: string): unknown {
  try {
    return text === "" ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}
