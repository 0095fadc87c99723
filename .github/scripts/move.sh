#!/usr/bin/env bash
# Moves the tag of the major version (v1) to a release, unless a newer one is out: move.sh TAG
# GH_TOKEN may push tags; it is shown to the server of the run alone.
set -euo pipefail

tag="$1"
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
if [ -n "${GH_TOKEN:-}" ]; then
  export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0="http.${GITHUB_SERVER_URL:?}/.extraheader"
  GIT_CONFIG_VALUE_0="AUTHORIZATION: basic $(printf 'x-access-token:%s' "$GH_TOKEN" | base64 -w0)"
  export GIT_CONFIG_VALUE_0
fi

tags="$(git ls-remote --tags --refs origin | sed -n 's#^[0-9a-f]*\trefs/tags/##p')"
grep -qxF "$tag" <<< "$tags" || { echo "::error title=release::there is no tag $tag at the remote"; exit 1; }
moving="$(python3 -I "$here/release.py" major "$tag" <<< "$tags")"
if [ -z "$moving" ]; then
  echo "$tag moves no tag"
  exit 0
fi
commit="$(git rev-parse --verify "refs/tags/$tag^{commit}")"
git push --quiet --force origin "$commit:refs/tags/$moving"
echo "$moving is $tag now"
