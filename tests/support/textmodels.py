"""Tiny text classifiers and encoders, made on the spot: real files that transformers loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WORDS = ("you", "are", "a", "kind", "person", "idiot", "fool", "thank", "fine", "day", "the", "have")
TOXIC = ("idiot", "fool")


def word_tokenizer(longest: int = 32) -> Any:
    """One token a word; what it does not know is `[UNK]`."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: index for index, word in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS))}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=longest,
    )


def bert_config(**settings: Any) -> Any:
    """A BERT of 32 dimensions."""
    from transformers import BertConfig

    return BertConfig(
        vocab_size=len(WORDS) + 4,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        **settings,
    )


def write_classifier(folder: Path, *, problem_type: str | None = "multi_label_classification") -> Path:
    """A classifier that has learnt which words are toxic: labels `toxic` and `obscene` (or `fine`, exclusive)."""
    import torch
    from transformers import BertForSequenceClassification

    torch.manual_seed(0)
    exclusive = problem_type == "single_label_classification"
    labels = {0: "fine" if exclusive else "obscene", 1: "toxic"}
    config = bert_config(num_labels=2, id2label=labels, label2id={name: n for n, name in labels.items()})
    model, tokenizer = BertForSequenceClassification(config), word_tokenizer()
    _teach(model, tokenizer, exclusive=exclusive)
    model.config.problem_type = problem_type
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_encoder(folder: Path) -> Path:
    """An encoder without a head, and without the pooler of BERT."""
    import torch
    from transformers import BertModel

    torch.manual_seed(0)
    BertModel(bert_config(), add_pooling_layer=False).save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return folder


def _teach(model: Any, tokenizer: Any, *, exclusive: bool) -> None:
    import torch

    texts = [f"{first} {second} {third}" for first in WORDS for second in WORDS for third in ("the", "you")]
    toxic = torch.tensor([float(any(word in text.split() for word in TOXIC)) for text in texts])
    targets = torch.stack([1 - toxic if exclusive else torch.zeros_like(toxic), toxic], dim=1)
    loss_of = torch.nn.CrossEntropyLoss() if exclusive else torch.nn.BCEWithLogitsLoss()
    inputs = tokenizer(texts, return_tensors="pt", padding=True)
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        loss_of(model(input_ids=ids, attention_mask=mask).logits, targets).backward()
        optimizer.step()
