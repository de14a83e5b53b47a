#!/usr/bin/env bash
# Makes single files of what tsc has put into dist/ where the time to start counts: a thread that loads one file
# is ready sooner than one that loads twenty-five.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
for entry in dist/rootfs/convert-worker.js; do
  npx rolldown "$entry" --file "$entry" --format esm --platform node --no-codeSplitting --sourcemap >/dev/null
done
