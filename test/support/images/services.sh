#!/usr/bin/env bash
# Servers as their authors' images have them, on Debian's packages: services.sh LAYOUT_DIR
#
#   one layer with the packages, one with the files of services/, and a tag a service with its own config:
#   nginx, postgres, redis, node, python, cron
#
# What is taken from the well-known images is how they start: the command in the foreground, entry points that
# give up root, logs on stdout, the stop signal, ports and volumes. Needs root (apt in a chroot).
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin"
export LC_ALL=C
here=$(dirname "${BASH_SOURCE[0]}")
source "$here/../../../scripts/cached-layout.sh"
((EUID == 0)) || { echo "services.sh: needs root to install packages in a chroot" >&2; exit 1; }
debian=$(dirname "$1")/debian
bash "$here/../../../scripts/debian-image.sh" "$debian"
begin_layout "$1" "${BASH_SOURCE[0]}" "$debian.recipe" "$here"/services/*

cp -r "$debian" "$image"
umoci tag --image "$image:12" packages
umoci rm --image "$image:12"
bundle=$work/bundle
umoci unpack --image "$image:packages" "$bundle"
rootfs=$bundle/rootfs

# Nothing is to start in the chroot, and no database cluster is to be made in the image.
printf '#!/bin/sh\nexit 101\n' >"$rootfs/usr/sbin/policy-rc.d" && chmod 0755 "$rootfs/usr/sbin/policy-rc.d"
mkdir -p "$rootfs/etc/postgresql-common"
echo 'create_main_cluster = false' >"$rootfs/etc/postgresql-common/createcluster.conf"
cp /etc/resolv.conf "$work/resolv.conf"
# In a mount namespace of its own, so that nothing stays mounted if this is killed.
unshare --mount bash -euo pipefail -s "$rootfs" "$work/resolv.conf" \
  nginx-light postgresql redis-server nodejs cron <<'END' >"$work/apt.log" 2>&1 || {
  rootfs=$1 resolv=$2
  shift 2
  mount -t proc proc "$rootfs/proc"
  mount --bind /dev "$rootfs/dev"
  touch "$rootfs/etc/resolv.conf"
  mount --bind "$resolv" "$rootfs/etc/resolv.conf"
  export DEBIAN_FRONTEND=noninteractive
  chroot "$rootfs" apt-get -q -o Acquire::Retries=3 update
  chroot "$rootfs" apt-get -q -o Acquire::Retries=3 -o Dpkg::Options::=--force-confold \
    install -y --no-install-recommends "$@" </dev/null
END
  tail -n 20 "$work/apt.log" >&2
  exit 1
}
rm -rf "$rootfs/usr/sbin/policy-rc.d" "$rootfs"/var/lib/apt/lists/* "$rootfs"/var/cache/apt/*.bin \
  "$rootfs"/var/cache/apt/archives/*.deb
umoci repack --image "$image:packages" --refresh-bundle --history.created_by "packages" "$bundle"

install -D -m 0755 -t "$rootfs/usr/local/bin" "$here"/services/postgres-start "$here"/services/redis-start
install -D -m 0644 -t "$rootfs/srv" "$here"/services/server.js "$here"/services/program.py
install -D -m 0644 "$here"/services/first.sql "$rootfs/srv/initdb.d/first.sql"
install -m 0644 "$here"/services/crontab "$rootfs/etc/crontab"
rm -f "$rootfs"/etc/cron.d/* "$rootfs"/etc/cron.daily/*
echo 'served from the image' >"$rootfs/var/www/html/index.html"
install -m 0666 /dev/null "$rootfs/var/log/cron.log"
ln -sf /dev/stdout "$rootfs/var/log/nginx/access.log"
ln -sf /dev/stderr "$rootfs/var/log/nginx/error.log"
umoci repack --image "$image:packages" --history.created_by "programs and logs" "$bundle"

tag() {
  local name=$1
  shift
  umoci config --image "$image:packages" --tag "$name" --history.created_by "$name" \
    --clear config.cmd --config.label "org.opencontainers.image.title=$name" "$@"
}
words() { local word; for word in "${@:2}"; do printf '%s\0' "--config.$1" "$word"; done; }
set_words() { mapfile -d '' -t "$1" < <(words "${@:2}"); }

set_words command cmd nginx -g 'daemon off;'
tag nginx "${command[@]}" --config.stopsignal SIGQUIT --config.exposedports 80/tcp
set_words command cmd postgres
tag postgres --config.entrypoint postgres-start "${command[@]}" --config.stopsignal SIGINT \
  --config.exposedports 5432/tcp --config.volume /var/lib/postgresql/data \
  --config.env PGDATA=/var/lib/postgresql/data \
  --config.env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/15/bin
set_words command cmd redis-server --protected-mode no --dir /data
tag redis --config.entrypoint redis-start "${command[@]}" --config.exposedports 6379/tcp --config.volume /data \
  --config.workingdir /data
set_words command cmd node /srv/server.js
tag node "${command[@]}" --config.exposedports 3000/tcp --config.user www-data --config.env NODE_ENV=production
set_words command cmd python3 /srv/program.py
tag python "${command[@]}" --config.env PYTHONUNBUFFERED=1
set_words command cmd sh -c 'cron && exec tail --follow=name --lines=+1 /var/log/cron.log'
tag cron "${command[@]}"
publish_layout
