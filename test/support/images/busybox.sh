#!/usr/bin/env bash
# The smallest useful image, one layer of Debian's static busybox: busybox.sh LAYOUT_DIR  (tag "1").
# Users root, www-data (33) and nobody; /tmp 1777; a file nobody may execute, for exit code 126.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin"
source "$(dirname "${BASH_SOURCE[0]}")/../../../scripts/cached-layout.sh"
begin_layout "$1" "${BASH_SOURCE[0]}"

root=$work/rootfs
mkdir -p "$root"/{bin,dev,etc,home/www,proc,root,sbin,sys,tmp,usr/bin,usr/sbin,var/www,run}
install -m 0755 "$(command -v busybox)" "$root/bin/busybox"
for applet in $(busybox --list); do
  [[ $applet == busybox ]] || ln -s busybox "$root/bin/$applet"
done
chmod 1777 "$root/tmp"
chmod 0700 "$root/root"
cat >"$root/etc/passwd" <<'END'
root:x:0:0:root:/root:/bin/sh
www-data:x:33:33:www-data:/var/www:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false
END
cat >"$root/etc/group" <<'END'
root:x:0:
tty:x:5:
audio:x:29:www-data
www-data:x:33:
nogroup:x:65534:
END
echo 'not a program' >"$root/etc/not-executable"
chmod 0644 "$root/etc/not-executable"
tar --create --file "$work/layer.tar" --directory "$root" --numeric-owner --owner=0 --group=0 --sort=name \
  --mtime=@1700000000 .

umoci init --layout "$image"
umoci new --image "$image:1"
umoci raw add-layer --image "$image:1" --history.created_by "busybox-static" "$work/layer.tar"
umoci config --image "$image:1" --config.cmd /bin/sh --config.workingdir / \
  --config.env PATH=/bin:/sbin:/usr/bin:/usr/sbin --config.env IMAGE_SAYS=hello
publish_layout
