"""Keyword search: BM25 over bm25s (Robertson and Zaragoza, 2009; the Lucene variant of Kamphuis et al., 2020)."""

from __future__ import annotations

import json
import math
import re
import threading
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biencoder.errors import ArgumentError, CorruptError
from biencoder.index.exact import best_columns
from biencoder.records import Document, Hit
from biencoder.scoring import FloatArray, RowArray
from biencoder.search.bm25s_library import bm25s
from biencoder.search.documents import DocumentStore, write_documents
from biencoder.search.queries import check_queries
from biencoder.storage.folder import check_replaceable, writing
from biencoder.storage.manifest import read_manifest, write_manifest

KIND = "keywords"
VERSION = 2
FOLDER = "keywords"
"""Where the files of a `KeywordIndex` lie inside a folder that holds documents."""

_OPTIONS = "options.json"
_WORD = re.compile(r"\b\w\w+\b")


@dataclass(frozen=True, slots=True)
class KeywordOptions:
    """How text becomes terms and how they are weighed.

    Args:
        language: a Snowball stemmer's name (``english``, ``german``, …); its stop words are left out where bm25s has a list of
            them. ``none``: neither stemming nor stop words.
        k1: how soon a term's repetition stops to count; 0.9, as in Anserini (Yang et al., 2017) and BEIR's figures.
        b: how much a document's length counts, from 0 to 1; 0.4 there.

    Raises:
        ArgumentError: for an unknown language, or values out of range.
    """

    language: str = "english"
    k1: float = 0.9
    b: float = 0.4

    def __post_init__(self) -> None:
        if self.language not in languages():
            raise ArgumentError(f"there is no stemmer for language {self.language!r}; choose one of: {', '.join(languages())}")
        if not self.k1 >= 0:
            raise ArgumentError(f"k1 is {self.k1}; it must be at least 0")
        if not 0 <= self.b <= 1:
            raise ArgumentError(f"b is {self.b}; it must be between 0 and 1")


def languages() -> list[str]:
    """Languages that `KeywordOptions` knows.

    >>> "english" in languages() and "none" in languages()
    True
    """
    import Stemmer

    return ["none", *sorted(Stemmer.algorithms())]


class Analyzer:
    """Text to terms: words of two letters or more in lower case, without stop words, stemmed.

    >>> Analyzer("english")("The cats are sleeping, it seems.")
    ['cat', 'sleep', 'seem']
    """

    def __init__(self, language: str) -> None:
        self._language = language
        self._stop_words = _stop_words(language)
        self._local = threading.local()  # a stemmer must not be shared by threads

    def __call__(self, text: str) -> list[str]:
        """The terms of a text, in order, repeated as they are."""
        words = [word for word in _WORD.findall(text.lower()) if word not in self._stop_words]
        if self._language == "none":
            return words
        if not hasattr(self._local, "stemmer"):
            import Stemmer

            self._local.stemmer = Stemmer.Stemmer(self._language)
        stems: list[str] = self._local.stemmer.stemWords(words)
        return stems


def _stop_words(language: str) -> frozenset[str]:
    stopwords = bm25s("bm25s.stopwords")
    name = "EN" if language == "english" else language.upper()
    return frozenset(getattr(stopwords, f"STOPWORDS_{name}", ()))


