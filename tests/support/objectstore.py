"""One real server on loopback that keeps files the way four kinds of places do, and fails when it is told to.

It is a web server below `/web/`, an S3 store for path-style addresses, a Hugging Face Hub, and an OCI registry
that takes what ORAS pushes and asks for a token. Every request is written down with the bytes that it was sent.
"""

from __future__ import annotations

import hashlib
import json
import re
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

ACCESS_KEY, SECRET_KEY = "AKIATESTTESTTESTTEST", "secret-of-the-tests"
TOKEN = "token-of-the-tests"
COMMIT = "c0ffee" * 6 + "c0ff"
TITLE = "org.opencontainers.image.title"
_PIECE = 1 << 14


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong with one answer about a file."""

    status: int | None = None
    die_after: int | None = None  # bytes of the body, then the connection is gone
    stall_after: int | None = None  # bytes of the body, then silence
    stall_s: float = 0.0
    redirect: str | None = None
    whole: bool = False  # a range is answered with everything
    endless: bool = False  # no size, and no end
    gate: threading.Event | None = None  # waited for before the body


@dataclass
class Request:
    """What was asked and how much was answered."""

    method: str
    path: str
    headers: dict[str, str]
    sent: int = 0


@dataclass
class ObjectServer:
    """The files by their path, and the faults by the name of the file."""

    url: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    faults: dict[str, Iterator[Fault]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    raw: dict[str, bytes] = field(default_factory=dict)  # answered as they are
    tokens: bool = False
    realm: str = ""
    commit: str = COMMIT

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    def publish(self, scheme: str, files: Mapping[str, bytes]) -> str:
        """Put an artifact there; gives its address."""
        match scheme:
            case "http" | "https":
                self.objects |= {f"/web/team/bot/{name}": content for name, content in files.items()}
                return f"{self.url}/web/team/bot"
            case "s3":
                self.objects |= {f"/models/team/bot/{name}": content for name, content in files.items()}
                return "s3://models/team/bot"
            case "hf":
                base = f"/team/bot/resolve/{COMMIT}/lora"
                self.objects |= {f"{base}/{name}": content for name, content in files.items()}
                return f"hf://team/bot@{COMMIT}/lora"
            case _:
                return f"oci://{self.host}/team/bot@{self._publish_image(files)}"

    def _publish_image(self, files: Mapping[str, bytes]) -> str:
        layers = [self._layer(name, content) for name, content in files.items()]
        config = {
            "mediaType": "application/vnd.oci.empty.v1+json",
            "digest": _digest(b"{}"),
            "size": 2,
        }
        image = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": "application/vnd.test.adapter",
            "config": config,
            "layers": layers,
        }
        return self.keep_manifest(json.dumps(image).encode())

    def _layer(self, name: str, content: bytes) -> dict[str, object]:
        digest = _digest(content)
        self.objects[f"/v2/team/bot/blobs/{digest}"] = content
        return {
            "mediaType": "application/octet-stream",
            "digest": digest,
            "size": len(content),
            "annotations": {TITLE: name},
        }

    def keep_manifest(self, content: bytes, repository: str = "team/bot", tag: str = "") -> str:
        """Take a manifest, and the names that it gives its layers."""
        for layer in json.loads(content)["layers"]:
            self.titles[layer["digest"]] = layer.get("annotations", {}).get(TITLE, "")
        digest = _digest(content)
        for reference in (digest, tag):
            self.manifests[f"/v2/{repository}/manifests/{reference}"] = content
        return digest

    def asked(self, name: str) -> list[Request]:
        """The requests for the bytes of one file."""
        return [each for each in self.requests if each.method == "GET" and self.name_of(each.path) == name]

    def name_of(self, path: str) -> str:
        last = path.rsplit("/", 1)[-1]
        return self.titles.get(last, last)


@contextmanager
def object_server(tls: Path | None = None) -> Iterator[ObjectServer]:
    """Serve on a free port; `tls` is a PEM file with a certificate and its key."""
    store = ObjectServer()

    class Bound(_Handler):
        server_store = store

    with ThreadingHTTPServer(("127.0.0.1", 0), Bound) as server:
        server.daemon_threads = True
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        store.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield store
        finally:
            server.shutdown()
            thread.join(10)


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class _Handler(BaseHTTPRequestHandler):
    """Tells the four places apart by the form of the path."""

    protocol_version = "HTTP/1.1"
    server_store: ObjectServer

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._handle()

    def do_HEAD(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_PUT(self) -> None:
        self._handle()

    def _handle(self) -> None:
        self.store = self.server_store
        self.path, _, self.query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.asked = Request(self.command, self.path, headers)
        self.store.requests.append(self.asked)
        try:
            self._route()
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            self.close_connection = True

    def _route(self) -> None:
        if self.path in self.store.raw:
            self._send(200, self.store.raw[self.path], {})
        elif self.path == "/token":
            self._send(200, json.dumps({"token": TOKEN}).encode(), {"Content-Type": "application/json"})
        elif self.path.startswith("/v2/"):
            self._registry()
        elif "/resolve/" in self.path:
            self._hub()
        elif self.path.startswith("/web/"):
            self._file(missing=b"")
        else:
            self._bucket()

    def _bucket(self) -> None:
        signed = self.headers.get("Authorization", "")
        if not signed.startswith(f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/"):
            self._send(403, _s3_error("AccessDenied"), {"Content-Type": "application/xml"})
            return
        self._file(missing=_s3_error("NoSuchKey"), unsatisfiable=_s3_error("InvalidRange"))

    def _hub(self) -> None:
        revision = self.path.split("/resolve/")[1].split("/")[0]
        if revision != COMMIT:
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
            return
        self._file(missing=b"", on_missing={"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})

    def _registry(self) -> None:
        if self.store.tokens and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            repository = re.sub(r"^/v2/(.+)/(?:manifests|blobs)/.*$", r"\1", self.path)
            realm = self.store.realm or f"{self.store.url}/token"
            scope = f"repository:{repository}:pull"
            challenge = f'Bearer realm="{realm}",service="test",scope="{scope}"'
            self._send(401, _oci_error("UNAUTHORIZED"), {"WWW-Authenticate": challenge})
        elif self.command in {"POST", "PUT"}:
            self._push()
        elif self.path in self.store.manifests:
            content = self.store.manifests[self.path]
            kind = json.loads(content).get("mediaType", "application/vnd.oci.image.manifest.v1+json")
            self._send(200, content, {"Content-Type": kind, "Docker-Content-Digest": _digest(content)})
        elif "/manifests/" in self.path:
            self._send(404, _oci_error("MANIFEST_UNKNOWN"), {"Content-Type": "application/json"})
        else:
            self._file(missing=_oci_error("BLOB_UNKNOWN"))

    def _push(self) -> None:
        """The monolithic upload of the distribution specification: POST, PUT with a digest, PUT the manifest."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        repository = re.sub(r"^/v2/(.+?)/(?:manifests|blobs)/.*$", r"\1", self.path)
        if self.command == "POST":
            self._send(202, b"", {"Location": f"/v2/{repository}/blobs/uploads/one"})
        elif "/uploads/" in self.path:
            digest = parse_qs(self.query)["digest"][0]
            assert _digest(body) == digest
            self.store.objects[f"/v2/{repository}/blobs/{digest}"] = body
            self._send(201, b"", {"Location": f"/v2/{repository}/blobs/{digest}"})
        else:
            digest = self.store.keep_manifest(body, repository, self.path.rsplit("/", 1)[-1])
            self._send(201, b"", {"Location": self.path, "Docker-Content-Digest": digest})

    def _file(
        self, *, missing: bytes, unsatisfiable: bytes = b"", on_missing: Mapping[str, str] | None = None
    ) -> None:
        name = self.store.name_of(self.path)
        fault = next(self.store.faults.get(name, iter(())), Fault()) if self.command == "GET" else Fault()
        content = self.store.objects.get(self.path)
        if fault.redirect is not None:
            self._send(302, b"", {"Location": fault.redirect})
        elif fault.status is not None:
            self._send(fault.status, b"", {})
        elif content is None:
            self._send(404, missing, {"Content-Type": "application/xml", **(on_missing or {})})
        elif fault.endless:
            self._endless()
        else:
            self._ranged(content, fault, unsatisfiable)

    def _ranged(self, content: bytes, fault: Fault, unsatisfiable: bytes) -> None:
        headers = {
            "Accept-Ranges": "bytes",
            "ETag": f'"{hashlib.md5(content).hexdigest()}"',
            "X-Repo-Commit": self.store.commit,
            "Last-Modified": "Sun, 01 Mar 2026 12:00:00 GMT",
        }
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked and not fault.whole else 0
        if start and start >= len(content):
            self._send(416, unsatisfiable, {"Content-Range": f"bytes */{len(content)}"})
            return
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._send(206 if start else 200, content[start:], headers, fault)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str], fault: Fault = Fault()) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault.gate is not None:
            fault.gate.wait(30)
        for at in range(0, len(body), _PIECE):
            if fault.die_after is not None and at >= fault.die_after:
                self.close_connection = True
                return
            if fault.stall_after is not None and at >= fault.stall_after:
                time.sleep(fault.stall_s)
            self.wfile.write(body[at : at + _PIECE])
            self.asked.sent += len(body[at : at + _PIECE])

    def _endless(self) -> None:
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        while True:
            self.wfile.write(bytes(_PIECE))
            self.asked.sent += _PIECE


def _s3_error(code: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'.encode()


def _oci_error(code: str) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": code}]}).encode()
