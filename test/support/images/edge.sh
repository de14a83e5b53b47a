#!/usr/bin/env bash
# Six layers with what real images rarely have and a converter must still get right: edge.sh LAYOUT_DIR
# (tag "1"). Needs root, for device nodes and owners. All of it is below /edge, on the Debian image, whose
# Python reports the tree from inside.
#
#   1 Debian            3 umoci: removals, changes of type and mode    5 raw: same-layer replacements, links
#   2 umoci: the tree   4 raw: opaque marks, links across layers       6 umoci: new on top of removed
#
# Layers 2, 3 and 6 are what `umoci repack` finds changed in an unpacked tree; 4 and 5 are written with GNU
# tar, because repack never makes opaque marks, links into lower layers or sparse entries.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin"
export LC_ALL=C
here=$(dirname "${BASH_SOURCE[0]}")
source "$here/../../../scripts/cached-layout.sh"
((EUID == 0)) || { echo "edge.sh: needs root for device nodes and owners" >&2; exit 1; }
debian=$(dirname "$1")/debian
bash "$here/../../../scripts/debian-image.sh" "$debian"
begin_layout "$1" "${BASH_SOURCE[0]}" "$debian.recipe"

cp -r "$debian" "$image"
umoci tag --image "$image:12" 1
umoci rm --image "$image:12"
bundle=$work/bundle
umoci unpack --image "$image:1" "$bundle"
edge=$bundle/rootfs/edge

repack() { umoci repack --image "$image:1" --refresh-bundle --history.created_by "$1" "$bundle"; }
# From here on the bundle is behind the image, so it is unpacked anew where repack follows.
add_raw() { umoci raw add-layer --image "$image:1" --history.created_by "$1" "$2"; }
bytes() { head -c "$1" /dev/urandom; }

# 2: the tree
mkdir -p "$edge"/{owned,names,links,sparse,sizes,times,xattrs,devices,removed/deep/er,opaque/kept,types/dir,lower}
chmod 2775 "$edge/owned"
for mode in 0000 0400 0644 0755 1777 2755 4755 6711; do
  echo "$mode" >"$edge/owned/$mode"
  chown 1000:2000 "$edge/owned/$mode"
  chmod "$mode" "$edge/owned/$mode"
done
chown 4294967294:65536 "$edge/owned/0644"
mkdir "$edge/owned/sticky" && chmod 1777 "$edge/owned/sticky"

touch "$edge/names/$(printf 'n%.0s' {1..255})" "$edge/names/"$'bytes\xff\xfe\x80' "$edge/names/"$'new\nline' \
  "$edge/names/ space " "$edge/names/ümläut" "$edge/names/back\\slash" "$edge/names/-dash" "$edge/names/.wharf"
mkdir -p "$edge/names/$(printf 'd%.0s' {1..200})/$(printf 'e%.0s' {1..200})"
echo deep >"$edge/names/$(printf 'd%.0s' {1..200})/$(printf 'e%.0s' {1..200})/file"
mkdir "$edge/names/many"
(cd "$edge/names/many" && for i in {1..1500}; do : >"entry-$i-with-a-name-that-fills-blocks"; done)

echo shared >"$edge/links/a"
ln "$edge/links/a" "$edge/links/b"
ln "$edge/links/a" "$edge/names/linked"
echo lower >"$edge/lower/target"
ln -s ../links/a "$edge/links/relative"
ln -s /edge/links/a "$edge/links/absolute"
ln -s /nowhere "$edge/links/dangling"
ln -s "$(printf 'p/%.0s' {1..1500})end" "$edge/links/long"
ln -s lower "$edge/through"

truncate -s 64M "$edge/sparse/holes"
bytes 5000 | dd of="$edge/sparse/holes" bs=1M seek=3 conv=notrunc status=none
bytes 100 | dd of="$edge/sparse/holes" bs=1 seek=$((60 * 1024 * 1024 + 77)) conv=notrunc status=none
truncate -s 3M "$edge/sparse/all-hole"
for size in 0 1 1023 1024 1025 4095 4096 4097 131072 1048577; do bytes "$size" >"$edge/sizes/$size"; done

mknod "$edge/devices/null" c 1 3
mknod "$edge/devices/loop" b 7 130
mknod "$edge/devices/large" c 259 70000
mknod "$edge/devices/fifo" p
chmod 0620 "$edge/devices/null" && chown 0:5 "$edge/devices/null"

cp "$bundle/rootfs/usr/bin/true" "$edge/xattrs/capable"
setcap cap_net_bind_service,cap_net_raw+ep "$edge/xattrs/capable"
echo x >"$edge/xattrs/file"
setfattr -n user.text -v "a value" "$edge/xattrs/file"
setfattr -n user.binary -v 0x00ff0a3d00 "$edge/xattrs/file"
setfattr -n user.long -v "$(printf 'v%.0s' {1..2000})" "$edge/xattrs/file"
setfattr -n user.of-a-directory -v yes "$edge/xattrs"

