"""One contract, four engines: PEFT, vLLM, our own server, a real vLLM server; and vLLM once more in half precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import ClassVar

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

from rollout.core.manifest import Dtype
from rollout.demo.model import BASE
from rollout.integrations.openai import HttpEngine
from rollout.integrations.transformers import TransformersEngine, open_base, open_codec
from rollout.integrations.vllm.engine import VllmEngine
from rollout.integrations.vllm.replica import Replica
from rollout.ports import Engine
from tests.contracts.engines import Adapters, EngineContract, Reference, write_adapters
from tests.support.servers import rollout_serve
from tests.support.vllms import NEEDS_VLLM, vllm_serve

pytestmark = pytest.mark.model
LOADED = ("1.1.0", "1.2.0", "untrained")


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> Adapters:
    return write_adapters(tmp_path_factory.mktemp("adapters"))


@pytest.fixture(scope="module")
def reference(adapters: Adapters) -> Reference:
    return Reference(adapters)


class TestTransformers(EngineContract):
    """PEFT in this process."""

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, adapters: Adapters) -> Iterator[Engine]:
        with closing(TransformersEngine(open_base(BASE, threads=1), batch_size=8)) as engine:
            engine.load(adapters.of(*LOADED))
            yield engine


def http_engine(url: str, *, own_tokenizer: bool) -> HttpEngine:
    codec = open_codec(BASE) if own_tokenizer else None
    replica = Replica("engine", url, timeout=60)
    return HttpEngine(url, replica, codec=codec, load_adapters=True, batch_size=8, dtype=Dtype.FLOAT32)


@pytest.mark.e2e
class TestOurServer(EngineContract):
    """Our own server, with prompts made here."""

    exact: ClassVar[bool] = False

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, adapters: Adapters) -> Iterator[Engine]:
        options = ("--adapter-root", str(adapters.folder), "--dtype", "float32", "--batch-size", "8")
        with (
            rollout_serve(BASE, *options) as served,
            closing(http_engine(served.url, own_tokenizer=True)) as engine,
        ):
            engine.load(adapters.of(*LOADED))
            yield engine


@pytest.mark.e2e
class TestVllmServer(EngineContract):
    """A real vLLM server, with prompts that it makes itself."""

    pytestmark: ClassVar[list[pytest.MarkDecorator]] = NEEDS_VLLM
    exact: ClassVar[bool] = False
    takes_misplaced: ClassVar[bool] = True

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, adapters: Adapters, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
        log = tmp_path_factory.mktemp("log") / "vllm.log"
        with vllm_serve(BASE, log) as url, closing(http_engine(url, own_tokenizer=False)) as engine:
            engine.load(adapters.of(*LOADED))
            yield engine


class TestVllm(EngineContract):
    """vLLM in this process."""

    pytestmark: ClassVar[list[pytest.MarkDecorator]] = NEEDS_VLLM
    takes_misplaced: ClassVar[bool] = True

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, adapters: Adapters) -> Iterator[Engine]:
        with closing(vllm_engine(Dtype.FLOAT32)) as engine:
            engine.load(adapters.of(*LOADED))
            yield engine


class TestVllmInHalfPrecision(EngineContract):
    """vLLM in this process, in the type that most servers run in."""

    pytestmark: ClassVar[list[pytest.MarkDecorator]] = NEEDS_VLLM
    takes_misplaced: ClassVar[bool] = True
    same_answers: ClassVar[float] = 0.9
    tolerance: ClassVar[float] = 0.15

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, adapters: Adapters) -> Iterator[Engine]:
        with closing(vllm_engine(Dtype.BFLOAT16)) as engine:
            engine.load(adapters.of(*LOADED))
            yield engine


def vllm_engine(dtype: Dtype) -> VllmEngine:
    return VllmEngine(BASE, open_codec(BASE), dtype=dtype, batch_size=8, threads=1, room=3)
