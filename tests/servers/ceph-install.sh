#!/usr/bin/env bash
# Install what tests/servers/ceph-up.sh starts, from the packages of Debian or Ubuntu; needs root and about 45 seconds.
set -euo pipefail
apt-get update -q
DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends ceph-mon ceph-osd radosgw ceph-common