touch -d @-1.5 "$edge/times/negative-fraction"
touch -d @-86400 "$edge/times/negative"
touch -d @0 "$edge/times/epoch"
touch -d @1700000000.123456789 "$edge/times/nanoseconds"
touch -d @4102444800 "$edge/times/2100"
touch -h -d @1234567890.5 "$edge/links/dangling"
touch -d @1000000000.25 "$edge/times"

echo 1 >"$edge/removed/file"; echo 2 >"$edge/removed/deep/er/file"; echo 3 >"$edge/removed/stays"
echo hidden >"$edge/opaque/hidden"; echo hidden >"$edge/opaque/kept/hidden"
echo f >"$edge/types/file"; ln -s dir "$edge/types/link"; echo inside >"$edge/types/dir/inside"
echo "again" >"$edge/again"
repack "the tree"

# 3: removals, changes of type, of mode and owner only
rm -r "$edge/removed/deep" "$edge/removed/file" "$edge/again"
rm "$edge/types/file" && mkdir "$edge/types/file" && echo new >"$edge/types/file/new"
rm -r "$edge/types/dir" && echo "a file now" >"$edge/types/dir"
rm "$edge/types/link" && mkdir "$edge/types/link"
chmod 0711 "$edge/owned/0755" && chown 7:8 "$edge/owned/0755"
chmod 0700 "$edge/sizes"
rm "$edge/names/many/"entry-1*
repack "removals and changes"

# 4: opaque marks, hard links into lower layers, the three PAX forms of sparse entries (umoci knows no older)
stage=$work/four/edge
mkdir -p "$stage"/{opaque,lower,sparse}
touch "$stage/opaque/.wh..wh..opq"
echo new >"$stage/opaque/new"
mkdir "$stage/opaque/kept" && echo fresh >"$stage/opaque/kept/fresh"
echo lower >"$stage/lower/target"
ln "$stage/lower/target" "$stage/lower/linked-from-above"
mkdir "$stage/links"
echo shared >"$stage/links/a"
ln "$stage/links/a" "$stage/links/from-layer-4"
truncate -s 8M "$stage/sparse/pax10"
for at in 0 1 3 7; do bytes 4096 | dd of="$stage/sparse/pax10" bs=1M seek=$at conv=notrunc status=none; done
cp --sparse=always "$stage/sparse/pax10" "$stage/sparse/pax01"
cp --sparse=always "$stage/sparse/pax10" "$stage/sparse/pax00"
layer=$work/four.tar
write() { tar --directory "$work/four" --numeric-owner --no-recursion "$@"; }
# The links' targets come first, become the link entries' names, and are then taken out of the archive: what
# stays are links into the lower layer.
write --create --file "$layer" --format=pax edge/lower/target edge/lower/linked-from-above edge/links/a edge/links/from-layer-4
tar --delete --file "$layer" edge/lower/target
tar --delete --file "$layer" edge/links/a
write --append --file "$layer" --format=pax edge/opaque edge/opaque/.wh..wh..opq edge/opaque/new edge/opaque/kept edge/opaque/kept/fresh
write --append --file "$layer" --format=pax --sparse --sparse-version=1.0 edge/sparse/pax10
write --append --file "$layer" --format=pax --sparse --sparse-version=0.1 edge/sparse/pax01
write --append --file "$layer" --format=pax --sparse --sparse-version=0.0 edge/sparse/pax00
add_raw "opaque marks, links into lower layers, sparse entries" "$layer"

# 5: one layer that contradicts itself, and names below symbolic links of lower layers
stage=$work/five/edge
mkdir -p "$stage"/{twice,through,times,opaque}
echo first >"$stage/twice/file"
layer=$work/five.tar
write() { tar --directory "$work/five" --numeric-owner --no-recursion --format=pax "$@"; }
write --create --file "$layer" edge/twice edge/twice/file
echo second >"$stage/twice/file" && chmod 0600 "$stage/twice/file"
write --append --file "$layer" edge/twice/file
# A whiteout and a new file of the same name in one layer: the new file stays.
touch "$stage/.wh.lower-gone" "$stage/opaque/.wh.new"
echo "new in layer 5" >"$stage/opaque/new"
write --append --file "$layer" edge/opaque/.wh.new edge/opaque/new
# /edge/through is a symbolic link to lower/: what the layer puts below it goes there.
echo "came through a link" >"$stage/through/arrived"
write --append --file "$layer" edge/through/arrived
touch -d @-2.25 "$stage/times/negative-pax" && touch -d @-0.000000001 "$stage/times/just-before"
write --append --file "$layer" edge/times/negative-pax edge/times/just-before
add_raw "replacements and links" "$layer"

# 6: new where something was removed
rm -r "$bundle"
umoci unpack --image "$image:1" "$bundle"
mkdir -p "$edge/removed/deep" && echo back >"$edge/removed/deep/file"
echo "again, as a new file" >"$edge/again"
ln "$edge/again" "$edge/again-linked"
rm "$edge/links/b" "$edge/lower/target"
touch -d @1600000000.75 "$edge/removed" "$edge"
repack "new on top of removed"

umoci config --image "$image:1" --config.cmd python3
publish_layout
