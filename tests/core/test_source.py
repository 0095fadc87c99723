"""Addresses have one form each, and a policy admits them by prefixes that nobody can write around."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rollout.core.source import (
    RemoteUri,
    Scheme,
    Sources,
    is_remote,
    parse_remote,
    require_admitted,
    require_folder,
)
from rollout.errors import Unreadable

COMMIT, DIGEST = "a" * 40, f"sha256:{'b' * 64}"


def sources(*allowed: str, **more: Any) -> Sources:
    document = {"schema": "adapter-rollout/sources/v1", "allowed": allowed, **more}
    return Sources.model_validate_json(json.dumps(document))


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("s3://bucket/a/b", RemoteUri(scheme=Scheme.S3, authority="bucket", path="a/b")),
        ("s3://bucket", RemoteUri(scheme=Scheme.S3, authority="bucket")),
        ("https://h.example/a", RemoteUri(scheme=Scheme.HTTPS, authority="h.example", path="a")),
        ("https://h.example:8443/a~b+c=d_e-f.g", None),
        ("https://[2001:db8::1]:8443/a", None),
        ("http://127.0.0.1:80/a", None),
        ("http://localhost/a", None),
        (
            f"hf://org/repo@{COMMIT}",
            RemoteUri(scheme=Scheme.HF, authority="org", path="repo", pin=COMMIT),
        ),
        (
            f"hf://Org-1/Re.po_2@{COMMIT}/sub/folder",
            RemoteUri(scheme=Scheme.HF, authority="Org-1", path="Re.po_2", pin=COMMIT, below="sub/folder"),
        ),
        (
            f"oci://ghcr.io/team/bot@{DIGEST}",
            RemoteUri(scheme=Scheme.OCI, authority="ghcr.io", path="team/bot", pin=DIGEST),
        ),
        (f"oci://localhost:5000/bot@{DIGEST}", None),
    ],
)
def test_an_address_is_read_into_its_parts_and_written_as_it_was(uri: str, parts: RemoteUri | None) -> None:
    assert str(parse_remote(uri)) == uri
    assert parts is None or parse_remote(uri) == parts
    assert parse_remote(f"{uri}/") == parse_remote(uri)


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("ftp://h/x", "artifacts are not fetched by 'ftp'"),
        ("c:\\adapters", "artifacts are not fetched by 'c'"),
        ("S3://bucket/x", "artifacts are not fetched by 'S3'"),
        ("http://h.example/x", "is not encrypted; plain http is for this machine itself"),
        ("http://127.0.0.1.evil.example/x", "is not encrypted"),
        ("http://127.0.0.2/x", "is not encrypted"),
        ("https://h.example/x?token=secret", "carries a query or a fragment"),
        ("https://h.example/x#secret", "carries a query or a fragment"),
        ("https://user:secret@h.example/x", "carries a user name or password"),
        ("s3://key:secret@bucket/x", "carries a user name or password"),
        ("oci://user:secret@ghcr.io/x", "carries a user name or password"),
        ("hf://user:secret@org/x", "carries a user name or password"),
        ("https://h.example/%2e%2e/x", "is not in its plain form"),
        ("https://h.example/a/../x", "is not in its plain form"),
        ("https://h.example/./x", "is not in its plain form"),
        ("https://h.example//x", "is not in its plain form"),
        ("https://h.example\\x", "is not in its plain form"),
        ("s3://bucket/..", "is not in its plain form"),
        (f"hf://org/repo@{COMMIT}/../x", "is not in its plain form"),
        ("https://H.example/x", "has upper-case letters in its host"),
        ("https://h.example/x y", "is not an address of that scheme"),
        ("https://h.example/x\n", "is not an address of that scheme"),
        ("https://h.example/ä", "is not an address of that scheme"),
        ("https://", "is not an address of that scheme"),
        ("https:h.example", "artifacts are not fetched by"),
        ("s3://UP/x", "has upper-case letters"),
        ("hf://org/repo", "is not pinned"),
        ("hf://org/repo@main", "is not pinned"),
        (f"hf://org/repo@{COMMIT[:39]}", "is not pinned"),
        (f"hf://org/repo@{COMMIT.upper()}", "is not pinned"),
        (f"hf://repo@{COMMIT}", "carries a user name or password"),
        ("oci://ghcr.io/team/bot:latest", "is not pinned"),
        ("oci://ghcr.io/team/bot", "is not pinned"),
        (f"oci://ghcr.io/team/bot:v1@{DIGEST}", "is not pinned"),
        (f"oci://ghcr.io/Team/bot@{DIGEST}", "is not pinned"),
        ("https://h.example/" + "x" * 300, "is not an address of that scheme"),
    ],
)
def test_any_other_form_is_refused_with_advice_and_without_repeating_a_secret(uri: str, problem: str) -> None:
    with pytest.raises(Unreadable) as caught:
        parse_remote(uri)
    assert problem in caught.value.message
    assert caught.value.advice
    assert "secret" not in caught.value.message + caught.value.advice
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("uri", "remote"),
    [("adapters/1.0.0", False), ("file:///x", False), ("s3://x", True), ("x:y", True), ("a/b:c", False)],
)
def test_folders_are_told_from_addresses(uri: str, remote: bool) -> None:
    assert is_remote(uri) is remote


@pytest.mark.parametrize(
    "prefix",
    [
        "s3://team/",
        "s3://team/adapters/",
        "https://models.example/",
        "https://models.example:8443/a/",
        "http://127.0.0.1:9000/",
        "http://[::1]:9000/",
        "hf://org/",
        "hf://org/repo@",
        "oci://ghcr.io/team/",
        "oci://ghcr.io/team/bot@",
    ],
)
def test_a_prefix_ends_where_a_name_ends(prefix: str) -> None:
    assert sources(prefix).allowed == (prefix,)


@pytest.mark.parametrize(
    "prefix",
    [
        "s3://team",
        "s3://",
        "s3:///",
        "https://",
        "/",
        "*/",
        "https://*.example/",
        "https://H.example/",
        "https://h.example/../",
        "https://h.example/%2e/",
        "https://h.example//",
        "https://user@h.example/",
        "https://h.example/?x/",
        "https://h.example/a@",
        "http://h.example/",
        "http://127.0.0.1.evil.example/",
        "ftp://h.example/",
        "file:///",
        "hf://org@",
        "oci://@",
        "oci://ghcr.io/bot:latest@",
        "s3://team/\n/",
        "",
    ],
)
def test_a_prefix_of_another_form_is_refused(prefix: str) -> None:
    with pytest.raises(ValidationError):
        sources(prefix)


@pytest.mark.parametrize(
    ("prefix", "words"),
    [
        ("s3://team", "end it with / or @: s3://team would admit s3://team-evil as well"),
        ("team/", "begin it with https://, s3://, hf:// or oci://"),
        ("http://h.example/", "plain http is admitted for localhost"),
        ("hf://org@", "@ stands behind a repository"),
        ("s3://team/../", "not in its plain form"),
    ],
)
def test_a_refused_prefix_is_refused_in_words(prefix: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        sources(prefix)


@pytest.mark.parametrize(
    ("prefix", "uri", "admitted"),
    [
        ("s3://team/", "s3://team/x", True),
        ("s3://team/", "s3://team", True),
        ("s3://team/", "s3://team-evil/x", False),
        ("s3://team/good/", "s3://team/good", True),
        ("s3://team/good/", "s3://team/good-evil", False),
        ("s3://team/good/", "s3://team/goo", False),
        ("https://h.example/", "https://h.example:8443/x", False),
        ("https://h.example/", "https://h.example.evil/x", False),
        ("https://127.0.0.1/", "http://127.0.0.1/x", False),
        ("hf://org/", f"hf://org/repo@{COMMIT}", True),
        ("hf://org/", f"hf://organisation/repo@{COMMIT}", False),
        ("hf://org/", f"hf://Org/repo@{COMMIT}", False),
        ("hf://org/repo@", f"hf://org/repo@{COMMIT}/sub", True),
        ("hf://org/repo@", f"hf://org/repo-evil@{COMMIT}", False),
        ("oci://ghcr.io/team/", f"oci://ghcr.io/team/bot@{DIGEST}", True),
        ("oci://ghcr.io/team/bot@", f"oci://ghcr.io/team/bot/evil@{DIGEST}", False),
        ("oci://ghcr.io/", f"oci://ghcr.io:443/bot@{DIGEST}", False),
    ],
)
def test_a_prefix_admits_what_lies_below_it_and_no_neighbour(prefix: str, uri: str, admitted: bool) -> None:
    assert sources("s3://elsewhere/", prefix).admits(parse_remote(uri)) is admitted


def test_no_list_and_an_empty_list_admit_nothing() -> None:
    uri = parse_remote("s3://team/x")
    with pytest.raises(Unreadable, match="no policy says from where artifacts may come") as caught:
        require_admitted(uri, None)
    assert "policies/sources.yaml" in caught.value.advice
    with pytest.raises(Unreadable, match=r"policies/sources.yaml does not admit it"):
        require_admitted(uri, sources())
    assert require_admitted(uri, sources("s3://team/")) == sources("s3://team/")


@given(
    st.one_of(
        st.text(max_size=60),
        st.from_regex(r"(s3|https|http|hf|oci)://[a-z.:@/%\\?#A-Z0-9\[\]-]{0,60}", fullmatch=True),
    )
)
def test_whatever_is_read_is_written_in_the_same_form_and_leaves_no_folder(text: str) -> None:
    try:
        uri = parse_remote(text)
    except Unreadable:
        return
    assert str(uri) == text.removesuffix("/")
    assert not {"..", ".", ""} & set(f"{uri.path}/{uri.below}".strip("/").split("/")) or not uri.path
    assert not set("%\\?# ") & set(str(uri))


def test_a_folder_of_this_machine_is_read_only_where_the_policy_says_so() -> None:
    policy = Sources.model_validate({"schema": "adapter-rollout/sources/v1", "folders": ["/srv/adapters"]})
    assert require_folder("/srv/adapters/bot/1.0.0", policy) == "/srv/adapters"
    for folder, sources in (("/srv/adapters-evil", policy), ("/etc", policy), ("/srv/adapters", None)):
        with pytest.raises(Unreadable, match="does not admit it"):
            require_folder(folder, sources)


@pytest.mark.parametrize("folder", ["srv", "/srv/../etc", "/", "//srv", "/srv/"])
def test_a_folder_is_absolute_and_plain(folder: str) -> None:
    with pytest.raises(ValidationError):
        Sources.model_validate({"schema": "adapter-rollout/sources/v1", "folders": [folder]})
