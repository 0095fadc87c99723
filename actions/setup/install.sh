#!/usr/bin/env bash
# Installs the engine of this very checkout into an environment of its own, once a job, and says where it is.
#
# ROLLOUT_EXTRAS: extras of the package, separated by commas. Those with a file in requirements/ are installed by their
#   hashes; all others (`local`, `vllm`, ...) have to be in the Python that ROLLOUT_PYTHON names.
# ROLLOUT_PYTHON: a Python of 3.11 or later whose own packages may be used as well; it may be a virtual environment's.
set -euo pipefail

fail() {
  local message="${1//'%'/%25}"
  message="${message//$'\r'/%0D}"
  printf '::error title=adapter-rollout::%s\n' "${message//$'\n'/%0A}"
  exit 2
}

# Nothing that an earlier step has set may add to what is installed or say how. Where packages come from may be said:
# what comes from there has the locked hashes or is refused.
unset "${!PYTHON@}"
for name in "${!PIP_@}"; do
  case "$name" in
    PIP_INDEX_URL | PIP_EXTRA_INDEX_URL | PIP_FIND_LINKS | PIP_NO_INDEX | PIP_CERT | PIP_CLIENT_CERT | PIP_PROXY) ;;
    PIP_TRUSTED_HOST | PIP_DEFAULT_TIMEOUT | PIP_RETRIES | PIP_CACHE_DIR) ;;
    *) unset "$name" ;;
  esac
done

[ "$(uname -s)" = Linux ] || fail "adapter-rollout runs on Linux alone, and this runner has $(uname -s): use a Linux runner"
[ -d "${RUNNER_TEMP:-}" ] || fail "RUNNER_TEMP names no folder: this is the first step of an action, not a program to call"
[[ "${ROLLOUT_EXTRAS:=}" =~ ^([a-z-]+(,[a-z-]+)*)?$ ]] || fail "input extras: give names of extras, separated by commas"
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"
python="${ROLLOUT_PYTHON:-python3}"
command -v "$python" > /dev/null || fail "there is no $python on this runner: correct input python, or run actions/setup-python before"
python="$(command -v "$python")"
"$python" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "$python is too old: Python 3.11 or later is needed"

IFS=, read -r -a extras <<< "$ROLLOUT_EXTRAS"
files=("$here/requirements/core.txt" "$here/requirements/build.txt")
unlocked=()
for extra in "${extras[@]}"; do
  file="$here/requirements/$extra.txt"
  if [ -f "$file" ] && [[ ! "$extra" =~ ^(core|build)$ ]]; then files+=("$file"); else unlocked+=("$extra"); fi
done
if [ "${#unlocked[@]}" -gt 0 ]; then
  complaint="$("$python" -I "$here/extras.py" known "$root" "${unlocked[@]}")" || fail "$complaint"
  [ -n "${ROLLOUT_PYTHON:-}" ] || fail "input extras: ${unlocked[*]} depends on the machine and is installed by nobody here. \
Install it into a Python of the runner, and give that as input python"
fi

# One environment for each checkout and what it was asked for: two versions of the actions in one job do not mix.
key="$(cat "${files[@]}" <(printf '%s\n' "$root" "$ROLLOUT_EXTRAS" "${ROLLOUT_PYTHON:-}" "$python") | sha256sum | cut -c1-16)"
venv="$RUNNER_TEMP/adapter-rollout-$key"
engine="$venv/bin/python"
exec 9> "$venv.lock"
flock 9

if [ ! -e "$venv/installed" ]; then
  rm -rf "$venv" # What an interrupted step left behind.
  "$python" -I -m venv "$venv" || fail "$python cannot make a virtual environment: install its module venv (Debian: python3-venv)"
  # The machine's packages come after the engine's own, and pip does not see them: what is locked is installed.
  machine="$("$engine" -I -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/machine.pth"
  [ -z "${ROLLOUT_PYTHON:-}" ] || "$python" -E -P "$here/extras.py" path > "$machine"
  if [ "${#unlocked[@]}" -gt 0 ]; then
    complaint="$("$engine" -I "$here/extras.py" missing "$root" "${unlocked[@]}")" || fail "$complaint"
  fi
  [ -z "${ROLLOUT_PYTHON:-}" ] || mv "$machine" "$venv/"
  pip=("$engine" -I -m pip --disable-pip-version-check --quiet --quiet --no-input install --no-compile)
  "${pip[@]}" --require-hashes --only-binary :all: "${files[@]/#/--requirement=}" \
    || fail "the engine's packages could not be installed: the lines above say which, and why"
  "${pip[@]}" --no-index --no-deps --no-build-isolation "$root" \
    || fail "the engine could not be installed from $root: the lines above say why"
  [ -z "${ROLLOUT_PYTHON:-}" ] || mv "$venv/machine.pth" "$machine"
  # Alone in a folder: the steps that follow keep their own python3 and pip.
  mkdir "$venv/path"
  ln -s ../bin/rollout "$venv/path/rollout"
  touch "$venv/installed"
fi

if [ -n "${GITHUB_PATH:-}" ]; then printf '%s\n' "$venv/path" >> "$GITHUB_PATH"; fi
if [ -n "${GITHUB_OUTPUT:-}" ]; then
  printf 'python=%s\nversion=%s\n' "$engine" "$("$engine" -I -m rollout --version | cut -d' ' -f3)" >> "$GITHUB_OUTPUT"
fi
