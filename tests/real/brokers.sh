#!/usr/bin/env bash
# The brokers that the AsyncAPI connector is tested against, and the clients that stand on the other side: Debian's packages, installed by
# root or with a sudo that asks nothing. Does nothing if they are there already.
#
#   tests/real/brokers.sh --check      only says what is missing
set -euo pipefail

export PATH="$PATH:/usr/sbin:/usr/local/sbin"
missing=()
want() { command -v "$1" >/dev/null || missing+=("$2"); }
want nats-server nats-server
want mosquitto mosquitto
want mosquitto_passwd mosquitto
want mosquitto_sub mosquitto-clients
want redis-server redis-server
want redis-cli redis-tools
((${#missing[@]})) || exit 0

if [[ "${1:-}" == --check ]]; then
  echo "tests/real/brokers.sh: missing ${missing[*]}" >&2
  exit 1
fi
sudo=()
[[ $(id -u) == 0 ]] || sudo=(sudo -n)
export DEBIAN_FRONTEND=noninteractive
"${sudo[@]}" apt-get update -q
# The tests start their own, on ports of their own: those of the packages are not wanted.
"${sudo[@]}" env RUNLEVEL=1 apt-get install -y -q --no-install-recommends "${missing[@]}"
