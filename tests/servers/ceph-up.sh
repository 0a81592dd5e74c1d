#!/usr/bin/env bash
# Start a Ceph cluster of one monitor, one OSD in memory and one RADOS Gateway, as plain processes: no systemd, no Docker.
#
#   CEPH_DIR              an empty directory for data, logs and pid files; short, for Unix sockets are made in it
#   RGW_PORT, MON_PORT    S3 over http; the monitor takes MON_PORT and the one after it
#   AUTH_KEY, AUTH_SECRET the user that may do everything
#   GUEST_KEY, …_SECRET   one that may do what a bucket's policy grants
#   OWNER_PID             optional: when that process is gone, so is the cluster
set -euo pipefail
D=$(realpath "$CEPH_DIR")
HERE=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
FSID=$(cat /proc/sys/kernel/random/uuid)
mkdir -p "$D"/{mon,osd,rgw,run,log}

if [ -n "${OWNER_PID:-}" ]; then
  CEPH_DIR=$D setsid bash -c 'tail --pid="$1" -f /dev/null; exec bash "$2"' - "$OWNER_PID" "$HERE/ceph-down.sh" \
    >/dev/null 2>&1 </dev/null &
  echo $! >"$D/guard.pid"
fi

# tcp_nodelay: without it, Nagle's algorithm and delayed ACKs add 40 ms to every GET and LIST.
cat >"$D/ceph.conf" <<CONF
[global]
fsid = $FSID
mon_host = [v2:127.0.0.1:$MON_PORT,v1:127.0.0.1:$((MON_PORT + 1))]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_ipv6 = false
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
auth_allow_insecure_global_id_reclaim = false
keyring = $D/keyring
run_dir = $D/run
admin_socket = $D/run/\$cluster-\$name.asok
log_file = $D/log/\$cluster-\$name.log
mon_cluster_log_file = $D/log/cluster.log
crash_dir = $D/run
pid_file = $D/run/\$name.pid
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_pool_default_pgp_num = 8
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
osd_crush_initial_weight = 1
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
mon_max_pg_per_osd = 2000
mon_osd_down_out_interval = 0
mon_data_avail_warn = 2
mon_data_avail_crit = 1
paxos_propose_interval = 0.05
paxos_min_wait = 0.01
[mon.a]
mon_data = $D/mon
keyring = $D/mon/keyring
[osd.0]
osd_data = $D/osd
osd_objectstore = memstore
memstore_device_bytes = 2147483648
osd_op_num_shards = 2
osd_class_load_list = *
osd_class_default_list = *
[client.rgw]
rgw_data = $D/rgw
rgw_frontends = beast endpoint=127.0.0.1:$RGW_PORT tcp_nodelay=1
rgw_enable_ops_log = false
rgw_enable_usage_log = false
CONF
export CEPH_CONF="$D/ceph.conf"
C=(-c "$D/ceph.conf")

start() { # name, command …
  setsid "${@:2}" >"$D/log/$1.out" 2>&1 </dev/null &
  echo $! >"$D/$1.pid"
}
await() { # name, seconds, command …
  for _ in $(seq $((10 * $2))); do
    if timeout 5 "${@:3}" >/dev/null 2>&1; then return; fi
    kill -0 "$(cat "$D/$1.pid")" 2>/dev/null || break
    sleep 0.1
  done
  echo "$1 is not up:" >&2
  tail -n 20 "$D/log/$1.out" "$D"/log/*.log >&2
  exit 1
}

K=$D/keyring
{
  ceph-authtool -C "$K" -g -n client.admin --cap mon 'allow *' --cap osd 'allow *'
  ceph-authtool "$K" -g -n osd.0 --cap mon 'allow profile osd' --cap osd 'allow *'
  ceph-authtool "$K" -g -n client.rgw --cap mon 'allow rw' --cap osd 'allow rwx'
  cp "$K" "$D/mon.initial.keyring"
  ceph-authtool "$D/mon.initial.keyring" -g -n mon. --cap mon 'allow *'
  monmaptool --create --clobber --fsid "$FSID" \
    --addv a "[v2:127.0.0.1:$MON_PORT,v1:127.0.0.1:$((MON_PORT + 1))]" --set-min-mon-release pacific "$D/monmap"
  ceph-mon "${C[@]}" -i a --mkfs --fsid "$FSID" --monmap "$D/monmap" --keyring "$D/mon.initial.keyring"
} >"$D/log/prepare.out" 2>&1 || { cat "$D/log/prepare.out" >&2; exit 1; }

start mon ceph-mon "${C[@]}" -i a -f
await mon 30 ceph "${C[@]}" --connect-timeout 4 mon stat

OSD_ID=$(cat /proc/sys/kernel/random/uuid)
ceph "${C[@]}" osd new "$OSD_ID" 0 >>"$D/log/prepare.out" 2>&1
ceph-osd "${C[@]}" -i 0 --mkfs --osd-uuid "$OSD_ID" >>"$D/log/prepare.out" 2>&1 || { cat "$D/log/prepare.out" >&2; exit 1; }
start osd ceph-osd "${C[@]}" -i 0 -f
await osd 30 bash -c 'ceph osd stat | grep -q " 1 up"'

start rgw radosgw "${C[@]}" -n client.rgw -f
await rgw 60 bash -c "exec 3<>/dev/tcp/127.0.0.1/$RGW_PORT"
make_user() { # name, access key, secret key
  radosgw-admin "${C[@]}" -n client.rgw user create --uid="$1" --display-name="$1" \
    --access-key="$2" --secret-key="$3" >"$D/log/user.out" 2>&1 || { cat "$D/log/user.out" >&2; exit 1; }
}
make_user s3memo "$AUTH_KEY" "$AUTH_SECRET"
make_user guest "$GUEST_KEY" "$GUEST_SECRET"
