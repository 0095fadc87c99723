"""What a manifest can know without a human: from the adapter's files, and from the servers where all agree."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from rollout.core.adapterconfig import LORA, AdapterConfig
from rollout.core.artifact import ArtifactFacts
from rollout.core.blanks import blanks
from rollout.core.document import Pointer
from rollout.core.environment import Environment
from rollout.core.form import FILES, Value
from rollout.core.manifest import NAME_PATTERN
from rollout.core.signing import SIGNATURE_FILE
from rollout.errors import Unreadable

Known = dict[Pointer, Value]

# What a manifest can hold; its reader has the last word.
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")
_MOST_FILES = 64
_LONGEST_LINE = 300

_COMMIT = re.compile(r"[0-9a-f]{40}\Z")

# Folders that are called for what lies in them or for a version, and not for the adapter.
_GENERIC = re.compile(
    r"(adapters?|artifacts?|models?|outputs?|checkpoints?|final|best|checkpoint-\d+|v?\d+([.-]\d+)*)\Z"
)


def name_of(folder: Sequence[str]) -> str | None:
    """The name that a folder gives to its adapter: its own or that of the one above, if either is one.

    `folder` are the parts of its path.
    """
    for part in reversed(folder[-2:]):
        if re.fullmatch(NAME_PATTERN, part) and not _GENERIC.match(part):
            return part
    return None


def lora_of(facts: ArtifactFacts) -> AdapterConfig:
    """The config of a LoRA. Raises Unreadable for anything else."""
    config = facts.config
    odd = [*facts.problems, *(f"{name!a} is no plain file" for name in facts.not_plain)]
    if config is None or odd:
        raise Unreadable(
            "these files are no adapter: " + ("; ".join(odd[:5]) or "there is no adapter_config.json"),
            advice="Name the flat folder into which PEFT saved adapter_config.json and adapter_model.safetensors.",
        )
    if config.peft_type != LORA:
        raise Unreadable(
            f"the adapter's peft_type is {config.peft_type!a}, and servers load only {LORA}",
            advice="Train a LoRA, or distil the adapter into one.",
        )
    return config


def of_files(uri: str, facts: ArtifactFacts, config: AdapterConfig) -> Known:
    """What the files say of themselves. Raises Unreadable for names that a manifest cannot hold."""
    names = [name for name in facts.sizes if name != SIGNATURE_FILE]
    if odd := sorted(name for name in names if not _FILE_NAME.match(name)):
        raise Unreadable(
            f"a manifest cannot hold files of these names: {', '.join(map(ascii, odd[:5]))}",
            advice="Names have letters, digits, dots, - and _, and begin with none of . and -. Remove the files.",
        )
    if unread := sorted(name for name in names if name not in facts.files):
        raise Unreadable(f"these files are too large to be part of an adapter: {', '.join(unread[:5])}")
    if len(names) > _MOST_FILES:
        raise Unreadable(f"there are {len(names)} files; a manifest holds at most {_MOST_FILES}")
    known: Known = {
        ("artifact", "uri"): uri,
        ("artifact", "rank"): config.r,
        ("artifact", "alpha"): int(config.alpha) if config.alpha.is_integer() else config.alpha,
        ("artifact", "target_modules"): list(config.target_modules),
    }
    known |= {(*FILES, name): facts.files[name] for name in sorted(names)}
    return known | ({("artifact", "signature"): SIGNATURE_FILE} if SIGNATURE_FILE in facts.sizes else {})


def of_base(config: AdapterConfig, facts: ArtifactFacts, environments: Collection[Environment]) -> Known:
    """What the config and the served base say of the base: the latter counts only if the adapter fits it."""
    known: Known = {}
    repo = config.base_model or ""
    if repo and repo[0] not in "/.~" and len(repo) <= _LONGEST_LINE and agreed([repo]):
        known["base", "repo"] = repo
        slug = re.sub(r"[^a-z0-9]+", "-", repo.rsplit("/", 1)[-1].lower()).strip("-")
        if re.fullmatch(NAME_PATTERN, slug):
            known["base", "name"] = slug
    if _COMMIT.match(config.revision or ""):
        known["base", "revision"] = config.revision
    if facts.base_checked and environments and not (facts.ignored or facts.misshapen):
        found = {
            "revision": facts.base_revisions,
            "tokenizer_sha256": facts.base_tokenizers,
            "chat_template_sha256": facts.base_templates,
        }
        for name, values in found.items():
            known.setdefault(("base", name), agreed(values))
    return {pointer: value for pointer, value in known.items() if value is not None}


def of_servers(environments: Collection[Environment]) -> Known:
    """What all servers say alike."""
    servers = [environment.server for environment in environments]
    found: Known = {
        ("base", "dtype"): agreed(server.dtype.value for server in servers),
        ("base", "quantization"): agreed(server.quantization.value for server in servers),
        ("lineage", "inference_code"): agreed(server.inference_code for server in servers),
    }
    return {pointer: value for pointer, value in found.items() if value is not None}


def agreed(values: Iterable[str | None]) -> str | None:
    """The one value that all of them are, if it is one and no blank."""
    found = set(values)
    only = next(iter(found)) if len(found) == 1 else None
    return None if only is None or blanks({"": only}) else only
