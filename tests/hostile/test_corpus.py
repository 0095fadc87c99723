"""Hostile input from the command line: a finding or a clean error each, soon, small, and nothing outside touched.

Each case starts from a repository in order, plants one thing, and runs `rollout validate` as a process of its own
with a limit on its memory. What counts as soon is processor time, which a busy machine does not stretch.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.adapters import (
    MODULES,
    good_config,
    good_tensors,
    key,
    safetensors_bytes,
    tensor,
    write_repository,
)

MANIFEST = "manifests/support/support-bot.yaml"
WEIGHTS = "adapters/1.0.0/adapter_model.safetensors"
CONFIG = "adapters/1.0.0/adapter_config.json"
RULE = "policies/rules/license-known/rule.yaml"
SECRET = "the-secret-outside-7f3a"

MOST_SECONDS = 2.0
MOST_MEMORY = 500 << 20
HANGS_AFTER = 60

pytestmark = pytest.mark.e2e

Plant = Callable[[Path], None]


@dataclass(frozen=True)
class Case:
    """What is planted, and words of the answer."""

    plant: Plant
    says: str


def file(path: str, content: bytes | str) -> Plant:
    def plant(root: Path) -> None:
        (root / path).unlink(missing_ok=True)
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content.encode() if isinstance(content, str) else content)

    return plant


def swap(old: str, new: str | bytes, path: str = MANIFEST) -> Plant:
    def plant(root: Path) -> None:
        text = (root / path).read_bytes()
        assert text.count(old.encode()) == 1, f"{old!r} is not there once"
        (root / path).write_bytes(text.replace(old.encode(), new.encode() if isinstance(new, str) else new))

    return plant


def append(text: str | bytes, path: str = MANIFEST) -> Plant:
    def plant(root: Path) -> None:
        with (root / path).open("ab") as out:
            out.write(text.encode() if isinstance(text, str) else text)

    return plant


def link(path: str, target: str) -> Plant:
    def plant(root: Path) -> None:
        at = root / path
        if at.is_dir():
            at.rename(at.with_name("moved-away"))
        at.unlink(missing_ok=True)
        at.symlink_to(target)

    return plant


def fifo(path: str) -> Plant:
    def plant(root: Path) -> None:
        (root / path).unlink(missing_ok=True)
        os.mkfifo(root / path)

    return plant


def weights(content: bytes) -> Plant:
    return file(WEIGHTS, content)


def header(text: str | bytes, data: bytes = b"", length: int | None = None) -> Plant:
    raw = text.encode() if isinstance(text, str) else text
    return weights((len(raw) if length is None else length).to_bytes(8, "little") + raw + data)


def entry(dtype: object = "F32", shape: object = (2, 8), offsets: object = (0, 64), name: str = "x") -> str:
    return json.dumps({name: {"dtype": dtype, "shape": shape, "data_offsets": offsets}})


def config(**changes: object) -> Plant:
    return file(CONFIG, json.dumps(good_config(**changes)))


def sparse(path: str, size: int) -> Plant:
    def plant(root: Path) -> None:
        (root / path).unlink(missing_ok=True)
        with (root / path).open("wb") as out:
            out.truncate(size)

    return plant


def crowd(root: Path) -> None:
    for number in range(5000):
        (root / f"adapters/1.0.0/{number}.json").touch()


SLOW = {".*a" + "[a-z]" * 150 + str(number): 4 for number in range(64)}


def many_modules(root: Path) -> None:
    names = [f"model.layers.{number}.{'a' * 170}.q_proj" for number in range(4999)]
    one = tensor([[1.0]])
    content = safetensors_bytes({key(name, side): one for name in names for side in "AB"})
    (root / WEIGHTS).write_bytes(content)


def laughs() -> str:
    lines = ["a0: &a0 [lol, lol]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]" for n in range(1, 40)]
    return "\n".join(lines) + "\n"


def outside(root: Path) -> str:
    return str(root.parent / "outside" / "secret.yaml")


YAML = {
    "billion laughs": Case(append(laughs()), "anchors and aliases are refused"),
    "an alias of itself": Case(append("loop: &a [*a]\n"), "anchors and aliases are refused"),
    "merge key": Case(append("<<: {version: '9.9.9'}\n"), "merge keys are refused"),
    "python tag": Case(append("x: !!python/object/apply:os.system ['touch pwned']\n"), "tag"),
    "custom tag": Case(swap('version: "1.0.0"', 'version: !evil "1.0.0"'), "tag"),
    "a megabyte": Case(append("# " + "x" * (1 << 20)), "at most"),
    "deep flow list": Case(append("x: " + "[" * 9000 + "]" * 9000), "deeper than"),
    "deep flow mapping": Case(append("x: " + "{a: " * 3000 + "}" * 3000), "deeper than"),
    "deep block": Case(append("".join(" " * n + "x:\n" for n in range(300))), "deeper than"),
    "fifty thousand keys": Case(append("".join(f"k{n}: 1\n" for n in range(12000))), "nodes"),
    "key twice": Case(append('version: "2.0.0"\n'), "is there twice"),
    "NUL": Case(append(b"x: a\0b\n"), "hide text"),
    "byte order mark": Case(swap("# yaml", b"\xef\xbb\xbf# yaml"), "hide text"),
    "UTF-16": Case(file(MANIFEST, "schema: x".encode("utf-16")), "not UTF-8"),
    "broken UTF-8": Case(append(b"x: \xff\xfe\n"), "not UTF-8"),
    "right to left override": Case(swap("Trained longer.", "Trained \u202elonger."), "hide text"),
    "line separator": Case(append("# \u2028version: '9.9.9'\n"), "hide text"),
    "next line": Case(append("# \u0085version: '9.9.9'\n"), "hide text"),
    "carriage return alone": Case(append("# x\rversion: '9.9.9'\n"), "hide text"),
    "escaped surrogate": Case(swap("Trained longer.", '"\\ud800"'), "surrogate"),
    "two documents": Case(append("---\nschema: y\n"), "second document"),
    "directive": Case(swap("# yaml", "%YAML 1.1\n---\n# yaml"), "directives are refused"),
    "octal": Case(swap("rank: 2", "rank: 0o2"), "quote it"),
    "infinity": Case(swap("alpha: 4", "alpha: .inf"), "finite"),
    "overflow": Case(swap("alpha: 4", "alpha: 1e999"), "finite"),
    "ten thousand digits": Case(swap("rank: 2", "rank: " + "9" * 10000), "digits"),
    "a count that has no 64 bits": Case(
        swap("examples: 1000", "examples: " + "9" * 30), "less than or equal"
    ),
    "no date": Case(swap("2099-01-01", "2099-13-45"), "date"),
    "empty": Case(file(MANIFEST, ""), "empty"),
    "a list": Case(file(MANIFEST, "- 1\n"), "should be an object"),
    "a list as key": Case(append("? [a, b]\n: 1\n"), "a key must be text"),
    "unterminated quote": Case(append('x: "never ends\n'), "not YAML"),
    "tab": Case(append("x:\n\t- 1\n"), "not YAML"),
    "unknown field": Case(append("__class__: {}\n"), "__class__"),
    "format string": Case(
        swap("license: Apache-2.0", 'license: "{manifest.__class__} %s %n"'), "license-known"
    ),
    "escape sequence": Case(swap("Apache-2.0", '"\\e[2J\\e]0;x\\a"'), "license-known"),
}

NAMES = {
    "name with a path": Case(swap("name: support-bot", "name: ../../etc"), "/name"),
    "name with a line end": Case(swap("name: support-bot  ", 'name: "a\\nb"  '), "/name"),
    "suite with a path": Case(swap("suite: golden", "suite: ../../../etc/passwd"), "/evaluation/suite"),
    "plan with a path": Case(swap("plan: default", "plan: ../environments/demo"), "/rollout/plan"),
    "file with a path": Case(swap("adapter_config.json:", "../../secret.yaml:"), "/artifact/files"),
    "absolute file": Case(swap("adapter_config.json:", "/etc/passwd:"), "/artifact/files"),
    "hidden file": Case(swap("adapter_config.json:", ".env:"), "/artifact/files"),
    "signature with a path": Case(
        swap("  rank: 2", "  signature: ../../x\n  rank: 2"), "/artifact/signature"
    ),
    "a rule in the wrong folder": Case(swap("id: license-known", "id: ../../x", RULE), "/id"),
}

URLS = {
    uri: Case(swap("uri: adapters/1.0.0", f"uri: {json.dumps(uri)}"), says)
    for uri, says in {
        "../../outside": "lies outside",
        "adapters/../../outside": "lies outside",
        "/etc": "lies outside",
        "file://etc": "not an absolute path",
        "file:///proc/self": "does not admit it",
        "file:///dev": "does not admit it",
        "http://169.254.169.254/latest/meta-data": "artifact-readable",
        "https://user:hunter2@example.org/a": "credentials come from the environment",
        "https://example.org/a?token=hunter2": "credentials come from the environment",
        "https://example.org/%2e%2e/a": "plain form",
        "https://EXAMPLE.org/a": "upper-case",
        "https://example.org/a": "no policy says",
        "s3://bucket/../other": "plain form",
        "hf://org/repo@main": "not pinned",
        "oci://registry.example.org/repo:latest": "not pinned",
        "git+ssh://example.org/x": "not fetched by",
        "javascript:alert(1)": "artifact",
        "C:\\adapters": "artifact",
        "adapters/1.0.0\u0000x": "/artifact/uri",
        "~/adapters": "does not exist",
        "$HOME": "does not exist",
        "`touch pwned`": "does not exist",
    }.items()
}

FILES = {
    "manifest is a link outside": Case(
        lambda root: link(MANIFEST, outside(root))(root), "there is no manifest"
    ),
    "manifest is a pipe": Case(fifo(MANIFEST), "there is no manifest"),
    "folder of manifests is a link": Case(
        lambda root: link("manifests", str(root.parent / "outside"))(root), "through a link"
    ),
    "adapter folder is a link": Case(
        lambda root: link("adapters/1.0.0", str(root.parent / "outside"))(root), "link"
    ),
    "weights are a link": Case(lambda root: link(WEIGHTS, outside(root))(root), "not a plain file"),
    "weights are a link to zeros": Case(link(WEIGHTS, "/dev/zero"), "not a plain file"),
    "weights are a pipe": Case(fifo(WEIGHTS), "not a plain file"),
    "config is a pipe": Case(fifo(CONFIG), "not a plain file"),
    "weights are a folder": Case(
        lambda root: ((root / WEIGHTS).unlink(), (root / WEIGHTS).mkdir())[1], "not a plain file"
    ),
    "five thousand files": Case(crowd, "more than"),
    "sparse terabyte of weights": Case(sparse(WEIGHTS, 1 << 40), "artifact-readable"),
    "sparse terabyte of config": Case(sparse(CONFIG, 1 << 40), "adapter_config.json"),
    "sparse terabyte beside": Case(sparse("adapters/1.0.0/README.md", 1 << 40), "README.md"),
    "shell script": Case(file("adapters/1.0.0/README.md", "#!/bin/sh\ntouch pwned\n"), "no-code"),
    "program": Case(file("adapters/1.0.0/notes.txt", b"\x7fELF\x02\x01\x01" + bytes(64)), "no-code"),
    "pickle under another name": Case(
        file("adapters/1.0.0/notes.txt", b"\x80\x04\x95\x00c"), "safetensors-only"
    ),
    "archive under another name": Case(
        file("adapters/1.0.0/notes.txt", b"PK\x03\x04" + bytes(64)), "safetensors-only"
    ),
    "policies are a link": Case(lambda root: link("policies", str(root.parent / "outside"))(root), "error"),
}

WEIGHT_FILES = {
    "no byte": Case(weights(b""), "too short"),
    "seven bytes": Case(weights(b"1234567"), "too short"),
    "header of 2^63": Case(header("{}", length=1 << 63), "the header claims"),
    "header of 100 MB": Case(header("{}", length=100 << 20), "the header claims"),
    "header is no JSON": Case(header("{nope"), "not JSON"),
    "header is a list": Case(header("[]"), "not an object"),
    "header nested": Case(header("[" * 100_000 + "]" * 100_000), "nested too deeply"),
    "header with a name twice": Case(header(f"{entry()[:-1]}, {entry()[1:]}", bytes(64)), "twice"),
    "header with NaN": Case(header('{"x": NaN}'), "artifact-readable"),
    "header in UTF-16": Case(header(entry().encode("utf-16"), bytes(64)), "artifact-readable"),
    "overlap": Case(
        header(entry()[:-1] + ", " + entry(offsets=(32, 96), name="y")[1:], bytes(96)), "overlap or hole"
    ),
    "hole": Case(header(entry(offsets=(64, 128)), bytes(128)), "overlap or hole"),
    "backwards": Case(header(entry(offsets=(64, 0)), bytes(64)), "artifact-readable"),
    "negative": Case(header(entry(offsets=(-64, 0)), bytes(64)), "artifact-readable"),
    "out of range": Case(
        header(entry(shape=(1 << 20, 1 << 20), offsets=(0, 1 << 42)), bytes(64)), "artifact-readable"
    ),
    "shape that overflows": Case(
        header(entry(shape=(1 << 40, 1 << 40), offsets=(0, 64)), bytes(64)), "artifact-readable"
    ),
    "shape of a million": Case(
        header(entry(shape=[1] * 100_000, offsets=(0, 4)), bytes(4)), "artifact-readable"
    ),
    "true as a number": Case(
        header(entry(shape=(True, 16), offsets=(0, 64)), bytes(64)), "artifact-readable"
    ),
    "floats as offsets": Case(header(entry(offsets=(0.0, 64.0)), bytes(64)), "artifact-readable"),
    "type unknown": Case(header(entry(dtype="F3"), bytes(64)), "unknown type"),
    "type is a list": Case(header(entry(dtype=["F32"]), bytes(64)), "artifact-readable"),
    "whole numbers": Case(header(entry(dtype="I32"), bytes(64)), "float-weights"),
    "bytes behind": Case(weights(safetensors_bytes(good_tensors()) + b"x"), "artifact-readable"),
    "cut off": Case(weights(safetensors_bytes(good_tensors())[:-8]), "artifact-readable"),
    "a name with a path": Case(
        weights(safetensors_bytes({**good_tensors(), "../../x.lora_A.weight": tensor([[1.0]])})),
        "keys-apply-to-base",
    ),
    "a name with an escape": Case(
        weights(safetensors_bytes({**good_tensors(), "\x1b[2J\n::error::x": tensor([[1.0]])})), "error"
    ),
    "a hundred thousand tensors": Case(
        header(
            json.dumps(
                {f"t{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(100_000)}
            )
        ),
        "tensors for 0 bytes",
    ),
    "negative zero": Case(
        weights(safetensors_bytes({**good_tensors(), key(MODULES[0], "B"): tensor([[-0.0, -0.0]] * 8)})),
        "no-dead-modules",
    ),
    "zip": Case(weights(b"PK\x03\x04" + bytes(200)), "artifact-readable"),
}

CONFIGS = {
    "nested": Case(file(CONFIG, "[" * 200_000), "nested too deeply"),
    "list": Case(file(CONFIG, "[]"), "must hold an object"),
    "NaN": Case(file(CONFIG, '{"r": NaN}'), "adapter_config.json"),
    "twice": Case(file(CONFIG, '{"r": 2, "r": 64}'), "twice"),
    "rank of 2^64": Case(config(r=1 << 64), "r must be"),
    "rank is true": Case(config(r=True), "r must be"),
    "alpha is text": Case(config(lora_alpha="4"), "lora_alpha"),
    "targets that never end": Case(config(target_modules="(a+)+$"), "error"),
    "rank pattern that never ends": Case(config(rank_pattern={"(a+)+$": 4}), "error"),
    "a class to load": Case(
        config(auto_mapping={"base_model_class": "os", "parent_library": "os"}), "config-is-servable"
    ),
    "patterns without end for many modules": Case(
        lambda root: (many_modules(root), config(rank_pattern=SLOW, alpha_pattern=SLOW)(root))[1],
        "its patterns are too long for so many modules",
    ),
    "code to run": Case(config(peft_type="__import__('os').system('touch pwned')"), "peft-type-supported"),
}

POLICIES = {
    "no rule at all": Case(
        lambda root: (root / "policies/rules").rename(root / "gone"), "there are no rules"
    ),
    "comprehensions without end": Case(
        swap(
            "manifest.risk.license in",
            "[1].all(a, [1].all(b, [1].all(c, true))) && manifest.risk.license in",
            RULE,
        ),
        "could run for too long",
    ),
    "expression that is none": Case(swap("manifest.risk.license in", "(((", RULE), "could not be evaluated"),
    "expression that is text": Case(
        swap("manifest.risk.license in [", "'true' + '' + ['x',", RULE), "could not be evaluated"
    ),
    "regular expression without end": Case(
        swap(
            "manifest.risk.license in", f"'{'a' * 500}b'.matches('(a+)+$') && manifest.risk.license in", RULE
        ),
        "license-known",
    ),
    "waiver for everything": Case(
        file("policies/waivers.yaml", "schema: adapter-rollout/waivers/v1\nwaivers: [{rule: '*'}]\n"),
        "/waivers/0",
    ),
}

CASES = {
    f"{kind}: {name}": case
    for kind, cases in {
        "yaml": YAML,
        "name": NAMES,
        "url": URLS,
        "file": FILES,
        "weights": WEIGHT_FILES,
        "config": CONFIGS,
        "policy": POLICIES,
    }.items()
    for name, case in cases.items()
}


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_repository(tmp_path_factory.mktemp("pristine") / "repository")


@pytest.fixture
def root(pristine: Path, tmp_path: Path) -> Iterator[Path]:
    root = tmp_path / "repository"
    subprocess.run(["cp", "-a", str(pristine), str(root)], check=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret.yaml").write_text(f"schema: {SECRET}\n")
    yield root
    outside = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("outside/**/*"))
    assert outside == ["outside/secret.yaml"], "something was written outside"
    assert not list(tmp_path.rglob("pwned"))


def limited() -> None:
    """Far above what is allowed, so that what is measured is the program and not the limit."""
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 20, 64 << 20))


_MEASURED = (
    "import resource, sys; from rollout.cli import run; status = run(['validate', '--format', sys.argv[1]]); "
    "usage = resource.getrusage(resource.RUSAGE_SELF); "
    # Not ru_maxrss: that begins with what the process held that started this one.
    "peak = next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')); "
    "print('\\nused', usage.ru_utime + usage.ru_stime, int(peak) * 1024, file=sys.stderr); sys.exit(status)"
)


@pytest.mark.parametrize("name", CASES)
def test_hostile_input_gets_a_clean_answer_soon(root: Path, name: str) -> None:
    case = CASES[name]
    case.plant(root)
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, "text"],
        cwd=root,
        capture_output=True,
        timeout=HANGS_AFTER,
        check=False,
        preexec_fn=limited,
    )
    output = (done.stdout + done.stderr).decode("utf-8", errors="strict")
    told, _, used = output.rpartition("\nused ")
    seconds, memory = used.split()
    assert done.returncode in (1, 3), told
    assert "Traceback" not in told
    assert case.says in told
    for harm in (SECRET, "hunter2", "\x1b[2J", "\x1b]0", "\u202e"):
        assert harm not in told
    assert float(seconds) < MOST_SECONDS
    assert int(memory) < MOST_MEMORY


def test_the_corpus_is_as_large_as_it_should_be() -> None:
    assert len(CASES) >= 60


@pytest.mark.parametrize("form", ["github", "markdown", "sarif", "junit", "json"])
def test_no_rendering_lets_hostile_text_out(root: Path, form: str) -> None:
    evil = '"x`|</td><script>]]>&lt;\\e[2J\\n::add-mask::hunter\\u0000"'
    swap("license: Apache-2.0", f"license: {evil}")(root)
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, form],
        cwd=root,
        capture_output=True,
        timeout=HANGS_AFTER,
        check=False,
    )
    text = done.stdout.decode("utf-8")
    assert "\x1b" not in text
    assert "\x00" not in text
    assert not any(line.startswith("::add-mask") for line in text.splitlines())