class KeywordIndex:
    """Terms of numbered texts. Knows neither ids nor documents; `KeywordSearcher` does.

    >>> index = KeywordIndex.build(["aspirin and cancer", "ibuprofen"])
    >>> index.search("does aspirin help?", k=10)[1].tolist()
    [0]
    """

    def __init__(self, engine: Any, options: KeywordOptions, *, mean_length: float) -> None:
        self.options = options
        self.mean_length = mean_length
        self._engine = engine
        self._analyze = Analyzer(options.language)

    @classmethod
    def build(
        cls,
        texts: Iterable[str],
        *,
        options: KeywordOptions | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> KeywordIndex:
        """Index texts, which are read once.

        Memory grows by 4 bytes a term of the corpus while it is read, then by about 30 a distinct term of each text while bm25s
        sorts them, of which 8 remain; and by the vocabulary.

        Raises:
            ArgumentError: where there are no texts.
        """
        options = options or KeywordOptions()
        corpus = _Tokens(Analyzer(options.language), texts, progress)
        engine = bm25s().BM25(k1=options.k1, b=options.b, method="lucene", csc_backend="scipy")
        with np.errstate(invalid="ignore"):  # texts without any term have a mean length of 0
            engine.index(corpus, create_empty_token=False, show_progress=False)
        return cls(engine, options, mean_length=corpus.mean_length)

    def build_beside(self, texts: Iterable[str]) -> KeywordIndex:
        """Index a few more texts, weighed as if they were among this index's own, so that scores of both can be compared.

        bm25s cannot add to an index. Frequencies and mean length are this index's: the few are too few to change them.

        Raises:
            ArgumentError: where there are no texts.
        """
        corpus = _Tokens(self._analyze, texts, None)
        documents, terms, counts = corpus.counted()
        rarity = np.array([self._rarity(term) for term in corpus.vocab], dtype=np.float32)
        length = corpus.lengths()[documents] / max(self.mean_length, 1e-9)
        k1, b = self.options.k1, self.options.b
        engine = bm25s().BM25(k1=k1, b=b, method="lucene", csc_backend="scipy")
        engine.vocab_dict = corpus.vocab
        engine.unique_token_ids_set = set(corpus.vocab.values())
        engine.nonoccurrence_array = None
        engine.scores = {
            "data": (rarity[terms] * counts / (counts + k1 * (1 - b + b * length))).astype(np.float32),
            "indices": documents.astype(np.int32),
            "indptr": np.searchsorted(terms, np.arange(len(corpus.vocab) + 1)),
            "num_docs": len(corpus),
        }
        return KeywordIndex(engine, self.options, mean_length=self.mean_length)

    def _rarity(self, term: str) -> float:
        """Lucene's inverse document frequency in this index."""
        number = self._engine.vocab_dict.get(term)
        ends = self._engine.scores["indptr"]
        having = 0 if number is None else int(ends[number + 1] - ends[number])
        return math.log(1 + (len(self) - having + 0.5) / (having + 0.5))

    def __len__(self) -> int:
        return int(self._engine.scores["num_docs"])

    def save(self, folder: Path) -> None:
        """Write the index into a folder, made where it is missing, as bm25s does (`.npy` and JSON), with the options beside."""
        self._engine.save(folder, show_progress=False)
        record = {"options": asdict(self.options), "mean_length": self.mean_length}
        (folder / _OPTIONS).write_text(json.dumps(record), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> KeywordIndex:
        """Open what `save` wrote, mapped into memory.

        Raises:
            CorruptError: where it is damaged.
        """
        try:
            record = json.loads((folder / _OPTIONS).read_text(encoding="utf-8"))
            options, mean_length = KeywordOptions(**record["options"]), float(record["mean_length"])
            engine = bm25s().BM25.load(folder, mmap=True, allow_pickle=False, show_progress=False)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CorruptError(f"{folder} is damaged: it cannot be read ({error}); build the folder again") from None
        return cls(engine, options, mean_length=mean_length)

    def search(self, query: str, *, k: int, without: NDArray[np.bool_] | None = None) -> tuple[FloatArray, RowArray]:
        """The best texts that share a term with the query, best first; of equal scores the lower number first.

        Args:
            query: a text.
            k: how many at most.
            without: true for each text that shall not be found, shape (len(self),).

        Returns:
            Scores and numbers, each of shape (m,) with m at most k: what shares no term is no result.
        """
        vocabulary = self._engine.vocab_dict
        terms = Counter(vocabulary[term] for term in self._analyze(query) if term in vocabulary)
        matrix = self._engine.scores
        scores = np.zeros(len(self), dtype=np.float32)
        # Each distinct term once, weighed by its count, so that a query of a million characters takes no longer than the index.
        for term, count in terms.items():
            column = slice(matrix["indptr"][term], matrix["indptr"][term + 1])
            scores[matrix["indices"][column]] += count * matrix["data"][column]
        if without is not None:
            scores[without] = 0
        best, rows = best_columns(scores[None, :], k=k)
        found = best[0] > 0
        return best[0][found], rows[0][found]


class KeywordSearcher:
    """BM25 over documents.

    >>> searcher = KeywordSearcher.build([Document(id="d1", text="aspirin"), Document(id="d2", text="ibuprofen")])
    >>> [hit.id for hit in searcher.search("aspirin dosage", k=5)]
    ['d1']
    """

    def __init__(self, index: KeywordIndex, documents: DocumentStore) -> None:
        self.index = index
        self.documents = documents

    @classmethod
    def build(
        cls,
        documents: Iterable[Document],
        *,
        options: KeywordOptions | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> KeywordSearcher:
        """Index documents by `Document.content`; they are read once, and their texts are kept in a temporary file.

        Raises:
            ArgumentError: where there are no documents.
            DataError: where an id stands twice.
        """
        store = DocumentStore.temporary(documents)
        index = KeywordIndex.build((document.content for document in store), options=options, progress=progress)
        return cls(index, store)

    def save(self, folder: str | Path) -> None:
        """Write a folder, whole or not at all.

        Raises:
            StorageError: where the place cannot be written, or holds something else.
        """
        check_replaceable(Path(folder), kind=KIND)
        with writing(folder) as new:
            count, corpus = write_documents(new, self.documents)
            self.index.save(new / FOLDER)
            fields = {"count": count, "corpus": corpus, "options": asdict(self.index.options)}
            write_manifest(new, kind=KIND, version=VERSION, fields=fields)

    @classmethod
    def load(cls, folder: str | Path) -> KeywordSearcher:
        """Open what `save` wrote.

        Raises:
            StorageError: where the folder is none of this kind.
            CorruptError: where it is damaged.
        """
        path = Path(folder)
        read_manifest(path, kind=KIND, version=VERSION)
        return cls(KeywordIndex.load(path / FOLDER), DocumentStore(path))

    def search(self, query: str, *, k: int = 10, texts: bool = True) -> list[Hit]:
        """The best documents that share a term with the query; see `search_many`."""
        return self.search_many([query], k=k, texts=texts)[0]

    def search_many(self, queries: Sequence[str], *, k: int = 10, texts: bool = True) -> list[list[Hit]]:
        """Hits of each query, best first: at most k, and none that shares no term with it.

        Args:
            queries: one or more texts.
            k: how many hits at most.
            texts: whether hits carry title, text and metadata, or their ids alone.

        Raises:
            ArgumentError: where k is below 1 or a query is empty.
        """
        check_queries(queries, k=k)
        found = [self.index.search(query, k=k) for query in queries]
        return [self.documents.hits(scores.tolist(), rows.tolist(), texts=texts) for scores, rows in found]


class _Tokens:
    """A corpus as bm25s reads it: term numbers of each text, several times over, out of one array."""

    def __init__(self, analyze: Analyzer, texts: Iterable[str], progress: Callable[[int], None] | None) -> None:
        self.vocab: dict[str, int] = {}
        self.ids = self
        self._terms = array("i")
        self._ends = array("q")
        for done, text in enumerate(texts, start=1):
            self._terms.extend([self.vocab.setdefault(term, len(self.vocab)) for term in analyze(text)])
            self._ends.append(len(self._terms))
            if progress is not None:
                progress(done)
        if not self._ends:
            raise ArgumentError("there are no documents; at least one is needed")

    @property
    def mean_length(self) -> float:
        """Terms of a text."""
        return len(self._terms) / len(self._ends)

    def lengths(self) -> RowArray:
        """Terms of each text."""
        ends = np.frombuffer(self._ends, dtype=np.int64)
        starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
        return np.asarray(ends - starts, dtype=np.int64)

    def counted(self) -> tuple[RowArray, RowArray, RowArray]:
        """Text, term, and how often it stands there, of each pair that occurs; by term, then by text."""
        texts = np.repeat(np.arange(len(self)), self.lengths())
        terms = np.frombuffer(self._terms, dtype=np.int32).astype(np.int64)
        pairs, counts = np.unique(terms * len(self) + texts, return_counts=True)
        return pairs % len(self), pairs // len(self), counts

    def __len__(self) -> int:
        return len(self._ends)

    def __iter__(self) -> Iterator[list[int]]:
        start = 0
        for end in self._ends:
            yield self._terms[start:end].tolist()
            start = end
