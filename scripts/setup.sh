#!/usr/bin/env bash
# Puts in place what FlameBox needs on a Debian 12 machine, and only what is missing:
#
#   setup.sh            to build and run it: QEMU, passt, npm packages, the guest, dist/, the kernel
#   setup.sh --demo     and what scripts/demo.sh uses
#   setup.sh --test     and what the tests use
#   setup.sh … STEP…    these alone: packages npm dist guest kernel
#
# Debian packages are installed with apt-get, through sudo when this is not root; when they are all there,
# nobody is asked for anything.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# An ordinary user's PATH lacks the directories of mke2fs and others, and rustup's may not be in it yet.
export PATH="$PATH:/usr/sbin:/sbin:$HOME/.cargo/bin"

say() { printf '  %s\n' "$*"; }
fail() {
  printf 'setup: %s\n' "$*" >&2
  exit 1
}

# One row a need: a program (looked for in PATH) or a file (with a slash), and the Debian package that has it.
needs="
qemu-system-x86_64            qemu-system-x86
passt                         passt
mke2fs                        e2fsprogs
zstd                          zstd
xz                            xz-utils
depmod                        kmod
cc                            gcc
/usr/lib/x86_64-linux-gnu/libc.a  libc6-dev
"
publishing="
docker-registry               docker-registry
skopeo                        skopeo
umoci                         umoci
mmdebstrap                    mmdebstrap
newuidmap                     uidmap
"
testing="
fsck.erofs                    erofs-utils
qemu-img                      qemu-utils
tar2sqfs                      squashfs-tools-ng
unsquashfs                    squashfs-tools
/var/lib/dpkg/info/busybox-static.list busybox-static
openssl                       openssl
setfattr                      attr
setcap                        libcap2-bin
strace                        strace
zsh                           zsh
fish                          fish
man                           man-db
/usr/lib/cni/bridge           containernetworking-plugins
iptables                      iptables
"
case "${1:-}" in
  --demo) needs+=$publishing && shift ;;
  --test) needs+=$publishing$testing && shift ;;
esac

is_there() {
  case $1 in
    */*) [[ -e $1 ]] ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
  esac
}

install_packages() {
  local missing=() what package
  while read -r what package; do
    if [[ -n $what ]] && ! is_there "$what"; then missing+=("$package"); fi
  done <<<"$needs"
  if ((${#missing[@]} == 0)); then
    say "Debian packages: all there"
    return
  fi
  command -v apt-get >/dev/null || fail "this machine has no apt-get; install by hand what provides: ${missing[*]}"
  local as_root=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null || fail "these Debian packages are missing and need root to install: ${missing[*]}"
    as_root=(sudo)
  fi
  say "Debian packages: installing ${missing[*]}"
  # docker-registry's package would start a service on port 5000. Nothing here uses that one, so it is not
  # started, unless the machine's owner has a policy of his own about services.
  local policy=/usr/sbin/policy-rc.d ours="" status=0 log
  log=$(mktemp)
  if [[ ! -e $policy && " ${missing[*]} " == *" docker-registry "* ]]; then
    ours=yes
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod 0755 "$policy"
  fi
  {
    "${as_root[@]}" apt-get update -qq -o DPkg::Lock::Timeout=600 &&
      "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq -o DPkg::Lock::Timeout=600 --no-install-recommends "${missing[@]}" </dev/null
  } >"$log" 2>&1 || status=$?
  if [[ -n $ours ]]; then "${as_root[@]}" rm -f "$policy"; fi
  if ((status != 0)); then tail -n 20 "$log" >&2; fi
  rm -f "$log"
  ((status == 0)) || fail "apt-get could not install: ${missing[*]}"
}

# True when every package of the lock file is in node_modules at its version. npm keeps a copy of the lock
# file in there, which lacks only the optional packages of other platforms.
node_modules_match() {
  [[ -f node_modules/.package-lock.json ]] && node -e '
    const { readFileSync } = require("node:fs");
    const read = (path) => JSON.parse(readFileSync(path, "utf8")).packages;
    const wanted = read("package-lock.json"), have = read("node_modules/.package-lock.json");
    const differs = Object.entries(wanted).some(([path, { version, optional }]) =>
      path !== "" && (have[path] ? have[path].version !== version : !optional));
    process.exit(differs ? 1 : 0);'
}

install_npm_packages() {
  command -v node >/dev/null || fail "Node 20.18 or newer is needed (https://nodejs.org)"
  node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 18) ? 0 : 1)' ||
    fail "Node $(node --version) is too old; 20.18 or newer is needed (https://nodejs.org)"
  if node_modules_match; then
    say "npm packages: all there"
  else
    say "npm packages: npm ci"
    npm ci --no-audit --no-fund --loglevel=error
  fi
}

build_guest() {
  command -v cargo >/dev/null || fail "Rust's cargo is needed (https://rustup.rs)"
  say "guest: cargo build --release (about two minutes the first time)"
  (cd guest && cargo build --release --locked --quiet) || fail "the guest could not be built"
}

build_host() {
  say "dist/: npm run build"
  npm run --silent build || fail "the TypeScript build failed"
}

place_kernel() {
  say "kernel: flamebox setup"
  node dist/cli/main.js setup --quiet >/dev/null || fail "the kernel could not be put in place"
}

everything() {
  install_packages
  # Its last step takes a minute on one core, which is long enough for all that npm does.
  build_guest &
  local guest=$!
  # shellcheck disable=SC2064
  trap "kill $guest 2>/dev/null || true" EXIT
  install_npm_packages
  build_host
  wait "$guest" || exit 1
  trap - EXIT
  place_kernel
}

if (($# == 0)); then
  everything
  exit
fi
for step in "$@"; do
  case $step in
    packages) install_packages ;;
    npm) install_npm_packages ;;
    dist) build_host ;;
    guest) build_guest ;;
    kernel) place_kernel ;;
    *) fail "unknown argument $step (it takes --demo or --test, and packages, npm, dist, guest and kernel)" ;;
  esac
done
