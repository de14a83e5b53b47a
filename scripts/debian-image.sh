#!/usr/bin/env bash
# Makes a Debian 12 image with Python, as an OCI layout: debian-image.sh LAYOUT_DIR  (its tag is "12").
# With other packages instead: debian-image.sh LAYOUT_DIR PACKAGE,PACKAGE…
#
#   apt's mirror ──mmdebstrap──► one tar ──umoci──► LAYOUT_DIR
#
# Works as root and as an ordinary user (mmdebstrap then enters a user namespace, or uses fakechroot). An
# image that is there and was made by this same script is kept, so only the first call takes long. Two calls
# at once are safe: the second waits, and finds what the first has made.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin"

source "$(dirname "${BASH_SOURCE[0]}")/cached-layout.sh"
packages=${2:-python3}
begin_layout "$1" "${BASH_SOURCE[0]}" <(echo "$packages")
# An ordinary user's mmdebstrap works under other user ids, which have to get through to the tar.
chmod 0711 "$work"

# The mirrors this machine is already configured to use, where it runs Debian 12 itself; else Debian's own.
mirrors=$(apt-get indextargets --format 'deb $(REPO_URI) $(CODENAME) $(COMPONENT)' \
  'Created-By: Packages' 'Origin: Debian' 2>/dev/null | grep -E ' bookworm(-updates|-security)? main$' | sort -u || true)
proxy=$(apt-config shell value Acquire::http::Proxy 2>/dev/null | sed -n "s/^value='\(.*\)'$/\1/p" || true)

options=(
  --variant=minbase --include="$packages"
  # Documentation and translations are a third of the image and nobody reads them in there.
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright'
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*'
  --aptopt='Acquire::Retries "3"'
)
if [[ -n "$proxy" ]]; then options+=(--aptopt="Acquire::http::Proxy \"$proxy\""); fi

log=$work/mmdebstrap.log
if [[ "$mirrors" == *" bookworm main"* ]]; then
  mmdebstrap "${options[@]}" bookworm - - <<<"$mirrors" >"$work/rootfs.tar" 2>"$log" || failed=1
else
  mmdebstrap "${options[@]}" bookworm - >"$work/rootfs.tar" 2>"$log" || failed=1
fi
if [[ -n "${failed:-}" ]]; then
  echo "debian-image: mmdebstrap could not make a Debian tree; its last words:" >&2
  tail -n 20 "$log" >&2
  exit 1
fi

umoci init --layout "$image"
umoci new --image "$image:12"
umoci raw add-layer --image "$image:12" --history.created_by "mmdebstrap bookworm $packages" "$work/rootfs.tar"
umoci config --image "$image:12" --config.cmd /bin/bash --config.workingdir / \
  --config.env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --config.env LANG=C.UTF-8
publish_layout
