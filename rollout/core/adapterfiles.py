"""What may lie in an adapter's folder, and what a file is by its name, its first bytes and its mode."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rollout.core.chattemplate import TEMPLATE, TOKENIZER, TOKENIZER_CONFIG

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"

MAX_CONFIG = 1 << 20
MAX_WEIGHTS = 16 << 30
MAX_OTHER = 64 << 20
MAX_TOKENIZER_CONFIG = 8 << 20

START = 512
"""How many of the first bytes `describe` looks at."""

# What PEFT, transformers and the usual trainers write beside an adapter, and what people put there.
_EXPECTED = frozenset(
    {CONFIG, WEIGHTS, TEMPLATE, TOKENIZER, TOKENIZER_CONFIG}
    | {"README.md", ".gitattributes", "model.sig"}
    | {"added_tokens.json", "special_tokens_map.json", "chat_template.json", "generation_config.json"}
    | {"tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.json", "vocab.txt", "merges.txt"}
    | {"preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json"}
    | {"trainer_state.json", "all_results.json", "train_results.json", "eval_results.json"}
    | {"trainer_log.jsonl", "training_params.json"}
)
_PAPERS = re.compile(r"(LICEN[CS]E|NOTICE)([._-][A-Za-z0-9._-]{1,40})?\Z", re.ASCII)

_PICKLE_NAMES = re.compile(
    r".*\.(bin|pt|pth|pkl|pickle|ckpt|joblib|npy|npz|h5|hdf5|msgpack|gguf|ot|tar|tgz|zip|gz|bz2|xz|zst|7z|rar)\Z",
    re.ASCII | re.IGNORECASE | re.DOTALL,
)
_PICKLE_STARTS = (
    *(bytes((0x80, version)) for version in range(2, 6)),
    *(b"PK\x03\x04", b"PK\x05\x06", b"\x93NUMPY", b"\x89HDF", b"GGUF"),
    *(b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf", b"Rar!"),
)
_TAR = (257, b"ustar")

_CODE_NAMES = re.compile(
    r".*\.(py|pyc|pyo|pyd|pyw|pyz|whl|egg|ipynb|so(\.[0-9.]+)?|dll|dylib|exe|com|o|a|ko|wasm|node|jar|class"
    r"|sh|bash|zsh|fish|csh|ksh|bat|cmd|ps1|psm1|vbs|js|mjs|cjs|ts|rb|pl|php|lua|r|jl|go|rs|c|cc|cpp|cu|ptx|cubin)\Z",
    re.ASCII | re.IGNORECASE | re.DOTALL,
)
_CODE_STARTS = (
    *(b"#!", b"\x7fELF", b"MZ", b"\0asm", b"BC\xc0\xde", b"\xca\xfe\xba\xbe", b"<?php"),
    *(b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFact:
    """One plain file of the adapter: size in bytes and sha256 in hex, or None if it is too large to be read.

    `pickle` says that it is a pickle or an archive, `code` that it could be run; `expected` that adapters have
    files of this name.
    """

    name: str
    size: int
    sha256: str | None
    pickle: bool = False
    code: bool = False
    expected: bool = True


def describe(name: str, *, size: int, start: bytes, executable: bool, sha256: str | None) -> FileFact:
    """What a file is. `start` are its first bytes, START of them if there are so many."""
    return FileFact(
        name=name,
        size=size,
        sha256=sha256,
        pickle=bool(_PICKLE_NAMES.match(name)) or start.startswith(_PICKLE_STARTS) or _is_tar(start),
        code=executable or bool(_CODE_NAMES.match(name)) or start.startswith(_CODE_STARTS),
        expected=name in _EXPECTED or bool(_PAPERS.match(name)),
    )


def most_bytes(name: str) -> int:
    """The size above which a file of this name is not read."""
    return {CONFIG: MAX_CONFIG, WEIGHTS: MAX_WEIGHTS, TOKENIZER_CONFIG: MAX_TOKENIZER_CONFIG}.get(
        name, MAX_OTHER
    )


def _is_tar(start: bytes) -> bool:
    offset, magic = _TAR
    return start[offset : offset + len(magic)] == magic
