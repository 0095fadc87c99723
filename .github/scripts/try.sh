#!/usr/bin/env bash
# Installs the wheel of a folder into a new environment and uses it as somebody would who has nothing else: try.sh FOLDER TAG
set -euo pipefail

version="${2#v}"
wheel="$(cd "$1" && pwd)/adapter_rollout-$version-py3-none-any.whl"
[ -f "$wheel" ] || { echo "::error title=release::there is no wheel of $version"; exit 1; }
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
unset "${!PYTHON@}"

python3 -I -m venv "$scratch/venv"
pip=("$scratch/venv/bin/python" -I -m pip --disable-pip-version-check --quiet --no-input install)
"${pip[@]}" --require-hashes --only-binary :all: --requirement "$root/actions/setup/requirements/core.txt"
"${pip[@]}" --no-index --no-deps "$wheel"
"$scratch/venv/bin/python" -I -m pip --disable-pip-version-check check
rollout="$scratch/venv/bin/rollout"

[ "$("$rollout" --version)" = "rollout, version $version" ] || { echo "::error title=release::the wheel is not $version"; exit 1; }

echo "A new repository:"
git init --quiet --initial-branch main "$scratch/new"
cd "$scratch/new"
"$rollout" init --profile balanced
"$rollout" policy test
status=0
"$rollout" validate || status=$?
# Nothing to check is never a pass.
[ "$status" = 3 ] || { echo "::error title=release::validate ended with $status where there is no manifest"; exit 1; }

echo "The product's own repository:"
git clone --quiet --no-local "$root" "$scratch/own"
cd "$scratch/own"
"$rollout" validate
