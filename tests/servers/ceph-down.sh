#!/usr/bin/env bash
# Stop what ceph-up.sh started in CEPH_DIR, by its pid files, and remove all data; nothing is worth a clean shutdown.
D=$(realpath "$CEPH_DIR") || exit 0
for name in rgw osd mon guard; do
  pid=$(cat "$D/$name.pid" 2>/dev/null) || continue
  [ "$pid" = $$ ] || kill -9 -- "-$pid" 2>/dev/null # each leads a process group of its own
done
rm -rf "$D"
exit 0
