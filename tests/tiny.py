"""Tiny random models, built on the spot, and a tiny collection that they can learn."""

from __future__ import annotations

import random
import string
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biencoder.data.collection import Collection
from biencoder.records import Document, Judgement, Query

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from biencoder.towers.cross_encoder import CrossEncoder
    from biencoder.towers.tower import Projection, Tower, TowerSettings

THINGS = [
    "aspirin",
    "heart",
    "cancer",
    "lung",
    "liver",
    "virus",
    "fever",
    "trial",
    "dose",
    "cell",
    "gene",
    "brain",
    "sleep",
    "kidney",
    "blood",
    "bone",
    "skin",
    "muscle",
    "nerve",
    "tumor",
    "protein",
    "vaccine",
    "insulin",
    "sugar",
    "salt",
    "smoke",
    "alcohol",
    "stroke",
    "asthma",
    "anemia",
]
FILLERS = ["the", "of", "in", "and", "is", "does", "what", "how", "for", "with"]


def vocabulary() -> dict[str, int]:
    """Special tokens, words, and the letters and digits that every other word falls apart into."""
    characters = string.ascii_lowercase + string.digits + string.punctuation
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *THINGS, *FILLERS, *characters, *(f"##{one}" for one in characters)]
    return {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}


def tokenizer(*, max_length: int = 64) -> PreTrainedTokenizerFast:
    """A BERT tokenizer over `vocabulary`."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = vocabulary()
    core = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))  # noqa: S106
    core.normalizer = normalizers.BertNormalizer(lowercase=True)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.post_processor = processors.BertProcessing(("[SEP]", words["[SEP]"]), ("[CLS]", words["[CLS]"]))
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    return PreTrainedTokenizerFast(tokenizer_object=core, model_max_length=max_length, **names)  # type: ignore[no-untyped-call]


def bert(*, seed: int = 0, hidden: int = 32, dropout: float = 0.1, **more: Any) -> PreTrainedModel:
    """A random BERT of two layers and two heads."""
    import torch
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=len(vocabulary()),
        hidden_size=hidden,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=2 * hidden,
        max_position_embeddings=64,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        **more,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = BertModel(config)
    model.eval()  # type: ignore[no-untyped-call]
    return model


def tower(settings: TowerSettings | None = None, *, projection: Projection | None = None, **more: Any) -> Tower:
    """A tower over `bert`, 32 tokens long where no settings are given."""
    from biencoder.towers.tower import Tower, TowerSettings

    return Tower(bert(**more), tokenizer(), settings or TowerSettings(max_length=32), projection)


def save_bare(folder: Path, *, seed: int = 0, **more: Any) -> Path:
    """A folder as transformers writes it."""
    bert(seed=seed, **more).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def classifier(*, seed: int = 0, labels: int = 1, dropout: float = 0.1) -> PreTrainedModel:
    """A random BERT of two layers with a classification head, whose scores differ visibly from pair to pair."""
    import torch
    from transformers import AutoModelForSequenceClassification

    config = bert(dropout=dropout, initializer_range=0.3).config
    config.num_labels = labels
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-untyped-call]
    model.eval()  # type: ignore[no-untyped-call]
    return model


def pair_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer of `tokenizer` under the class that tells a BERT which of two texts a token belongs to."""
    from transformers import BertTokenizer

    made: PreTrainedTokenizerFast = BertTokenizer(vocab=vocabulary(), model_max_length=64)
    return made


def save_classifier(folder: Path, *, seed: int = 0, labels: int = 1) -> Path:
    """A cross-encoder's folder as transformers writes it."""
    classifier(seed=seed, labels=labels).save_pretrained(folder)
    pair_tokenizer().save_pretrained(folder)
    return folder


def cross_encoder(*, seed: int = 0, dropout: float = 0.1, max_length: int = 32) -> CrossEncoder:
    """A cross-encoder over `classifier`."""
    from biencoder.towers.cross_encoder import CrossEncoder

    return CrossEncoder(classifier(seed=seed, dropout=dropout), pair_tokenizer(), max_length=max_length)


def collection(*, documents: int = 60, seed: int = 0) -> Collection:
    """Documents of three things each among fillers; a query asks for two of its document's things among other fillers.

    Every document has three queries; of six documents, four belong to the train split, one to dev and one to test.
    """
    chance = random.Random(seed)  # noqa: S311
    splits: dict[str, list[Judgement]] = {"train": [], "dev": [], "test": []}
    corpus, queries = [], []
    for number in range(documents):
        things = chance.sample(THINGS, 3)
        corpus.append(Document(f"d{number}", _mixed(things, chance), things[0]))
        for asked in range(3):
            queries.append(Query(f"q{number}.{asked}", _mixed(chance.sample(things, 2), chance)))
            split = ("train", "train", "train", "train", "dev", "test")[number % 6]
            splits[split].append(Judgement(queries[-1].id, corpus[-1].id))
    return Collection(documents=corpus, queries=queries, judgements=splits)


def marked_collection(*, topics: int = 100, seed: int = 0) -> Collection:
    """Four documents a topic, equal in the eyes of BM25, of which the one that speaks of a vaccine is relevant to its query.

    Of five topics, three belong to the train split, one to dev and one to test.
    """
    chance = random.Random(seed)  # noqa: S311
    splits: dict[str, list[Judgement]] = {"train": [], "dev": [], "test": []}
    corpus, queries = [], []
    words = [word for word in THINGS if word not in {"vaccine", "smoke", "alcohol", "fever"}]
    for number in range(topics):
        topic = "qxzvjw"[number // 20] + string.ascii_lowercase[number % 20]
        queries.append(Query(f"q{number}", topic))
        marks = chance.sample(["vaccine", "smoke", "alcohol", "fever"], 4)
        for place, mark in enumerate(marks):
            corpus.append(Document(f"d{number}.{place}", _mixed([topic, mark, *chance.sample(words, 4)], chance)))
        split = ("train", "train", "train", "dev", "test")[number % 5]
        splits[split].append(Judgement(f"q{number}", f"d{number}.{marks.index('vaccine')}"))
    return Collection(documents=corpus, queries=queries, judgements=splits)


def _mixed(things: list[str], chance: random.Random) -> str:
    words = things + chance.choices(FILLERS, k=5)
    chance.shuffle(words)
    return " ".join(words)
