"""`rollout serve alerts` as a process: who is let in, over what, and how it ends."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from rollout.cli import VERBS
from rollout.cli.serve import command
from rollout.core.lifecycle import Phase
from rollout.demo.scratch import ENVIRONMENT, NAME
from tests.support.alerts import alert, body
from tests.support.certificates import write_server_certificate
from tests.support.commands import Ended, lasting, rollout
from tests.support.receiving import BEARER, SECRET, Process, running
from tests.support.site import Site

VARIABLE = "ROLLOUT_ALERTS_TOKEN"


@pytest.fixture(autouse=True)
def without_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def words(site: Site, *more: str) -> tuple[str, ...]:
    root = str(site.repository.root)
    return ("serve", "alerts", "-e", ENVIRONMENT, "--root", root, "--port", "0", *more)


def refused(site: Site, *more: str) -> Ended:
    return rollout(*words(site, *more))


@contextmanager
def serving(site: Site, *more: str, **environment: str) -> Iterator[Process]:
    with running("rollout", *words(site, *more), **environment) as process:
        yield process


def test_the_help_is_the_line_in_the_list_of_verbs() -> None:
    assert (command.help or "").split("\n")[0] == VERBS["serve"]


@pytest.mark.parametrize("said", ["folder", "--port"])
def test_serving_a_model_needs_no_word_more_than_it_did(tmp_path: Path, said: str) -> None:
    first = (str(tmp_path), "--port", "0") if said == "folder" else ("--port", "0", str(tmp_path))
    ended = rollout("serve", *first)
    assert (ended.status, "has no config.json" in ended.err) == (3, True)


def test_variables_set_the_options_of_the_model_server_as_they_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROLLOUT_SERVE_PORT", "no port")
    ended = rollout("serve", str(tmp_path))
    assert ended.status == 2
    assert "'--port'" in ended.err


def test_it_does_not_start_where_anybody_could_send(ramping: Site) -> None:
    ended = refused(ramping)
    assert ended.status == 2
    assert "nothing would keep anybody from taking adapters back" in ended.err
    assert VARIABLE in ended.err


def test_a_secret_that_can_be_guessed_is_none(ramping: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "hunter2")
    ended = refused(ramping)
    assert ended.status == 2
    assert "hunter2" not in ended.err


@pytest.mark.parametrize(
    ("options", "status", "why"),
    [
        (("--tls-cert", "c.pem"), 2, "belong together"),
        (("--client-ca", "ca.pem"), 2, "needs --tls-cert and --tls-key"),
        (("--tls-cert", "nothing.pem", "--tls-key", "nothing.pem"), 3, "cannot be used: No such file"),
        (("--host", "192.0.2.1"), 4, "cannot listen on 192.0.2.1"),
    ],
)
def test_what_does_not_fit_together_is_said(
    ramping: Site, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], status: int, why: str
) -> None:
    monkeypatch.setenv(VARIABLE, SECRET)
    ended = refused(ramping, *options)
    assert ended.status == status
    assert why in ended.err


def test_a_port_that_is_taken_is_said(ramping: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, SECRET)
    with socket.create_server(("127.0.0.1", 0)) as other:
        ended = refused(ramping, "--port", str(other.getsockname()[1]))
    assert ended.status == 4
    assert "cannot listen on" in ended.err


def test_an_alert_takes_back_and_is_to_be_sent_again_until_all_is_proven(ramping: Site) -> None:
    one = alert(NAME, environment=ENVIRONMENT, began=ramping.clock.time)
    with serving(ramping, **{VARIABLE: SECRET}) as process:
        assert httpx.get(f"{process.url}/healthz").json()["ok"] is True
        refused = httpx.post(f"{process.url}/alerts", content=body(one))
        assert (refused.status_code, ramping.state.phase) == (401, Phase.CANARY)
        wrong = httpx.post(f"{process.url}/alerts", content=b"{}", headers=BEARER)
        assert (wrong.status_code, "webhook" in wrong.json()["error"]) == (400, True)
        # No gateway runs here: users are safe, and nobody could prove it.
        answer = httpx.post(f"{process.url}/alerts", content=body(one), headers=BEARER, timeout=120)
        assert answer.status_code == 503
        (told,) = answer.json()["alerts"]
        assert (told["fate"], told["rollback"]["safe"]) == ("takes back", True)
        assert ramping.state.phase is Phase.TAKEN_BACK
        assert process.end() == 0
    log = "".join(process.said)
    assert SECRET not in log
    assert "refused 401" in log
    assert "refused 400" in log
    assert f"{NAME} 1.1.0: not complete" in log
    assert "answered 503" in log


def test_what_is_not_its_business_is_answered_for_good(adopted: Site) -> None:
    before = lasting(adopted)
    one = alert(NAME, environment=ENVIRONMENT, began=adopted.clock.time, version="1.0.0")
    with serving(adopted, **{VARIABLE: SECRET}) as process:
        answer = httpx.post(f"{process.url}/alerts", content=body(one), headers=BEARER, timeout=120)
    assert answer.status_code == 200
    assert answer.json()["alerts"][0]["fate"] == "turned down"
    assert lasting(adopted) == before


def test_certificates_say_who_may_send(adopted: Site, tmp_path: Path) -> None:
    server = write_server_certificate(tmp_path / "server.pem")
    ca, ours, theirs = _clients(tmp_path)
    tls = ("--tls-cert", str(server), "--tls-key", str(server), "--client-ca", str(ca))
    with serving(adopted, *tls) as process:
        assert process.url.startswith("https://")
        assert post(process.url, server, ours).status_code == 200
        for stranger in (None, theirs):
            with pytest.raises(httpx.HTTPError):
                post(process.url, server, stranger)
        assert post(process.url, server, ours).status_code == 200


def test_with_both_a_sender_needs_both(adopted: Site, tmp_path: Path) -> None:
    server = write_server_certificate(tmp_path / "server.pem")
    ca, ours, _ = _clients(tmp_path)
    tls = ("--tls-cert", str(server), "--tls-key", str(server), "--client-ca", str(ca))
    with serving(adopted, *tls, **{VARIABLE: SECRET}) as process:
        assert post(process.url, server, ours).status_code == 401
        assert post(process.url, server, ours, BEARER).status_code == 200


def post(
    url: str, server: Path, client: Path | None, headers: dict[str, str] | None = None
) -> httpx.Response:
    context = ssl.create_default_context(cafile=str(server))
    if client is not None:
        context.load_cert_chain(client)
    with httpx.Client(verify=context) as session:
        return session.post(f"{url}/alerts", content=body(), headers=headers or {})


def _clients(folder: Path) -> tuple[Path, Path, Path]:
    """An authority, a certificate that it has signed, and one of another authority of the same name."""
    made = [_client(folder, number) for number in (1, 2)]
    return made[0][0], made[0][1], made[1][1]


def _client(folder: Path, number: int) -> tuple[Path, Path]:
    now, names = datetime.now(UTC), [x509.NameAttribute(NameOID.COMMON_NAME, "alerts")]
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root_name, name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root")]), x509.Name(names)

    def signed(subject: x509.Name, public: ec.EllipticCurvePublicKey, *, authority: bool) -> bytes:
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(root_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .sign(root_key, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM)

    ca, client = folder / f"ca{number}.pem", folder / f"client{number}.pem"
    ca.write_bytes(signed(root_name, root_key.public_key(), authority=True))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    client.write_bytes(signed(name, key.public_key(), authority=False) + private)
    return ca, client


def test_a_page_of_json_is_what_the_command_prints(adopted: Site, tmp_path: Path) -> None:
    one = alert(NAME, environment=ENVIRONMENT, began=adopted.clock.time, adapter_of="x")
    file = tmp_path / "body.json"
    file.write_bytes(body(one))
    root = str(adopted.repository.root)
    printed = rollout(
        "rollback", "--from-alert", str(file), "-e", ENVIRONMENT, "--root", root, "--format", "json"
    )
    with serving(adopted, **{VARIABLE: SECRET}) as process:
        answer = httpx.post(f"{process.url}/alerts", content=body(one), headers=BEARER, timeout=120)
    assert answer.json() == json.loads(printed.out)
