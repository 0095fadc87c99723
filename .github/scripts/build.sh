#!/usr/bin/env bash
# Builds the sdist, and from the sdist the wheel, into a new folder: build.sh FOLDER
# What builds is locked by hash, and one commit gives the same bytes again.
set -euo pipefail

folder="$(mkdir "$1" && cd "$1" && pwd)"
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)"
export SOURCE_DATE_EPOCH
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

python3 -I -m venv "$scratch/venv"
"$scratch/venv/bin/python" -I -m pip --disable-pip-version-check --quiet --no-input install \
  --require-hashes --only-binary :all: --requirement actions/setup/requirements/build.txt
# Of the commit, whatever lies about.
mkdir "$scratch/commit"
git archive HEAD | tar -x -C "$scratch/commit"
(cd "$scratch/commit" && "$scratch/venv/bin/python" -I -m hatchling build --target sdist --directory "$folder")
mkdir "$scratch/sdist"
tar -xzf "$folder"/*.tar.gz -C "$scratch/sdist" --strip-components 1
(cd "$scratch/sdist" && "$scratch/venv/bin/python" -I -m hatchling build --target wheel --directory "$folder")
