"""What an evaluation is made with: nothing is kept of a server, and another base is another engine."""

from __future__ import annotations

import hashlib
import os
from contextlib import closing
from pathlib import Path

import pytest

from rollout.core.manifest import Base
from rollout.errors import Usage
from rollout.integrations.answercache import AnswerFile, NoAnswers
from rollout.usecases.contest import Means
from rollout.wiring import EngineChoice, EngineKind, build_means
from rollout.wiring.engines import CREDENTIAL
from tests.support.models import write_base
from tests.support.recorded import manifest_data


def silently(doing: str, done: int, of: int) -> None: ...


def base_document(**changes: object) -> Base:
    return Base.model_validate(manifest_data("1.0.0", "file:///x", {})["base"] | changes)


def means(root: Path, kind: EngineKind, folder: Path | None, base: Base, *, cached: bool = True) -> Means:
    choice = EngineChoice(kind=kind, base=base, base_folder=folder, batch_size=2, url="http://127.0.0.1:9")
    return build_means(root, [], choice, cached=cached, referenced=False, progress=silently)


def test_nothing_is_kept_of_a_server(tmp_path: Path) -> None:
    base = base_document()
    assert isinstance(means(tmp_path, EngineKind.HTTP, None, base).cache, NoAnswers), (
        "what stands behind an address may be another model tomorrow"
    )
    assert isinstance(means(tmp_path, EngineKind.VLLM, tmp_path, base).cache, AnswerFile)
    assert isinstance(means(tmp_path, EngineKind.VLLM, tmp_path, base, cached=False).cache, NoAnswers)


@pytest.mark.parametrize("place", [".", ".cache/answers", "../elsewhere"])
def test_no_answers_are_kept_where_a_change_could_bring_them_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    (tmp_path / "elsewhere").symlink_to(repository)
    monkeypatch.setenv("ROLLOUT_CACHE", str(repository / place))
    with pytest.raises(Usage, match="cannot be kept in the repository") as caught:
        means(repository, EngineKind.VLLM, tmp_path, base_document())
    assert "--no-cache" in caught.value.advice
    assert means(repository, EngineKind.VLLM, tmp_path, base_document(), cached=False)


@pytest.mark.parametrize("token", ["s3cr3t\n", "s3cr3t me", "s3cr3t\x00", "s3cr3t-é", "\udcffs3cr3t"])
def test_a_token_that_fits_no_header_is_refused_and_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    environment = {**os.environ, CREDENTIAL: token}  # no real one can hold the end of a string
    monkeypatch.setattr(os, "environ", environment)
    with pytest.raises(Usage, match=CREDENTIAL) as caught:
        means(tmp_path, EngineKind.HTTP, None, base_document()).open_engine()
    assert "s3cr3t" not in caught.value.message + caught.value.advice


@pytest.mark.model
def test_other_weights_at_the_same_revision_are_another_engine(tmp_path: Path) -> None:
    first, second = write_base(tmp_path / "first"), write_base(tmp_path / "second", seed=1)
    base = base_document(
        dtype="float32",
        quantization="none",
        tokenizer_sha256=hashlib.sha256((first / "tokenizer.json").read_bytes()).hexdigest(),
        chat_template_sha256=hashlib.sha256((first / "chat_template.jinja").read_bytes()).hexdigest(),
    )

    def details(folder: Path) -> dict[str, str]:
        with closing(means(tmp_path, EngineKind.TRANSFORMERS, folder, base).open_engine()) as engine:
            return dict(engine.describe().details)

    one, other = details(first), details(second)
    assert one == details(first)
    assert {name for name in one if one[name] != other[name]} == {"base_bytes_sha256"}, (
        "kept answers and shards are told apart by the details of the engine"
    )
