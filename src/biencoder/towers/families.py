"""What well-known families of checkpoints expect of their user where the checkpoint itself does not say.

A checkpoint's own configuration always comes first. The table is matched against the name that was asked for and the name
that the checkpoint's configuration carries; what it decided is kept in the saved model folder, so that it is decided once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from biencoder.towers.pooling import Pooling


@dataclass(frozen=True, slots=True)
class Family:
    """Expectations of one family; None leaves a point to the general default."""

    pattern: str
    source: str
    query_prompt: str = ""
    document_prompt: str = ""
    pooling: Pooling | None = None
    normalise: bool | None = None


_BGE_ENGLISH = "Represent this sentence for searching relevant passages: "
_BGE_CHINESE = "为这个句子生成表示以用于检索相关文章："

FAMILIES = (
    Family(
        r"(^|/)(multilingual-)?e5-(small|base|large)(-v2|-unsupervised)?$",
        "Wang et al., Text embeddings by weakly-supervised contrastive pre-training, 2022",
        query_prompt="query: ",
        document_prompt="passage: ",
        pooling=Pooling.MEAN,
        normalise=True,
    ),
    Family(
        r"(^|/)bge-(small|base|large)-en(-v1\.5)?$",
        "Xiao et al., C-Pack, 2023",
        query_prompt=_BGE_ENGLISH,
        pooling=Pooling.CLS,
        normalise=True,
    ),
    Family(
        r"(^|/)bge-(small|base|large)-zh(-v1\.5)?$",
        "Xiao et al., C-Pack, 2023",
        query_prompt=_BGE_CHINESE,
        pooling=Pooling.CLS,
        normalise=True,
    ),
    Family(r"(^|/)bge-m3$", "Chen et al., M3-Embedding, 2024", pooling=Pooling.CLS, normalise=True),
    Family(
        r"(^|/)gte-(small|base|large)$",
        "Li et al., Towards general text embeddings with multi-stage contrastive learning, 2023",
        pooling=Pooling.MEAN,
        normalise=True,
    ),
    Family(
        r"(^|/)gte-modernbert-base$",
        "Zhang et al., mGTE, 2024",
        pooling=Pooling.CLS,
        normalise=True,
    ),
    Family(
        r"(^|/)(m?contriever)(-msmarco)?$",
        "Izacard et al., Unsupervised dense information retrieval with contrastive learning, 2022",
        pooling=Pooling.MEAN,
        normalise=False,
    ),
    Family(
        r"(^|/)msmarco-distilbert-base-tas-b$",
        "Hofstätter et al., Balanced topic aware sampling, 2021",
        pooling=Pooling.CLS,
        normalise=False,
    ),
)

UNKNOWN = Family("", "general default", pooling=None, normalise=None)


def family_of(*names: str) -> Family:
    """The first family that one of the names belongs to, or `UNKNOWN`.

    >>> family_of("intfloat/e5-small-v2").document_prompt
    'passage: '
    >>> family_of("models--BAAI--bge-small-en-v1.5").pooling
    <Pooling.CLS: 'cls'>
    >>> family_of("someone/e5-small-v2-mine") is UNKNOWN
    True
    """
    for name in names:
        plain = name.rstrip("/").replace("models--", "").replace("--", "/").lower()
        for family in FAMILIES:
            if re.search(family.pattern, plain):
                return family
    return UNKNOWN
