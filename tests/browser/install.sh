#!/usr/bin/env bash
# Install what tests/browser/chromium.py starts, from the packages of Debian; needs root and about 15 seconds.
set -euo pipefail
apt-get update -q
DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends chromium
