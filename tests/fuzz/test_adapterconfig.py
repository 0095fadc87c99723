"""Fuzz the reader of adapter_config.json: a config or a reason, whatever the file holds."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rollout.core.adapterconfig import AdapterConfig, read_config
from rollout.core.artifact import examine
from rollout.core.basefit import missing_modules
from rollout.core.scaling import Scaling
from rollout.integrations.safetensors.layout import strict_json
from tests.support.fuzzing import damaged, fuzz
from tests.support.peftconfigs import OTHER_METHODS, VERSIONS, lora_config

GOOD = lora_config(VERSIONS[-1])
BASE = {f"model.layers.{n}.self_attn.{name}.weight": (4, 4) for n in (0, 1) for name in ("q_proj", "v_proj")}

TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["LORA", "IA3", "q_proj", ".*q_proj", "all-linear", "(a+)+$", "none", "pissa", "layers"]),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 5000),
    st.sampled_from([10**30, -0.0, 1e308, 5e-324]),
    st.floats(),
    TEXTS,
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=12,
)
FIELDS = st.dictionaries(st.one_of(st.sampled_from(sorted(GOOD)), TEXTS), VALUES, max_size=6)


def read(content: bytes) -> AdapterConfig | None:
    """What the inspector does with the file; nothing but a ValueError may keep it from that."""
    try:
        return read_config(strict_json(content))
    except ValueError:
        return None


def use(config: AdapterConfig) -> None:
    """Everything that is later asked of a config."""
    scaling = Scaling(config)
    for name in (*BASE, "lm_head", "", "a..b"):
        assert scaling.rank_of(name) >= 0
        assert scaling.scale_of(name) >= 0
    missing_modules(config, (), BASE)
    facts = examine(files=(), config=config, tensors=())
    assert json.dumps(facts.as_input({}), allow_nan=False, ensure_ascii=False).encode()
    if config.peft_type != "LORA":
        assert (config.r, config.target_modules) == (0, ())


@fuzz(600)
@given(FIELDS, st.sampled_from([GOOD, {}, *OTHER_METHODS.values()]))
def test_fields_of_any_kind_give_a_config_or_a_reason(fields: dict[str, Any], start: dict[str, Any]) -> None:
    config = read(json.dumps({**start, **fields}).encode())
    if config is not None:
        use(config)


@fuzz(300)
@given(
    st.one_of(
        damaged(json.dumps(GOOD).encode()),
        st.binary(max_size=100),
        st.text(max_size=50).map(lambda text: text.encode("utf-8", "surrogatepass")),
    )
)
def test_bytes_of_any_kind_give_a_config_or_a_reason(content: bytes) -> None:
    config = read(content)
    if config is not None:
        use(config)
