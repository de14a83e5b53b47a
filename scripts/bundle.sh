#!/usr/bin/env bash
# Makes few files of what tsc has put into dist/, because the time to start counts: the command line in half the
# time, the library, the process that runs a container, and the thread that converts layers.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
made=$(mktemp -d dist/.bundle.XXXXXX)
trap 'rm -rf "$made"' EXIT

bundle() {
  npx rolldown "$1" --format esm --platform node --sourcemap "${@:2}" >/dev/null
}

bundle dist/rootfs/convert-worker.js --file dist/rootfs/convert-worker.js --no-codeSplitting
FLAMEBOX_BUNDLE_DIR=$made npx rolldown -c scripts/rolldown.config.mjs >/dev/null
# The package's own files are ES modules.
echo '{"type":"commonjs"}' >"$made/package.json"
rm -rf dist/cli dist/lib dist/monitor
mv "$made" dist/cli
# undici is loaded by parts, where it is used at all.
bundle dist/index.js --dir dist/lib --external undici \
  --entryFileNames index.js --chunkFileNames '[name]-[hash].js'
bundle dist/container/monitor-main.js --dir dist/monitor --external undici \
  --entryFileNames main.js --chunkFileNames '[name]-[hash].js'
chmod 755 dist/cli dist/cli/main.js
