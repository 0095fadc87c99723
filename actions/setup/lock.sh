#!/usr/bin/env bash
# Makes requirements/*.txt anew from pyproject.toml: `make lock`. Needs uv on the path.
#
# One resolution of everything, so that all files agree; then core.txt, build.txt, and for each extra what it needs
# beyond core.txt. Hashes, no hosts: whoever installs takes them from an index of their own.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
folder=actions/setup/requirements
extras=(remote signing rego sql otel openfeature)
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

compile() {
  uv pip compile --no-config --quiet --universal --python-version 3.11 --only-binary :all: --no-emit-index-url --no-annotate \
    --generate-hashes "$@" > /dev/null
}

sed -n '/^\[build-system\]/,/^$/s/^requires = \["\(.*\)"\]$/\1/p' pyproject.toml > "$scratch/build.in"
[ -s "$scratch/build.in" ] || { echo "pyproject.toml does not say in one line what builds it" >&2; exit 1; }

compile --no-header "${extras[@]/#/--extra=}" --output-file "$scratch/all.txt" pyproject.toml "$scratch/build.in"
locked=(--constraint "$scratch/all.txt" --custom-compile-command "make lock")
compile "${locked[@]}" --output-file "$folder/core.txt" pyproject.toml
compile "${locked[@]}" --output-file "$folder/build.txt" "$scratch/build.in"
mapfile -t core < <(sed -n 's/^\([a-z0-9-]*\)==.*/--no-emit-package=\1/p' "$folder/core.txt")
for extra in "${extras[@]}"; do
  compile "${locked[@]}" "${core[@]}" --extra "$extra" --output-file "$folder/$extra.txt" pyproject.toml
done
