#!/usr/bin/env bash
# Builds the wheel, installs it the way the README tells a user to, and tries it from an empty directory: what the
# checkout has and the wheel lacks shows here.
set -euo pipefail
uv=$(realpath "$1")
root=$(pwd)
rm -rf dist
"$root/.venv/bin/python" -m hatchling build -t wheel >/dev/null
wheel=$(ls "$root"/dist/nexusd-*.whl)

work=$(mktemp -d)
export UV_TOOL_DIR="$work/tools" UV_TOOL_BIN_DIR="$work/bin" XDG_DATA_HOME="$work/data" XDG_RUNTIME_DIR="$work"
stop() { "$work/bin/nexus" stop >/dev/null 2>&1 || true; rm -rf "$work"; }
trap stop EXIT
mkdir "$work/empty"
cd "$work/empty"

"$uv" tool install --quiet --python "$root/.venv/bin/python" --overrides "$root/overrides.txt" "$wheel"
"$work/bin/nexusd" version
"$work/bin/nexusd" run --loopback --no-mdns --detach
"$work/bin/nexus" status --json | grep -q '"ok":true'
"$work/bin/nexus" room join general --json | grep -q '"room":"general"'
"$work/bin/nexus" room send general hello --json | grep -q '"ok":true'
"$work/bin/nexus" room history general --json | grep -q '"content":"hello"'
"$work/bin/nexus" stop
for module in nexusd nexusd_protocols nexusd_bootstrap; do
  "$work/tools/nexusd/bin/python" -c "import $module; assert 'site-packages' in $module.__file__"
done
echo "ok: $(basename "$wheel")"
