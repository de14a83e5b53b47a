#!/usr/bin/env bash
# The machine and template suites against a real Firecracker: test-firecracker.sh [VITEST_ARGUMENT…]
#
# The program is FLAMEBOX_FIRECRACKER's, or found in the PATH; without one nothing is tested, and that is said. Where
# KVM is usable the suites run right here. Elsewhere FlameBox boots an outer machine in software emulation, whose
# processor has SVM, and runs them in there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PATH:/usr/sbin:/sbin:$HOME/.cargo/bin"

program=${FLAMEBOX_FIRECRACKER:-$(command -v firecracker || true)}
if [[ -z $program ]]; then
  echo "skipped: there is no firecracker in the PATH, and FLAMEBOX_FIRECRACKER names none"
  exit 0
fi
[[ -x $program ]] || { echo "test-firecracker: $program cannot be executed" >&2; exit 1; }
FLAMEBOX_FIRECRACKER=$(realpath "$program")
export FLAMEBOX_FIRECRACKER FLAMEBOX_TEST_FIRECRACKER=1
"$FLAMEBOX_FIRECRACKER" --version | head -n 1

bash scripts/setup.sh --test
if node dist/cli/main.js doctor --json | grep -q '"acceleration": *"kvm"'; then
  echo "KVM is usable: the suites run on this host"
  exec npx vitest run --project firecracker "$@"
fi
echo "KVM is not usable: the suites run in an outer machine, in software emulation"
exec npx vitest run --project nested "$@"
