"""Where the modules of an adapter land on the weights of its base, and which of them are missing."""

from __future__ import annotations

from collections.abc import Mapping

from rollout.core.adapterconfig import AdapterConfig


def weight_of(module: str, base_shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...] | None:
    """The base's weight that a module changes; a head that is tied to the embedding is not stored twice."""
    shape = base_shapes.get(f"{module}.weight")
    if shape is None and module == "lm_head":
        shape = base_shapes.get("model.embed_tokens.weight")
    return shape if shape is not None and len(shape) == 2 else None


def missing_modules(
    config: AdapterConfig | None,
    sides: Mapping[str, object],
    base_shapes: Mapping[str, tuple[int, ...]] | None,
) -> tuple[str, ...]:
    """Modules that the config names and the file lacks: PEFT may fill them with noise, vLLM with nothing."""
    if config is None or base_shapes is None:
        return ()
    names = [weight.removesuffix(".weight") for weight in base_shapes if weight.endswith(".weight")]
    wanted = [name for name in names if _is_target(name, config) and weight_of(name, base_shapes)]
    hit = {target for target in config.target_modules for name in [*names, *sides] if _ends(name, target)}
    unmet = [target for target in config.target_modules if target not in hit]
    return tuple(sorted([*(name for name in wanted if name not in sides), *unmet]))


def _is_target(name: str, config: AdapterConfig) -> bool:
    if not any(_ends(name, target) for target in config.target_modules):
        return False
    if config.layers is None:
        return True
    numbers = [int(part) for part in name.split(".") if part.isdecimal()]
    return not numbers or numbers[0] in config.layers


def _ends(name: str, target: str) -> bool:
    return name == target or name.endswith("." + target)
