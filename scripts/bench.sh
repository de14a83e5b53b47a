#!/usr/bin/env bash
# Runs the benchmarks against a fresh build; bench/main.ts says what the arguments are. Only results are on
# stdout: what building has to say goes to stderr.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PATH:/usr/sbin:/sbin:$HOME/.cargo/bin"
case " $* " in
  *" --list "*) ;;
  *) bash scripts/setup.sh --test >&2 ;;
esac
npx tsc -p tsconfig.bench.json >&2
exec node --enable-source-maps .cache/bench/bench/main.js "$@"
