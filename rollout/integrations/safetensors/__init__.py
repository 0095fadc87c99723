"""Reads the bytes of an adapter once: digests, header and values, without torch and without trust.

Memory is bounded by one tensor. The bytes that are judged are the bytes that are hashed: each file is read once,
from a descriptor, front to back, whatever is wrong with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rollout.core.adapterconfig import AdapterConfig, read_config
from rollout.core.adapterfiles import CONFIG, WEIGHTS, FileFact, describe, most_bytes
from rollout.core.artifact import ArtifactFacts, examine
from rollout.core.chattemplate import TEMPLATE, TOKENIZER, TOKENIZER_CONFIG, chat_template
from rollout.core.lora import TensorFact
from rollout.core.manifest import Dtype
from rollout.integrations.safetensors.base import base_revision, read_base, read_shapes
from rollout.integrations.safetensors.calm import import_numpy_calmly
from rollout.integrations.safetensors.folder import Listing, Opened, list_folder, opened
from rollout.integrations.safetensors.intruders import find_intruders
from rollout.integrations.safetensors.layout import read_header, strict_json
from rollout.integrations.safetensors.products import Products
from rollout.integrations.safetensors.progress import Progress, silently
from rollout.integrations.safetensors.savedbase import base_copies
from rollout.integrations.safetensors.stream import HashedFile
from rollout.integrations.safetensors.tensors import read_tensors

__all__ = ["CONFIG", "WEIGHTS", "base_revision", "inspect", "read_shapes"]


def inspect(
    folder: Path,
    *,
    dtypes: frozenset[Dtype],
    bases: Sequence[Path] = (),
    weights_of: Path | None = None,
    progress: Progress = silently,
) -> ArtifactFacts:
    """The facts of the adapter in a folder, judged for the types in which it will be served, and all `bases`.

    What cannot be read is a problem in the facts. With `weights_of`, a folder with the base's safetensors, the
    modules are searched for intruder dimensions, which takes long. `progress` is told what is done, how much of
    how much. Raises Unreadable if there is no such folder, or if it is overcrowded.
    """
    if weights_of is None:
        import_numpy_calmly()
    listing = list_folder(folder)
    reading = _Reading(dtypes, progress)
    for name in listing.plain:
        reading.take(folder, name)
    facts = examine(
        files=reading.files,
        config=reading.config,
        tensors=reading.tensors,
        spectra=reading.products.values(),
        bases=[read_base(base) for base in bases],
        copies=base_copies(reading.tensors, bases),
        not_plain=listing.not_plain,
        own_tokenizer=reading.digest(TOKENIZER),
        own_template=reading.own_template(),
        problems=reading.verdict(listing),
    )
    if weights_of is None or facts.problems:
        return facts
    return replace(facts, intruders=find_intruders(folder / WEIGHTS, weights_of, facts.details, progress))


class _Reading:
    """What was found in the files so far."""

    def __init__(self, dtypes: frozenset[Dtype], progress: Progress) -> None:
        self._dtypes = dtypes
        self._progress = progress
        self._problems: dict[str, None] = {}
        self._template: bytes | None = None
        self._tokenizer_config: object = None
        self.files: list[FileFact] = []
        self.tensors: list[TensorFact] = []
        self.products = Products()
        self.config: AdapterConfig | None = None

    def take(self, folder: Path, name: str) -> None:
        """Read one file; a reason why it cannot be read is kept."""
        try:
            with opened(folder / name) as file:
                self._read(name, file)
        except OSError as error:
            self._blame(name, error.strerror or "cannot be read")
        except ValueError as error:
            self._blame(name, str(error))

    def _blame(self, name: str, reason: str) -> None:
        self._problems[f"{name}: {reason[:300]}"] = None

    def _read(self, name: str, file: Opened) -> None:
        if file.size > most_bytes(name):
            self._keep(name, file, b"", None)
            return
        with HashedFile(file.file, progress=self._watch(name)) as hashed:
            try:
                self._judge(name, hashed)
            except ValueError as error:
                self._blame(name, str(error))
            hashed.drain()
            # The length of a header may look like the start of anything.
            start = b"" if name == WEIGHTS and self.tensors else hashed.start
            self._keep(name, file, start, hashed.hexdigest())

    def _keep(self, name: str, file: Opened, start: bytes, sha256: str | None) -> None:
        fact = describe(name, size=file.size, start=start, executable=file.executable, sha256=sha256)
        self.files.append(fact)

    def _watch(self, name: str) -> Callable[[int, int], None]:
        return lambda done, of: self._progress(f"reading {name}", done, of)

    def _judge(self, name: str, file: HashedFile) -> None:
        """Look at the content of those files that decide what is served. Raises ValueError."""
        if name == WEIGHTS:
            entries = read_header(file.exactly, file.size)
            self.tensors = list(read_tensors(file, entries, self._dtypes, self.products))
            if not entries:
                raise ValueError("it holds no tensors")
        elif name.endswith(".safetensors"):
            raise ValueError(f"only {WEIGHTS} is served; other weights would be dropped or mixed in")
        elif name == TEMPLATE:
            self._template = bytes(file.exactly(file.size))
        elif name in (CONFIG, TOKENIZER_CONFIG):
            self._parse(name, strict_json(bytes(file.exactly(file.size))))

    def _parse(self, name: str, data: object) -> None:
        if name == CONFIG:
            self.config = read_config(data)
        else:
            self._tokenizer_config = data

    def digest(self, name: str) -> str | None:
        """The sha256 of a file, or None if it is not there or not read."""
        return next((file.sha256 for file in self.files if file.name == name), None)

    def own_template(self) -> str | None:
        """The sha256 of the adapter's own chat template."""
        template = chat_template(self._template, self._tokenizer_config)
        return None if template is None else hashlib.sha256(template).hexdigest()

    def verdict(self, listing: Listing) -> list[str]:
        """Every problem, with what is missing, of no use, or of a name that nobody can read."""
        unread = {file.name for file in self.files if file.sha256 is None}
        here = {*listing.plain, *listing.not_plain}
        return [
            *self._problems,
            *(f"{name} is too large to be read" for name in (CONFIG, WEIGHTS) if name in unread),
            *(f"{name} is not a plain file" for name in (CONFIG, WEIGHTS) if name in listing.not_plain),
            *(f"{name} is missing" for name in (CONFIG, WEIGHTS) if name not in here),
            *(f"a file's name cannot be printed: {name}" for name in listing.unprintable),
        ]
