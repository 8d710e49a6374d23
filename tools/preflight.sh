#!/usr/bin/env bash
# Says what is missing on this machine, and which package brings it, before anything is made.
set -u
python=${1:-python3}
missing=0
need() { echo "missing: $1"; echo "  install it with: $2"; missing=1; }

if ! command -v "$python" >/dev/null 2>&1; then
  need "$python (3.11 or newer)" "apt install python3 python3-venv   |   dnf install python3   |   brew install python"
else
  "$python" - <<'PY' || need "Python 3.11 or newer ($("$python" --version 2>&1) is too old)" "apt install python3.11 python3.11-venv, then: make PYTHON=python3.11 setup"
import sys
sys.exit(sys.version_info < (3, 11))
PY
  "$python" -c 'import venv, ensurepip' 2>/dev/null || need "Python's venv module" "apt install python3-venv"
fi

# Every dependency has a wheel for the usual machines; elsewhere a few are compiled.
case "$(uname -s)-$(uname -m)" in
  Linux-x86_64|Linux-aarch64|Darwin-arm64|Darwin-x86_64) ;;
  *) command -v cc >/dev/null 2>&1 || need "a C compiler (no prebuilt packages exist for $(uname -m))" "apt install gcc libc6-dev python3-dev libgmp-dev libffi-dev" ;;
esac
exit $missing
