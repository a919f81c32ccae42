#!/usr/bin/env bash
# The main job on every Python that this machine has: installed anew, a classifier and a network
# trained on real photos where ../shared has them (else on the demo's), a picture named.
#   tools/main_job.sh [PHOTOS]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
photos=${1:-../shared/data/pollen.zip}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pythons=$(python3 tools/environment.py pythons)
for python in $pythons; do
  version=$("$python" -c 'import platform; print(platform.python_version())')
  echo "== main job on Python $version"
  export HANDFUL_ENVIRONMENT="$work/$version/venv" HANDFUL_CACHE="$work/$version/cache"
  mkdir "$work/$version"
  "$python" tools/environment.py install 2>"$work/$version/log" || { cat "$work/$version/log"; exit 1; }
  run="$work/$version/run"
  handful() { "$HANDFUL_ENVIRONMENT/bin/handful" "$@"; }
  if [ -e "$photos" ]; then
    handful train "$photos" --quiet --output "$run"
    # A network of Keras', for it is converted in another way.
    handful train "$photos" --quiet --output "$work/$version/own" --strategy scratch --epochs 1 --image-size 48
  else
    handful demo --quiet --output "$run"
  fi
  handful predict "$run" docs/report.png
  rm -rf "${work:?}/$version"
done
