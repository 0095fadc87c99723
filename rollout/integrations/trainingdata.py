"""Training data, read as a stream of texts: each text field of each record by itself."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from rollout.errors import Unreadable

MAX_LINE = 16 << 20
MAX_JSON = 256 << 20
"""A JSON array cannot be read in parts."""
ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt")


class TrainingData:
    """One file of training data. The digest is known when all texts were read."""

    def __init__(self, path: Path) -> None:
        """Raises Unreadable for a file of another kind."""
        if path.suffix.lower() not in ENDINGS:
            raise Unreadable(
                f"{path.name} is no training data that can be read",
                advice=f"Known are {', '.join(ENDINGS)}; unpack or export it first.",
            )
        self._path = path
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Of what was read so far."""
        return self._digest.hexdigest()

    def texts(self) -> Iterator[str]:
        """Every text, in bounded memory. Raises Unreadable with the line that cannot be read."""
        self._digest = hashlib.sha256()
        try:
            with self._path.open("rb") as file:
                yield from self._read(file)
        except OSError as error:
            raise Unreadable(f"{self._path.name} cannot be read: {error.strerror}") from None

    def _read(self, file: BinaryIO) -> Iterator[str]:
        match self._path.suffix.lower():
            case ".json":
                content = file.read(MAX_JSON + 1)
                self._digest.update(content)
                if len(content) > MAX_JSON:
                    raise Unreadable(f"{self._path.name} is larger than {MAX_JSON >> 20} MiB: make it JSONL")
                yield from _strings(self._parsed(content, 1))
            case ".csv" | ".tsv":
                yield from self._cells(file)
            case ".txt":
                yield from (line.decode(errors="replace").strip() for line in self._lines(file))
            case _:
                for number, line in enumerate(self._lines(file), start=1):
                    if line.strip():
                        yield from _strings(self._parsed(line, number))

    def _lines(self, file: BinaryIO) -> Iterator[bytes]:
        number = 0
        while line := file.readline(MAX_LINE + 1):
            number += 1
            if len(line) > MAX_LINE:
                raise Unreadable(f"{self._path.name}:{number} is longer than {MAX_LINE >> 20} MiB")
            self._digest.update(line)
            yield line

    def _cells(self, file: BinaryIO) -> Iterator[str]:
        delimiter = "\t" if self._path.suffix.lower() == ".tsv" else ","
        lines = (line.decode(errors="replace") for line in self._lines(file))
        csv.field_size_limit(MAX_LINE)
        try:
            for row in csv.reader(lines, delimiter=delimiter):
                yield from (cell for cell in row if cell)
        except csv.Error as error:
            raise Unreadable(f"{self._path.name} is no table: {error}") from None

    def _parsed(self, content: bytes, line: int) -> object:
        try:
            data: object = json.loads(content)
        except (ValueError, RecursionError):
            raise Unreadable(f"{self._path.name}:{line} is not JSON") from None
        return data


def _strings(data: object) -> Iterator[str]:
    """Every text in plain data, in order, but for the names of fields."""
    stack = [data]
    while stack:
        value = stack.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            stack.extend(reversed(list(value.values())))
        elif isinstance(value, list):
            stack.extend(reversed(value))
