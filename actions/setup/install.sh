#!/usr/bin/env bash
# Installs the engine of this very checkout into an environment of its own, once a job, and says where it is.
#
# ROLLOUT_EXTRAS: extras of the package (`local`, `remote`, ...), separated by commas.
# ROLLOUT_PYTHON: a Python of 3.11 or later whose own packages may be used as well (torch, vLLM on a GPU machine).
set -euo pipefail

fail() {
  printf '::error title=adapter-rollout::%s\n' "$1"
  exit 2
}

[ "$(uname -s)" = Linux ] || fail "runs on Linux alone, and this runner has $(uname -s): use a Linux runner"
[[ "${ROLLOUT_EXTRAS:=}" =~ ^([a-z-]+(,[a-z-]+)*)?$ ]] || fail "input extras: names of extras, separated by commas"

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
python="${ROLLOUT_PYTHON:-python3}"
command -v "$python" > /dev/null || fail "there is no $python on this runner: give input python, or run actions/setup-python before"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "$("$python" --version) is too old: 3.11 or later is needed"

# One environment for each checkout and set of extras: two versions of the actions in one job do not mix.
key="$(printf '%s\n' "$root" "$ROLLOUT_EXTRAS" "$python" | sha256sum | cut -c1-16)"
venv="${RUNNER_TEMP:-/tmp}/adapter-rollout-$key"
if [ ! -e "$venv/installed" ]; then
  rm -rf "$venv"
  own=()
  [ -z "${ROLLOUT_PYTHON:-}" ] || own=(--system-site-packages)
  "$python" -m venv "${own[@]}" "$venv"
  pip=("$venv/bin/python" -m pip --disable-pip-version-check --quiet --no-input)
  "${pip[@]}" install --require-hashes --requirement "$root/actions/setup/requirements.txt"
  if [ -n "$ROLLOUT_EXTRAS" ]; then
    "${pip[@]}" install "$root[$ROLLOUT_EXTRAS]"
  else
    "${pip[@]}" install --no-deps "$root"
  fi
  touch "$venv/installed"
fi

if [ -n "${GITHUB_PATH:-}" ]; then printf '%s\n' "$venv/bin" >> "$GITHUB_PATH"; fi
if [ -n "${GITHUB_OUTPUT:-}" ]; then
  printf 'python=%s\nversion=%s\n' "$venv/bin/python" "$("$venv/bin/rollout" --version | cut -d' ' -f3)" >> "$GITHUB_OUTPUT"
fi
