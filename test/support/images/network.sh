#!/usr/bin/env bash
# busybox and the program that plays the guest's part in the network contract: network.sh LAYOUT_DIR  (tag "1").
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
source "$here/../../../scripts/cached-layout.sh"
begin_layout "$1" "${BASH_SOURCE[0]}" "$here/network-probe.c" "$here/busybox.sh"

base=$(dirname "$1")/busybox
bash "$here/busybox.sh" "$base"
cp -r "$base" "$image"
mkdir -p "$work/root/bin"
cc -O1 -static -Wall -o "$work/root/bin/network-probe" "$here/network-probe.c"
tar --create --file "$work/layer.tar" --directory "$work/root" --numeric-owner --owner=0 --group=0 --sort=name \
  --mtime=@1700000000 bin/network-probe
umoci raw add-layer --image "$image:1" --history.created_by "network-probe" "$work/layer.tar"
publish_layout
