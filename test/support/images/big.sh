#!/usr/bin/env bash
# The image that the benchmarks pull, six layers as a Dockerfile would leave them: big.sh LAYOUT_DIR  (tag "1").
#
#   1 Debian with Python   2 Node   3 nginx   4 PostgreSQL   5 git and headers   6 removals and setcap
#
# About 290 MB compressed, 870 MB of tar, 75,000 entries. Needs root (apt in a chroot). Takes minutes, once.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin"
export LC_ALL=C
here=$(dirname "${BASH_SOURCE[0]}")
source "$here/../../../scripts/cached-layout.sh"
((EUID == 0)) || { echo "big.sh: needs root to install packages in a chroot" >&2; exit 1; }
debian=$(dirname "$1")/debian
bash "$here/../../../scripts/debian-image.sh" "$debian"
begin_layout "$1" "${BASH_SOURCE[0]}" "$debian.recipe"

cp -r "$debian" "$image"
umoci tag --image "$image:12" 1
umoci rm --image "$image:12"
bundle=$work/bundle
umoci unpack --image "$image:1" "$bundle"
rootfs=$bundle/rootfs

# In a mount namespace of its own, so that nothing stays mounted if this is killed.
install_layer() {
  local title=$1
  shift
  cp /etc/resolv.conf "$work/resolv.conf"
  printf '#!/bin/sh\nexit 101\n' >"$rootfs/usr/sbin/policy-rc.d" && chmod 0755 "$rootfs/usr/sbin/policy-rc.d"
  # Documentation is wanted here: it is what makes a real image's many small files.
  rm -f "$rootfs"/etc/dpkg/dpkg.cfg.d/*
  unshare --mount bash -euo pipefail -s "$rootfs" "$work/resolv.conf" "$@" <<'END' >"$work/apt.log" 2>&1 || {
    rootfs=$1 resolv=$2
    shift 2
    mount -t proc proc "$rootfs/proc"
    mount --bind /dev "$rootfs/dev"
    touch "$rootfs/etc/resolv.conf"
    mount --bind "$resolv" "$rootfs/etc/resolv.conf"
    export DEBIAN_FRONTEND=noninteractive
    chroot "$rootfs" apt-get -q -o Acquire::Retries=3 update
    chroot "$rootfs" apt-get -q -o Acquire::Retries=3 install -y --no-install-recommends "$@" </dev/null
END
    tail -n 20 "$work/apt.log" >&2
    return 1
  }
  rm -rf "$rootfs/usr/sbin/policy-rc.d" "$rootfs"/var/lib/apt/lists/* "$rootfs"/var/cache/apt/*.bin "$rootfs"/var/cache/apt/archives/*.deb
  umoci repack --image "$image:1" --refresh-bundle --history.created_by "$title" "$bundle"
}

install_layer "node" nodejs npm eslint webpack
install_layer "nginx" nginx
install_layer "postgresql" postgresql postgresql-contrib
install_layer "git and headers" git git-doc libboost1.81-dev
rm -rf "$rootfs"/usr/share/doc/git/RelNotes "$rootfs"/usr/share/locale
setcap cap_net_bind_service+ep "$rootfs/usr/sbin/nginx"
umoci repack --image "$image:1" --history.created_by "removals and setcap" "$bundle"
umoci config --image "$image:1" --config.cmd bash
publish_layout
