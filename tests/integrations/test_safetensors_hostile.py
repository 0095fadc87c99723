"""Files and folders made to trip the inspector: each gives a reason, and none costs much memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rollout.core.artifact import ArtifactFacts
from rollout.core.manifest import Dtype
from rollout.errors import Unreadable
from rollout.integrations.safetensors import inspect, stream
from tests.support.adapters import (
    MODULES,
    REPOSITORY,
    good_config,
    good_tensors,
    key,
    safetensors_bytes,
    tensor,
    write_adapter,
)

WEIGHTS = "adapter_model.safetensors"


def facts(folder: Path) -> ArtifactFacts:
    return inspect(folder, dtypes=frozenset({Dtype.BFLOAT16}))


def with_weights(folder: Path, content: bytes) -> Path:
    write_adapter(folder).joinpath(WEIGHTS).write_bytes(content)
    return folder


def header(text: str | bytes, data: bytes = b"") -> bytes:
    content = text.encode() if isinstance(text, str) else text
    return len(content).to_bytes(8, "little") + content + data


def entry(name: str = "x", *, shape: object = (2, 8), offsets: object = (0, 64), **changes: object) -> str:
    return json.dumps({name: {"dtype": "F32", "shape": shape, "data_offsets": offsets, **changes}})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (header(" " + entry(), bytes(64)), "not an object"),
        (header("[1]"), "not an object"),
        (header('{"x": -0}'), "-0 is no size"),
        (header(entry(offsets=[0, 10**30]), bytes(64)), "is no size"),
        (header(entry(shape=["9" * 5000]), bytes(64)), "impossible shape"),
        (header('{"x": {"dtype": "F32", "shape": [' + "9" * 9000 + "]}}"), "is no size"),
        (header('{"x": 1e400}'), "is no size"),
        (header('{"x": Infinity}'), "is no JSON"),
        (header(entry("a\0b"), bytes(64)), "cannot be printed"),
        (header(entry("a\x1b[31m"), bytes(64)), "cannot be printed"),
        (header(entry("a‮b"), bytes(64)), "cannot be printed"),
        (header(entry("\ud800"), bytes(64)), "half a character"),
        (header(entry("x" * 501), bytes(64)), "too long"),
        (header(entry(dtype="F4"), bytes(64)), "unknown type"),
        (header(entry(dtype=7), bytes(64)), "unknown type"),
        (header(entry(more=1), bytes(64)), "malformed"),
        (header(entry(shape=[1 << 47, 1 << 47, 0], offsets=[0, 0])), "does not fit its shape"),
        (header(entry(shape=[1] * 9, offsets=[0, 4]), bytes(4)), "impossible shape"),
        (header(entry(shape=16), bytes(64)), "impossible shape"),
        (header('{"__metadata__": {"format": 1}}'), "metadata are not texts"),
        (header('{"__metadata__": ["pt"]}'), "metadata are not texts"),
        (header('{"__metadata__": null}'), "metadata are not texts"),
        (header('{"__metadata__": {"a": "1", "a": "2"}}'), "twice"),
        (header(b'{"\xff": 1}'), "not UTF-8"),
        (header('{"x": ' * 1000 + "1" + "}" * 1000), "nested too deeply"),
        (header("{" + "[]," * 300_000), "tensors could need"),
        (header('{"x": [' + '"ab",' * 600_000), "tensors could need"),
        (header('{"x": [' + "0," * 2_000_000), "tensors could need"),
        (header("{" + ",".join(f'"{n}": {{}}' for n in range(101_500)) + "}"), "tensors could need"),
        (header("{" + ",".join(entry(str(n), shape=[0], offsets=[0, 0])[1:-1] for n in range(20_001)) + "}"),
         "20001 tensors for 0 bytes"),
    ],
)  # fmt: skip
def test_a_header_that_could_mean_two_things_or_too_much_is_a_problem(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    found = facts(with_weights(tmp_path, content))
    (problem,) = found.problems
    assert problem.startswith(f"{WEIGHTS}: ")
    assert reason in problem
    assert problem.isprintable()
    assert found.sizes[WEIGHTS] == len(content)
    assert found.files.keys() == {"adapter_config.json", WEIGHTS}


def test_a_damaged_file_still_has_its_digest(tmp_path: Path) -> None:
    import hashlib

    content = safetensors_bytes(good_tensors())[:-1]
    found = facts(with_weights(tmp_path, content))
    assert found.problems
    assert found.files[WEIGHTS] == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "base_model.model.../x.lora_A.weight",
        "base_model.model.model.layers.0.self_attn.q_prоj.lora_A.weight",  # a Cyrillic o
        "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight ",
        "BASE_MODEL.model.model.layers.0.self_attn.q_proj.lora_A.weight",
        "$(reboot)",
    ],
)
def test_a_key_is_never_a_path_nor_what_it_only_looks_like(tmp_path: Path, name: str) -> None:
    found = facts(write_adapter(tmp_path, {**good_tensors(), name: tensor([[1.0] * 8] * 2)}))
    assert found.problems == ()
    assert found.ignored == (name,)


def test_whole_numbers_are_no_weights_and_elsewhere_only_a_type(tmp_path: Path) -> None:
    numbers = ("I64", (2,), bytes(16))
    found = facts(write_adapter(tmp_path, {**good_tensors(), "ranknum": numbers}))
    assert (found.problems, found.ignored, found.dtypes) == ((), ("ranknum",), ("F32", "I64"))
    name = key(MODULES[0], "A")
    found = facts(write_adapter(tmp_path, {**good_tensors(), name: ("I8", (2, 8), bytes(16))}))
    assert "stored as I8" in found.problems[0]


@pytest.mark.parametrize("size", [1 << 33, 1 << 41])
@pytest.mark.parametrize("name", [WEIGHTS, "notes.txt", "adapter_config.json"])
def test_a_file_of_holes_is_not_read_to_its_end(tmp_path: Path, name: str, size: int) -> None:
    folder = write_adapter(tmp_path)
    with (folder / name).open("ab") as file:
        file.truncate(size)
    found = facts(folder)
    assert any(problem.startswith(f"{name}: most of the file is a hole") for problem in found.problems)
    assert name not in found.files


@pytest.mark.parametrize(
    ("name", "size"), [("adapter_config.json", (1 << 20) + 1), ("tokenizer.json", (64 << 20) + 1)]
)
def test_a_file_too_large_for_its_kind_is_named_and_not_read(tmp_path: Path, name: str, size: int) -> None:
    folder = write_adapter(tmp_path)
    (folder / name).write_bytes(b" " * size)
    found = facts(folder)
    assert found.oversize == (name,)
    assert found.sizes[name] == size
    assert name not in found.files
    assert bool(found.problems) == (name == "adapter_config.json")


def test_a_crowded_folder_is_not_listed_to_its_end(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path)
    for number in range(300):
        (folder / f"{number}.txt").touch()
    with pytest.raises(Unreadable, match="more than 256 files"):
        facts(folder)


@pytest.mark.parametrize("name", [b"a\xff", b"a\x1b[2J", "a‮txt.exe".encode(), b"a\nb"])
def test_a_name_that_cannot_be_printed_is_a_problem_and_shown_escaped(tmp_path: Path, name: bytes) -> None:
    folder = write_adapter(tmp_path)
    (Path(os.fsdecode(os.fsencode(folder) + b"/" + name))).write_bytes(b"x")
    (problem,) = facts(folder).problems
    assert problem.startswith("a file's name cannot be printed: 'a")
    assert problem.isascii()


def test_names_that_look_like_an_adapters_files_are_not_taken_for_them(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path)
    (folder / "Adapter_config.json").write_text("{}")
    (folder / "adapter_config.json ").write_text("{}")
    (folder / "аdapter_model.safetensors").write_bytes(b"x")  # a Cyrillic a
    found = facts(folder)
    assert set(found.unexpected) == {
        "Adapter_config.json",
        "adapter_config.json ",
        "аdapter_model.safetensors",
    }
    assert "only adapter_model.safetensors is served" in found.problems[0]


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("handler.py", b"", "code"),
        ("libx.so", b"", "code"),
        ("libx.so.1", b"", "code"),
        ("notes.txt", b"\x7fELF\x02", "code"),
        ("notes.txt", b"#!/bin/sh\n", "code"),
        ("x.PS1", b"", "code"),
        ("x.js", b"", "code"),
        ("x.whl", b"", "code"),
        ("optimizer.pt", b"", "pickles"),
        ("notes.txt", b"\x80\x05\x95", "pickles"),
        ("notes.txt", bytes(257) + b"ustar\x00", "pickles"),
        ("x.tar.gz", b"", "pickles"),
        ("notes.txt", b"Rar!\x1a\x07", "pickles"),
        ("notes.txt", b"hello", "unexpected"),
        ("config.json", b"{}", "unexpected"),
        ("model.gguf", b"", "pickles"),
    ],
)
def test_a_file_that_no_adapter_needs_is_listed_for_what_it_is(
    tmp_path: Path, name: str, content: bytes, kind: str
) -> None:
    write_adapter(tmp_path).joinpath(name).write_bytes(content)
    found = facts(tmp_path)
    listed = {each for each in ("code", "pickles", "unexpected", "oversize") if getattr(found, each)}
    assert listed == {kind}
    assert getattr(found, kind) == (name,)
    assert found.problems == ()


@pytest.mark.parametrize(
    "name",
    [
        *("README.md", "LICENSE", "LICENSE.txt", "NOTICE", "tokenizer.json", "tokenizer.model", "vocab.json"),
        *(
            "added_tokens.json",
            "special_tokens_map.json",
            "trainer_state.json",
            ".gitattributes",
            "model.sig",
        ),
    ],
)
def test_what_trainers_save_beside_an_adapter_is_expected(tmp_path: Path, name: str) -> None:
    write_adapter(tmp_path).joinpath(name).write_bytes(b"{}")
    found = facts(tmp_path)
    assert (found.unexpected, found.code, found.pickles, found.problems) == ((), (), (), ())


def test_a_file_that_anybody_may_run_is_code(tmp_path: Path) -> None:
    write_adapter(tmp_path).joinpath("README.md").write_text("hello")
    (tmp_path / "README.md").chmod(0o755)
    assert facts(tmp_path).code == ("README.md",)


def test_the_length_of_a_header_is_not_taken_for_a_pickle(tmp_path: Path) -> None:
    """640 bytes of header begin with 80 02, as a pickle of protocol 2 does."""
    content = safetensors_bytes(good_tensors())
    length = int.from_bytes(content[:8], "little")
    padded = content[8 : 8 + length] + b" " * (640 - length)
    found = facts(with_weights(tmp_path, header(padded, content[8 + length :])))
    assert (tmp_path / WEIGHTS).read_bytes()[:2] == b"\x80\x02"
    assert (found.pickles, found.problems) == ((), ())
    with_weights(tmp_path, b"\x80\x02}q\x00.")
    assert facts(tmp_path).pickles == (WEIGHTS,)


def test_the_adapters_own_tokenizer_and_template_are_told_by_their_digests(tmp_path: Path) -> None:
    import hashlib

    write_adapter(tmp_path)
    assert (facts(tmp_path).own_tokenizer, facts(tmp_path).own_template) == (None, None)
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ a }}"}))
    found = facts(tmp_path)
    assert found.own_tokenizer == found.files["tokenizer.json"]
    assert found.own_template == hashlib.sha256(b"{{ a }}").hexdigest()
    named = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    assert facts(tmp_path).own_template == hashlib.sha256(b"d").hexdigest()
    for odd in ([{"name": "tool_use", "template": "t"}], 7, {}, []):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": odd}))
        assert facts(tmp_path).own_template is not None
    (tmp_path / "chat_template.jinja").write_bytes(b"{{ b }}")
    assert facts(tmp_path).own_template == hashlib.sha256(b"{{ b }}").hexdigest()
    (tmp_path / "tokenizer_config.json").write_text("{")
    assert "tokenizer_config.json: not JSON" in facts(tmp_path).problems[0]


@pytest.mark.parametrize("change", ["shrinks", "grows", "is replaced"])
def test_a_file_that_changes_while_it_is_read_is_a_problem_or_the_bytes_that_were_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    import hashlib

    monkeypatch.setattr(stream, "BLOCK", 4096)
    shape = np.full((64, 1024), 0.5)
    big = {key(MODULES[0], "A"): tensor(shape), key(MODULES[0], "B"): tensor(shape.T)}
    folder = write_adapter(tmp_path, big, good_config(r=64))
    path = folder / WEIGHTS
    before = path.read_bytes()
    plain, changed = stream.HashedFile._fill, threading.Event()

    def fill(self: stream.HashedFile, block: memoryview) -> None:
        plain(self, block)
        if self.size == len(before) and not changed.is_set():
            changed.set()
            if change == "is replaced":
                path.unlink()
                path.write_bytes(b"other")
            else:
                os.truncate(path, 8192 if change == "shrinks" else len(before) + 1)

    monkeypatch.setattr(stream.HashedFile, "_fill", fill)
    found = facts(folder)
    assert changed.is_set()
    if change == "is replaced":
        assert found.problems == ()
        assert found.files[WEIGHTS] == hashlib.sha256(before).hexdigest()
    else:
        (problem,) = found.problems
        assert {"shrinks": "shrank", "grows": "grew"}[change] in problem


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rollout.integrations import safetensors

    folder = write_adapter(tmp_path)
    listing = safetensors.list_folder(folder)
    (folder / WEIGHTS).unlink()
    os.mkfifo(folder / WEIGHTS)
    monkeypatch.setattr(safetensors, "list_folder", lambda _: listing)
    assert facts(folder).problems == (f"{WEIGHTS}: not a plain file",)
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).symlink_to("/dev/zero")
    assert len(facts(folder).problems) == 1


HUNGRY: dict[str, Callable[[], bytes]] = {
    "empty lists": lambda: header('{"a":[' + "[]," * 5_000_000 + "[]]}"),
    "texts": lambda: header('{"a":[' + '"ab",' * 3_300_000 + '"ab"]}'),
    "wide texts": lambda: header('{"\U0001f600":[' + '"ab",' * 3_300_000 + '"ab"]}'),
    "numbers": lambda: header('{"a":[' + "100000," * 2_300_000 + "1]}"),
    "spaces": lambda: header("{" + " " * 16_000_000 + "}"),
    "metadata": lambda: header('{"__metadata__":{' + ",".join(f'"{n}":"x"' for n in range(1_200_000)) + "}}"),
    "objects": lambda: header("{" + ",".join(f'"{n}":{{}}' for n in range(99_000)) + "}"),
    "tiny tensors": lambda: safetensors_bytes(
        {f"base_model.model.m{n}.lora_{side}.weight": tensor([[1.0]]) for n in range(9_000) for side in "AB"}
    ),
    "one large A": lambda: header(
        json.dumps({key("m", "A"): {"dtype": "F32", "shape": [8, 1 << 23], "data_offsets": [0, 1 << 28]}}),
        b"\0\0\x80\x3f" * (1 << 26),
    ),
    "one large tensor": lambda: header(
        json.dumps({"x": {"dtype": "BF16", "shape": [1 << 28], "data_offsets": [0, 1 << 29]}}),
        bytes(1 << 29),
    ),
}

CHILD = """
import sys
from pathlib import Path
from rollout.core.manifest import Dtype
from rollout.integrations.safetensors import inspect
inspect(Path(sys.argv[1]), dtypes=frozenset({Dtype.FLOAT16, Dtype.BFLOAT16})).as_input({})
status = Path("/proc/self/status").read_text().splitlines()
print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


