/** What opens a registry. */
import { inspect } from "node:util";

/** A string that shows itself only to `reveal()`: not to templates, JSON, `console.log` or error dumps. */
export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  reveal(): string {
    return this.#value;
  }

  toString(): string {
    return "[secret]";
  }

  toJSON(): string {
    return "[secret]";
  }

  [inspect.custom](): string {
    return "[secret]";
  }
}

export interface PasswordCredentials {
  readonly kind: "password";
  readonly username: string;
  readonly password: Secret;
}

/** An OAuth 2 refresh token: https://distribution.github.io/distribution/spec/auth/oauth/ */
export interface IdentityTokenCredentials {
  readonly kind: "identity-token";
  readonly token: Secret;
}

/** A bearer token that is sent to the registry as it is. */
export interface RegistryTokenCredentials {
  readonly kind: "registry-token";
  readonly token: Secret;
}

export type Credentials = PasswordCredentials | IdentityTokenCredentials | RegistryTokenCredentials;

export function passwordCredentials(username: string, password: string): PasswordCredentials {
  return { kind: "password", username, password: new Secret(password) };
}

export interface CredentialsQuery {
  /** Of the registry, as in `Reference.repository`: some files have entries for a part of a registry. */
  readonly repository?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface Keychain {
  /**
   * The credentials for a registry, named as in `Reference.registry`; undefined when there are none.
   * @throws AuthError `credential-helper-failed`, `invalid-docker-config`
   */
  credentialsFor(registry: string, query?: CredentialsQuery): Promise<Credentials | undefined>;
}
