#!/usr/bin/env bash
# Fuzzes; test/fuzz/main.ts says what the arguments are.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
npx tsc -p tsconfig.fuzz.json >&2
exec node --enable-source-maps .cache/fuzz/test/fuzz/main.js "$@"
