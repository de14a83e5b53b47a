/** What a row of the hostile tables is: where the guest stops behaving, what it does then, and how that must end. */
import type { ContainerOptions, RunningContainer } from "../../src/container/options.ts";
import type { Guest, Stage } from "./guest.ts";
import type { ScriptedMachine } from "./stage.ts";

export interface Failing {
  readonly error: string;
  /** What the message's first line says. */
  readonly says?: RegExp;
}

/** How a container's way ended: with an error of its start or of somebody's waiting, or with its exit. */
export type Ending =
  | Failing
  | {
      readonly code: number;
      readonly signal?: number;
      readonly stdout?: string;
      readonly stderr?: string;
    };

export interface Script {
  readonly name: string;
  readonly stage: Stage;
  readonly attack: (guest: Guest, machine: ScriptedMachine) => void | Promise<void>;
  /** What the host's user does meanwhile, once the container runs. */
  readonly user?: (container: RunningContainer) => void | Promise<void>;
  /** What the container is started with. */
  readonly options?: ContainerOptions;
  /** Nobody reads the output. */
  readonly unread?: boolean;
  readonly ending: Ending;
}

type Attack = Script["attack"];

/** The guest broke the protocol: before its first answer the machine has not started, later it is lost. */
export function breach(name: string, stage: Stage, attack: Attack, says = /./): Script {
  const pattern = new RegExp(`broke the agent protocol: .*${says.source}`);
  const error = stage === "connected" ? "protocol-error" : "machine-lost";
  return { name: `${name}, ${stage}`, stage, attack, ending: { error, says: pattern } };
}

/** Odd, but within the protocol, or harmless: the container goes on to its end. */
export function harmless(name: string, stage: Stage, attack: Attack, ending: Ending = { code: 0 }): Script {
  return { name: `${name}, ${stage}`, stage, attack, ending };
}

export function fails(name: string, stage: Stage, attack: Attack, error: string, says = /./): Script {
  return { name: `${name}, ${stage}`, stage, attack, ending: { error, says } };
}
