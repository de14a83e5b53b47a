/** What a template is once it has been read: parse.ts makes it, evaluate.ts carries it out. */

/** `at` is everywhere where in the template's text something begins, from 0. */
export interface Place {
  readonly at: number;
}

export type Expression =
  | (Place & { readonly kind: "literal"; readonly value: string | number | boolean | null })
  | (Place & { readonly kind: "dot" })
  /** `""` is `$`: what the template was given. */
  | (Place & { readonly kind: "variable"; readonly name: string })
  | (Place & { readonly kind: "field"; readonly of: Expression; readonly name: string })
  | Pipeline;

/** A function and its values; without a function, one value. */
export interface Call extends Place {
  readonly name: string | undefined;
  readonly operands: readonly Expression[];
}

/** Each call's result is the last value of the next. */
export interface Pipeline extends Place {
  readonly kind: "pipeline";
  readonly calls: readonly Call[];
}

export interface Action extends Place {
  readonly kind: "action";
  /** `{{$x := …}}` and `{{$x = …}}` print nothing. */
  readonly variable: string | undefined;
  readonly isNew: boolean;
  readonly pipeline: Pipeline;
}

export interface Branch extends Place {
  readonly kind: "if" | "with" | "range";
  /** Of `range` two at most: the key's and the value's. */
  readonly variables: readonly string[];
  readonly pipeline: Pipeline;
  readonly body: readonly Node[];
  readonly otherwise: readonly Node[];
}

export type Node =
  | { readonly kind: "text"; readonly text: string }
  | Action
  | Branch
  | (Place & { readonly kind: "break" })
  | (Place & { readonly kind: "continue" });

/** What is wrong with a template, or with what it does to its data. */
export class TemplateFault extends Error {
  override readonly name = "TemplateFault";
  readonly at: number | undefined;
  readonly hint: string | undefined;

  constructor(message: string, at?: number, hint?: string) {
    super(message);
    this.at = at;
    this.hint = hint;
  }
}
