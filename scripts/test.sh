#!/usr/bin/env bash
# All that is checked about this repository, in one go: formatting, lint, types, the guest's own tests, the
# build, and every vitest test, those in real machines included. The last line is
#
#   N passed, N failed, N skipped
#
# over the checks, the guest's tests and vitest's. Everything runs even when something before it failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PATH:/usr/sbin:/sbin:$HOME/.cargo/bin"

work=$(mktemp -d "${TMPDIR:-/tmp}/flamebox-test.XXXXXXXX")
guest_checks=""
trap 'if [[ -n $guest_checks ]]; then kill -- "-$guest_checks" 2>/dev/null || true; fi; rm -rf "$work"' EXIT
passed=0 failed=0 skipped=0

# The guest is built, tested and linted for as long as the packages of npm, the checks and the first tests of TypeScript
# take: it needs a core of two now and then, and they one.
guest_job() {
  bash scripts/setup.sh --test guest || return
  touch "$work/guest-is-built"
  cd guest
  local status=0
  cargo test --quiet --locked || status=$?
  echo "cargo test ended with $status"
  cargo clippy --quiet --all-targets --locked -- -D warnings >"$work/clippy" 2>&1 && echo "clippy is content"
}

echo "== what the tests need (only what is missing)"
bash scripts/setup.sh --test packages
# With all its programs in a process group of their own, by which they end when this does.
set -m
guest_job >"$work/guest" 2>&1 </dev/null &
guest_checks=$!
set +m
echo "  guest: cargo build --release, its tests and its lint, in the background"
bash scripts/setup.sh --test npm dist

# A check that is silent when it passes: check NAME COMMAND…
check() {
  local name=$1 started=$SECONDS
  shift
  if "$@" >"$work/output" 2>&1; then
    passed=$((passed + 1))
    echo "ok    $name ($((SECONDS - started)) s)"
  else
    failed=$((failed + 1))
    echo "FAIL  $name"
    sed 's/^/      /' "$work/output"
  fi
}

echo "== checks"
check "format (biome)" npm run --silent format:check
check "types (tsc)" npm run --silent typecheck
check "lint (oxlint)" npm run --silent lint
check "library reference (typedoc)" npm run --silent docs:check
check "shell scripts parse (bash -n)" bash -c 'for f in scripts/*.sh test/support/images/*.sh .ci/run; do bash -n "$f" || exit 1; done'
check "guest format (cargo fmt)" bash -c 'cd guest && cargo fmt --check'

while [[ ! -e $work/guest-is-built ]] && kill -0 "$guest_checks" 2>/dev/null; do sleep 0.2; done
[[ -e $work/guest-is-built ]] || {
  cat "$work/guest" >&2
  exit 1
}
bash scripts/setup.sh --test kernel

echo "== tests (vitest)"
vitest_status=0
npx vitest run --reporter=default --reporter=json --outputFile.json="$work/vitest.json" "$@" || vitest_status=$?
read -r vitest_passed vitest_failed vitest_skipped < <(
  node -e '
    let result = {};
    try { result = JSON.parse(require("node:fs").readFileSync(process.argv[1], "utf8")); } catch {}
    const n = (value) => value ?? 0;
    console.log(n(result.numPassedTests), n(result.numFailedTests), n(result.numPendingTests) + n(result.numTodoTests));
  ' "$work/vitest.json"
)
# A file that cannot be loaded, or an error outside of any test, fails the run without a failed test.
if ((vitest_status != 0 && vitest_failed == 0)); then vitest_failed=1; fi
passed=$((passed + vitest_passed)) failed=$((failed + vitest_failed)) skipped=$((skipped + vitest_skipped))

echo "== guest tests (cargo test), and its lint"
wait "$guest_checks" || true
guest_checks=""
read -r guest_passed guest_failed guest_skipped < <(
  sed -n 's/^test result: .*\. \([0-9]*\) passed; \([0-9]*\) failed; \([0-9]*\) ignored;.*/\1 \2 \3/p' "$work/guest" |
    awk '{ p += $1; f += $2; s += $3 } END { print p + 0, f + 0, s + 0 }'
)
# A build that breaks has no results, and must count all the same.
if ((guest_failed == 0)) && ! grep -q '^cargo test ended with 0$' "$work/guest"; then guest_failed=1; fi
if ((guest_failed)); then sed 's/^/      /' "$work/guest"; fi
echo "      $guest_passed passed, $guest_failed failed, $guest_skipped skipped"
passed=$((passed + guest_passed)) failed=$((failed + guest_failed)) skipped=$((skipped + guest_skipped))
check "guest lint (clippy)" bash -c 'cat "$1"; grep -q "^clippy is content$" "$2"' - "$work/clippy" "$work/guest"

echo
echo "checks, guest tests and vitest together, in $SECONDS s:"
echo "$passed passed, $failed failed, $skipped skipped"
((failed == 0))