def in_a_child(code: str, *words: str, **environment: str) -> str:
    """What a fresh interpreter prints."""
    ended = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize("name", HUNGRY)
def test_no_file_takes_more_than_500_megabytes(tmp_path: Path, name: str) -> None:
    folder = with_weights(tmp_path, HUNGRY[name]())
    (folder / "adapter_config.json").write_text(json.dumps(good_config(r=8)))
    assert int(in_a_child(CHILD, str(folder))) < 500_000


def test_linear_algebra_stays_on_one_thread_unless_someone_says_otherwise(tmp_path: Path) -> None:
    shape = np.full((64, 4096), 0.5)
    large = {key(MODULES[0], "A"): tensor(shape), key(MODULES[0], "B"): tensor(shape.T)}
    folder = write_adapter(tmp_path, large, good_config(r=64))
    code = CHILD.split("status")[0] + "import os; print(len(os.listdir('/proc/self/task')), dict(os.environ))"
    unset: dict[str, Any] = {"OMP_NUM_THREADS": "", "OPENBLAS_NUM_THREADS": ""}
    script = "import os\n" + "".join(f"del os.environ[{name!r}]\n" for name in unset) + code
    threads, _, environment = in_a_child(script, str(folder), **unset).partition(" ")
    assert int(threads) == 1
    assert "OPENBLAS_NUM_THREADS" not in environment
