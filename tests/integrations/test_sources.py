"""What is particular to each place, and to the ways out of it: redirects, credentials, pins, policies."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout.core.manifest import Artifact
from rollout.core.source import Sources, parse_remote
from rollout.errors import Unavailable, Unreadable
from rollout.integrations.cel import evaluator
from rollout.integrations.sources import Patience, fetch
from rollout.integrations.sources.redirects import check_address, next_url, sent_to
from rollout.usecases.upkeep import policy_problems
from rollout.wiring import locate_artifact, working_folder
from tests.support.adapters import write_repository
from tests.support.certificates import write_server_certificate
from tests.support.objectstore import (
    ACCESS_KEY,
    COMMIT,
    SECRET_KEY,
    TITLE,
    TOKEN,
    Fault,
    ObjectServer,
    object_server,
)

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
FILES = {CONFIG: b'{"r": 8}', WEIGHTS: bytes(range(256)) * 1000}
HASTY = Patience(stall_s=1, tries=1, first_wait_s=0.01, deadline_s=10)


def artifact(uri: str) -> Artifact:
    return Artifact(
        uri=uri,
        files={name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()},
        rank=8,
        alpha=16,
        target_modules=("q_proj",),
    )


def get(uri: str, cache: Path) -> dict[str, bytes]:
    folder = fetch(parse_remote(uri), artifact(uri), cache=cache, max_file_bytes=1 << 20, patience=HASTY)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectServer]:
    with object_server() as started:
        monkeypatch.setenv("AWS_ENDPOINT_URL", started.url)
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        monkeypatch.setenv("HF_ENDPOINT", started.url)
        monkeypatch.setenv("DOCKER_CONFIG", "/nonexistent")
        yield started


@pytest.fixture
def other() -> Iterator[ObjectServer]:
    with object_server() as started:
        yield started


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[ObjectServer]:
    with object_server(tls=write_server_certificate(tmp_path / "server.pem")) as started:
        yield started


# --- https


def test_https_is_spoken_with_a_certificate_that_is_trusted(
    secure: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = secure.publish("https", FILES)
    assert uri.startswith("https://")
    with pytest.raises(Unreadable, match=r"the certificate of 127.0.0.1 is not trusted"):
        get(uri, tmp_path / "cache")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))
    assert get(uri, tmp_path / "cache") == FILES


def test_https_is_never_left_for_plain_http(
    secure: ObjectServer, server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))
    uri = secure.publish("https", FILES)
    secure.faults[WEIGHTS] = iter([Fault(redirect=f"{server.publish('http', FILES)}/{WEIGHTS}")])
    with pytest.raises(Unreadable, match="redirects to plain http"):
        get(uri, tmp_path / "cache")
    assert server.requests == []


# --- redirects


def test_a_redirect_on_the_same_server_is_followed(server: ObjectServer, tmp_path: Path) -> None:
    uri = server.publish("http", FILES)
    server.objects["/web/moved"] = FILES[WEIGHTS]
    server.faults[WEIGHTS] = iter([Fault(redirect="/web/moved")])
    assert get(uri, tmp_path / "cache") == FILES


@pytest.mark.parametrize("scheme", ["http", "hf", "oci"])
def test_no_redirect_leads_to_a_private_address_of_another(
    scheme: str, server: ObjectServer, other: ObjectServer, tmp_path: Path
) -> None:
    uri = server.publish(scheme, FILES)
    server.faults[WEIGHTS] = iter([Fault(redirect=f"{other.url}/web/x?signature=secret")])
    with pytest.raises(Unreadable, match="redirects to plain http, which is refused") as caught:
        get(uri, tmp_path / "cache")
    assert "secret" not in str(caught.value)
    assert other.requests == []
    assert not list((tmp_path / "cache").glob(".*.fetching"))


def test_no_redirect_leads_to_a_private_address_over_https_either(
    secure: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))
    with object_server(tls=tmp_path / "server.pem") as other:
        uri = secure.publish("https", FILES)
        port = other.host.split(":")[1]
        for host in ("127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:7f00:1]"):
            secure.faults[WEIGHTS] = iter([Fault(redirect=f"https://{host}:{port}/web/x")])
            with pytest.raises(Unreadable, match="which has a private address"):
                get(uri, tmp_path / "cache")
        assert other.requests == []


def test_redirects_in_a_circle_end(server: ObjectServer, tmp_path: Path) -> None:
    uri = server.publish("http", FILES)
    server.faults[WEIGHTS] = iter([Fault(redirect=f"/web/team/bot/{WEIGHTS}")] * 50)
    with pytest.raises(Unreadable, match="redirects more than 5 times"):
        get(uri, tmp_path / "cache")
    assert len(server.asked(WEIGHTS)) == 6


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "ftp://x/y",
        "https://user:pw@x/y",
        "https://x:99999/",
        "https://good.example\\@10.0.0.1/pw",
        "//[",
        "//[::1",
        "https://x y/",
    ],
)
def test_a_redirect_to_what_is_no_web_address_is_refused(location: str) -> None:
    with pytest.raises(Unreadable, match="a server redirects to something that is") as caught:
        next_url("https://h.example/a", location)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/b?x=1", "https://h.example/b?x=1"),
        ("b", "https://h.example/b"),
        ("//cdn.example/b", "https://cdn.example/b"),
        ("https://cdn.example:8443/b%2Fc", "https://cdn.example:8443/b%2Fc"),
    ],
)
def test_an_ordinary_redirect_leads_where_it_says(location: str, target: str) -> None:
    assert next_url("https://h.example/a", location) == target


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *("224.0.0.1", "192.0.2.1", "255.255.255.255", "2130706433", "127.1", "0177.0.0.1", "0"),
        *(
            "::",
            "::1",
            "fe80::1%eth0",
            "fd00::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "2002:7f00:1::",
        ),
        *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::a83f:8110", "64:ff9b:1::808:808"),
        *("::127.0.0.1", "::8.8.8.8", "::ffff:0:7f00:1", "fec0::1", "ff02::1", "2002:a83f:8110::"),
        *("2001:0:7f00:1::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "5f00::1", "fd00:ec2::254"),
        *("192.0.0.192", "168.63.129.16", "::ffff:168.63.129.16", "100.100.100.200"),
    ],
)
def test_a_private_address_is_for_the_origin_alone(address: str) -> None:
    origin = ("models.example", 443)
    check_address(address, origin, origin)
    for asked in (("elsewhere.example", 443), ("models.example", 8443)):
        with pytest.raises(Unreadable, match="private address"):
            check_address(address, asked, origin)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101", "2002:101:101::"]
)
def test_a_public_address_may_be_led_to(address: str) -> None:
    check_address(address, ("cdn.example", 443), ("models.example", 443))


def test_credentials_are_for_the_origin_alone() -> None:
    headers = {"authorization": "Bearer x", "Cookie": "y", "Range": "bytes=5-", "Accept-Encoding": "identity"}
    origin = ("models.example", 443)
    assert sent_to(origin, headers, origin) == headers
    for asked in (("cdn.example", 443), ("models.example", 80)):
        assert sent_to(asked, headers, origin) == {"Range": "bytes=5-", "Accept-Encoding": "identity"}


# --- S3


def test_a_bucket_without_credentials_says_what_to_set(
    server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(Unreadable, match="there are no credentials for s3://models") as caught:
        get(server.publish("s3", FILES), tmp_path / "cache")
    assert "AWS_ACCESS_KEY_ID" in caught.value.advice


def test_a_bucket_refuses_a_wrong_key_and_the_secret_is_not_said(
    server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAWRONG")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    with pytest.raises(Unreadable, match="s3://models answers 403") as caught:
        get(server.publish("s3", FILES), tmp_path / "cache")
    assert SECRET_KEY not in str(caught.value)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    assert get(server.publish("s3", FILES), tmp_path / "cache") == FILES


# --- the Hub


def test_the_hub_is_shown_the_token_and_asked_for_the_pinned_commit(
    server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    assert get(server.publish("hf", FILES), tmp_path / "cache") == FILES
    files = [request for request in server.requests if "/resolve/" in request.path]
    assert {request.headers["authorization"] for request in files} == {"Bearer hf_test"}
    assert all(f"/resolve/{COMMIT}/lora/" in request.path for request in files)


def test_a_commit_that_the_hub_does_not_have_is_refused(server: ObjectServer, tmp_path: Path) -> None:
    uri = server.publish("hf", FILES).replace(COMMIT, "d" * 40)
    with pytest.raises(Unreadable, match="404: it is not there"):
        get(uri, tmp_path / "cache")


def test_a_hub_that_answers_from_another_commit_is_refused(server: ObjectServer, tmp_path: Path) -> None:
    server.publish("hf", FILES)
    moved = {path.replace("/lora/", "/else/"): content for path, content in server.objects.items()}
    server.objects |= moved
    server.commit = "e" * 40
    with pytest.raises(Unreadable, match="is answered from another commit"):
        get(f"hf://team/bot@{COMMIT}/else", tmp_path / "cache")


def test_a_hub_that_wants_no_network_is_unavailable(server: ObjectServer, tmp_path: Path) -> None:
    """HF_HUB_OFFLINE is read when the library is imported, so a process of its own asks."""
    program = (
        "import sys\nfrom pathlib import Path\nfrom tests.integrations.test_sources import get\n"
        "from rollout.errors import Unavailable\n"
        "try:\n    get(sys.argv[1], Path(sys.argv[2]))\nexcept Unavailable as error:\n    print(error)"
    )
    uri = server.publish("hf", FILES)
    ran = subprocess.run(
        [sys.executable, "-c", program, uri, str(tmp_path)],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "the connection to 127.0.0.1 failed (OfflineModeIsEnabled)" in ran.stdout, ran.stderr
    assert server.requests == []


# --- OCI registries


def test_a_registry_is_asked_for_a_token_when_it_wants_one(server: ObjectServer, tmp_path: Path) -> None:
    server.tokens = True
    assert get(server.publish("oci", FILES), tmp_path / "cache") == FILES
    blobs = [request for request in server.requests if "/blobs/" in request.path]
    assert {request.headers.get("authorization") for request in blobs} == {f"Bearer {TOKEN}"}


def test_a_manifest_that_is_not_the_pinned_one_is_refused(server: ObjectServer, tmp_path: Path) -> None:
    uri = server.publish("oci", FILES)
    server.manifests = {path: content + b" " for path, content in server.manifests.items()}
    with pytest.raises(Unreadable, match="answers another manifest than the one that is pinned"):
        get(uri, tmp_path / "cache")


@pytest.mark.parametrize(
    "content", [b"[]", b"{}", b'{"layers": [1]}', b'{"layers": [{}]}', b"[" * 100_000, b"\xff"]
)
def test_a_manifest_that_is_none_is_refused(server: ObjectServer, tmp_path: Path, content: bytes) -> None:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    server.raw[f"/v2/team/bot/manifests/{digest}"] = content
    with pytest.raises(Unreadable, match="is no artifact with layers"):
        get(f"oci://{server.host}/team/bot@{digest}", tmp_path / "cache")


def test_a_manifest_without_an_end_is_cut_off(server: ObjectServer, tmp_path: Path) -> None:
    server.raw["/v2/team/bot/manifests/sha256:" + "a" * 64] = bytes(5 << 20)
    with pytest.raises(Unreadable, match="the manifest is larger than 4194304 bytes"):
        get(f"oci://{server.host}/team/bot@sha256:{'a' * 64}", tmp_path / "cache")


def test_a_service_for_tokens_on_another_private_address_is_not_asked(
    server: ObjectServer, other: ObjectServer, tmp_path: Path
) -> None:
    server.tokens = True
    server.realm = f"{other.url}/token"
    with pytest.raises(Unreadable, match="redirects to plain http, which is refused"):
        get(server.publish("oci", FILES), tmp_path / "cache")
    assert other.requests == []


def test_what_oras_pushes_is_fetched_by_the_titles_that_oras_gives(
    server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from oras.client import OrasClient

    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    pushed = OrasClient(insecure=True).push(
        target=f"{server.host}/team/pushed:v1", files=[CONFIG, WEIGHTS], disable_path_validation=True
    )
    digest = hashlib.sha256(server.manifests["/v2/team/pushed/manifests/v1"]).hexdigest()
    assert pushed.status_code == 201
    assert TITLE.encode() in server.manifests["/v2/team/pushed/manifests/v1"]
    assert get(f"oci://{server.host}/team/pushed@sha256:{digest}", tmp_path / "cache") == FILES


# --- the policy


def policy(*allowed: str) -> Sources:
    return Sources.model_validate({"schema": "adapter-rollout/sources/v1", "allowed": allowed})


@pytest.mark.parametrize("scheme", ["http", "s3", "hf", "oci"])
def test_nothing_is_connected_to_without_a_policy_that_admits_it(
    scheme: str, server: ObjectServer, tmp_path: Path
) -> None:
    wanted = artifact(server.publish(scheme, FILES))
    with pytest.raises(Unreadable, match="no policy says from where artifacts may come") as caught:
        locate_artifact(tmp_path, wanted, None)
    assert "policies/sources.yaml" in caught.value.advice
    with pytest.raises(Unreadable, match=r"policies/sources.yaml does not admit it"):
        locate_artifact(tmp_path, wanted, policy("s3://elsewhere/", "https://127.0.0.1/"))
    assert server.requests == []
    assert list(tmp_path.iterdir()) == []


def test_what_the_policy_admits_lies_in_the_ignored_folder_of_the_repository(
    server: ObjectServer, tmp_path: Path
) -> None:
    uri = server.publish("http", FILES)
    told: list[tuple[str, int, int | None]] = []
    folder = locate_artifact(
        tmp_path, artifact(uri), policy(f"{server.url}/web/"), lambda *it: told.append(it)
    )
    assert folder.parent == tmp_path / ".rollout" / "artifacts"
    assert told[-1] == (WEIGHTS, len(FILES[WEIGHTS]), len(FILES[WEIGHTS]))


def test_the_policy_sets_the_largest_file(server: ObjectServer, tmp_path: Path) -> None:
    uri = server.publish("http", FILES)
    small = policy(f"{server.url}/web/").model_copy(update={"max_file_bytes": 1000})
    with pytest.raises(Unreadable, match="larger than the 1000 bytes"):
        locate_artifact(tmp_path, artifact(uri), small)


@pytest.mark.parametrize("link", [".rollout", ".rollout/artifacts"])
def test_a_cache_that_is_a_link_is_refused(server: ObjectServer, tmp_path: Path, link: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    root = tmp_path / "root"
    (root / link).parent.mkdir(parents=True)
    (root / link).symlink_to(elsewhere)
    with pytest.raises(Unreadable, match="is reached through a link"):
        locate_artifact(root, artifact(server.publish("http", FILES)), policy(f"{server.url}/"))
    assert list(elsewhere.iterdir()) == []
    assert server.requests == []


def test_a_folder_of_the_cache_that_is_a_link_is_refused(server: ObjectServer, tmp_path: Path) -> None:
    uri = server.publish("http", FILES)
    folder = locate_artifact(tmp_path, artifact(uri), policy(f"{server.url}/"))
    folder.rename(tmp_path / "moved")
    folder.symlink_to(tmp_path / "moved")
    with pytest.raises(Unreadable, match="is a link, which is refused"):
        locate_artifact(tmp_path, artifact(uri), policy(f"{server.url}/"))


def test_a_disk_that_cannot_be_written_is_said(server: ObjectServer, tmp_path: Path) -> None:
    uri = server.publish("http", FILES)
    (tmp_path / ".rollout").write_text("a file where the folder should be")
    with pytest.raises(Unavailable, match=r"cannot be (written|locked)"):
        locate_artifact(tmp_path, artifact(uri), policy(f"{server.url}/"))


@pytest.mark.parametrize("module", ["fsspec", "aiohttp", "s3fs", "huggingface_hub", "oras"])
def test_a_library_that_is_missing_is_named_by_its_extra(
    module: str, server: ObjectServer, tmp_path: Path
) -> None:
    scheme = {"s3fs": "s3", "huggingface_hub": "hf", "oras": "oci"}.get(module, "http")
    program = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from pathlib import Path\nfrom tests.integrations.test_sources import get\n"
        "from rollout.errors import Unreadable\n"
        "try:\n    get(sys.argv[1], Path(sys.argv[2]))\nexcept Unreadable as error:\n    print(error, error.advice)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, server.publish(scheme, FILES), str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "is not installed Run: pip install 'adapter-rollout[remote]'" in ran.stdout, ran.stderr


def test_a_policy_that_cannot_be_read_is_found_before_it_is_merged(tmp_path: Path) -> None:
    before, after = (write_repository(tmp_path / name) for name in ("before", "after"))
    (after / "policies/sources.yaml").write_text("schema: adapter-rollout/sources/v1\nallowed: [s3://team]\n")
    (after / "policies/signers.yaml").write_text(
        "schema: adapter-rollout/signers/v1\nsigners:\n"
        "  - {name: alice, kind: key, public_key: ../../etc/passwd}\n  - {name: bob, kind: pgp}\n"
    )
    problems = policy_problems(working_folder(after), working_folder(before), frozenset(), evaluator)
    said = {(problem.source, problem.place.line): problem.message for problem in problems}
    assert "s3://team would admit s3://team-evil" in said["policies/sources.yaml", 2]
    assert "does not have the right form" in said["policies/signers.yaml", 3]
    assert ("policies/signers.yaml", 4) in said
