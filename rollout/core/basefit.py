"""Where the modules of an adapter land on the weights of its base, and which of them are missing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping
from dataclasses import dataclass

from rollout.core.adapterconfig import ALL_LINEAR, LORA, AdapterConfig
from rollout.core.pattern import MAX_PARTS, Pattern, endings

Shapes = Mapping[str, tuple[int, ...]]

# PEFT leaves the output layer out of `all-linear`, and embeddings are no linear layers. Weights do not say of
# what layer they are, so these go by the names that models give them.
_NOT_LINEAR = frozenset(
    {"lm_head", "embed_out", "output", "score", "classifier", "embed_tokens", "embed_positions"}
    | {"word_embeddings", "wte", "wpe", "tok_embeddings", "token_type_embeddings", "position_embeddings"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseFact:
    """What is known of a base: its weights' shapes by name (None if they are not at hand), and its digests."""

    shapes: Shapes | None = None
    revision: str | None = None
    tokenizer: str | None = None
    template: str | None = None


def stored_name(module: str, stored: Container[str]) -> str:
    """The name of the weight that a module changes; a head that is tied to the embedding is not stored twice."""
    tied = module == "lm_head" and "lm_head.weight" not in stored
    return "model.embed_tokens.weight" if tied else f"{module}.weight"


def weight_of(module: str, base_shapes: Shapes) -> tuple[int, ...] | None:
    """The shape of the base's weight that a module changes, or None if there is no such matrix."""
    shape = base_shapes.get(stored_name(module, base_shapes))
    return shape if shape is not None and len(shape) == 2 else None


def missing_modules(config: AdapterConfig, sides: Collection[str], base_shapes: Shapes) -> frozenset[str]:
    """Modules that the config names and the file lacks: PEFT may fill them with noise, vLLM with nothing.

    A target that no module bears is among them by its own name. Nothing is missing where the config is of
    another method, or where its pattern cannot be followed.
    """
    if config.peft_type != LORA:
        return frozenset()
    names = [weight.removesuffix(".weight") for weight in base_shapes if weight.endswith(".weight")]
    is_target = _targets(config)
    wanted = {name for name in names if is_target(name) and weight_of(name, base_shapes)}
    return frozenset((wanted | _unmet(config, {*names, *sides})) - set(sides))


def untargeted_modules(config: AdapterConfig, modules: Iterable[str]) -> frozenset[str]:
    """Modules that the config does not aim at: vLLM serves them nevertheless, PEFT drops them.

    All of them where what the config says cannot be followed; none where it is of another method.
    """
    if config.peft_type != LORA:
        return frozenset()
    is_target = _targets(config)
    return frozenset(module for module in modules if not is_target(module))


def _targets(config: AdapterConfig) -> Callable[[str], bool]:
    """What the config aims at, as PEFT's `check_target_module_exists` decides it."""
    named, excluded = _named(config), frozenset(config.excluded)
    return lambda name: named(name) and excluded.isdisjoint(endings(name))


def _named(config: AdapterConfig) -> Callable[[str], bool]:
    if not config.pattern:
        targets = frozenset(config.target_modules)
        # A name in full is meant whatever its layer.
        in_layers = _layers(config)
        return lambda name: name in targets or (not targets.isdisjoint(endings(name)) and in_layers(name))
    (expression,) = config.target_modules
    if expression.lower() == ALL_LINEAR:
        in_layers = _layers(config)
        return lambda name: name.rpartition(".")[2] not in _NOT_LINEAR and in_layers(name)
    try:
        return Pattern(expression).covers
    except ValueError:
        return lambda _: False


def _unmet(config: AdapterConfig, names: Collection[str]) -> set[str]:
    if config.pattern:
        return set()
    unmet = set(config.target_modules)
    for name in names:
        unmet.difference_update(endings(name))
    return unmet


def _layers(config: AdapterConfig) -> Callable[[str], bool]:
    """Whether the first layer number in a name is among the config's; a name without one is in no layer."""
    if config.layers is None:
        return lambda _: True
    layers = frozenset(config.layers)

    def is_in(name: str) -> bool:
        parts = name.split(".")[: MAX_PARTS + 1]
        for place in range(1, len(parts) - 1):
            if parts[place].isdecimal() and _leads(parts[:place], config.layers_pattern):
                return int(parts[place]) in layers
        return False

    return is_in


def _leads(before: list[str], patterns: tuple[str, ...]) -> bool:
    """Whether what stands before a number makes it a layer's number: any two names, or one of the patterns."""
    if not patterns:
        return len(before) >= 2
    path = "." + ".".join(before)
    return any(path.endswith(f".{pattern}") for pattern in patterns)
