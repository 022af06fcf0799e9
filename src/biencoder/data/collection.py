"""Collection: a corpus with queries and graded judgements by split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from biencoder.data import huggingface, ir_names
from biencoder.data.beir import LAYOUT, find_corpus, read_beir, write_beir
from biencoder.data.contents import Contents, Grades, Triple, ordered_splits
from biencoder.data.documents import Documents
from biencoder.data.hold_out import Apart, hold_out
from biencoder.data.in_memory import contents_from_memory
from biencoder.data.narrowing import narrow
from biencoder.data.pairs import PairColumns, pairs_to_contents
from biencoder.data.tables import SUFFIXES, RowsTable, Table, is_table, open_table
from biencoder.errors import DataError
from biencoder.records import Example, Judgement, Query


class Collection:
    """Documents, queries and graded judgements by split.

    Queries and judgements are held in memory; documents are streamed from where they are.

    Args:
        documents: the corpus; anything sized that can be iterated many times, such as a list.
        queries: the queries, in their order.
        judgements: for each split, how relevant documents are for queries.

    Attributes:
        documents: the corpus.
        splits: names of the splits: train, dev, test, then others.

    Raises:
        DataError: where an id stands twice, a text is empty, or a judgement points nowhere.

    >>> from biencoder.records import Document
    >>> collection = Collection(
    ...     documents=[Document("d1", "Paris is the capital of France."), Document("d2", "Bread rises by yeast.")],
    ...     queries=[Query("q1", "capital of France")],
    ...     judgements={"train": [Judgement("q1", "d1")]},
    ... )
    >>> collection
    Collection(2 documents, 1 queries, train 1)
    >>> collection.examples("train")[0].positive
    'Paris is the capital of France.'
    """

    def __init__(
        self,
        *,
        documents: Documents,
        queries: Iterable[Query] = (),
        judgements: Mapping[str, Iterable[Judgement]] | None = None,
    ) -> None:
        self._contents = contents_from_memory(documents, queries, judgements or {})

    @classmethod
    def read(cls, path: str | Path) -> Collection:
        """Read a collection and check it in one pass over its documents, none of which is kept in memory.

        Args:
            path: one of

                - a folder in BEIR layout: ``corpus.jsonl``, ``queries.jsonl``, ``qrels/SPLIT.tsv``, plain or ``.gz``;
                - a file of query-document pairs: ``.jsonl``, ``.csv``, ``.tsv`` (plain or ``.gz``) or ``.parquet``, whose
                  columns have the usual names (:class:`PairColumns`; :meth:`from_pairs` takes other names);
                - ``hf:NAME[:CONFIG][:SPLIT]``, a Hugging Face data set: of pairs, or a retrieval task in MTEB's layout;
                - ``ir:NAME``, an ir_datasets name.

        Raises:
            DataError: where it is none of them, or something in it is missing, malformed, double or points nowhere.
            MissingDependencyError: where an extra has to be installed for it.
        """
        name, place = str(path), Path(path)
        if name.startswith(huggingface.PREFIX):
            return cls._of(huggingface.huggingface_collection(name))
        if name.startswith(ir_names.PREFIX):
            return cls._of(ir_names.ir_collection(name))
        if place.is_dir() and find_corpus(place):
            return cls._of(read_beir(place))
        if is_table(place) and not place.is_dir():
            return cls.from_pairs(place)
        problem = "no collection is here" if place.exists() else "there is no such file or folder"
        hint = f"expected a folder with {LAYOUT}, or a file of pairs ({', '.join(SUFFIXES)})"
        raise DataError(problem, path=place, hint=hint)

    @classmethod
    def from_pairs(cls, pairs: str | Path | Iterable[Mapping[str, Any]], *, columns: PairColumns | None = None) -> Collection:
        """Make a collection of query-document pairs or triples.

        Identical document texts become one document, identical queries one query, with ids made from the texts. All pairs
        are in the split train, unless a column says otherwise; :meth:`hold_out` makes more splits.

        Args:
            pairs: a file (JSONL, CSV, TSV, Parquet), or rows from memory.
            columns: the names of the columns, where they are not the usual ones.

        Raises:
            DataError: at the first row that is no pair, or contradicts an earlier one.

        >>> Collection.from_pairs([{"query": "capital of France", "answer": "Paris."}]).examples("train")[0].positive
        'Paris.'
        """
        table: Table
        if isinstance(pairs, (str, Path)):
            table = open_table(Path(pairs))
        else:
            rows = list(pairs)
            table = RowsTable(lambda: rows, name="pairs")
        return cls._of(pairs_to_contents(table, columns))

    @classmethod
    def _of(cls, contents: Contents) -> Collection:
        collection = cls.__new__(cls)
        collection._contents = contents  # noqa: SLF001 - its own class
        return collection

    @property
    def documents(self) -> Documents:
        """The corpus, streamed anew each time that it is iterated."""
        return self._contents.documents

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits: train, dev, test, then others."""
        return ordered_splits(list(self._contents.grades))

    def queries(self, split: str | None = None) -> list[Query]:
        """The queries that have a judgement in a split, in file order; without a split, all queries.

        Raises:
            DataError: where there is no such split.
        """
        if split is None:
            return list(self._contents.queries.values())
        judged = self._grades(split)
        return [query for name, query in self._contents.queries.items() if name in judged]

    def judgements(self, split: str) -> Grades:
        """Query id → document id → grade, also those of 0 and below.

        Raises:
            DataError: where there is no such split.
        """
        return {query: dict(judged) for query, judged in self._grades(split).items()}

    def examples(self, split: str) -> list[Example]:
        """One example for each query and document relevant to it, in file order.

        Reads the corpus once and keeps the texts of the judged documents only. Explicit negatives and scores come with the
        example where the collection was made from triples; a document judged relevant for a query is never its negative:
        it is left out, with its score.

        Raises:
            DataError: where there is no such split.
        """
        grades = self._grades(split)
        triples = self._contents.triples.get(split, {})
        texts = self._texts(grades, triples)
        examples = []
        for query in self.queries(split):
            relevant = [document for document, grade in grades[query.id].items() if grade > 0]
            known = frozenset(texts[document] for document in relevant)
            for document in relevant:
                triple = triples.get((query.id, document))
                negatives, scores = _negatives(triple, texts, known)
                examples.append(Example(query.text, texts[document], negatives, scores, known))
        return examples

    def hold_out(
        self, *, share: float, seed: int, into: str = "dev", source: str = "train", apart: Apart = "document"
    ) -> Collection:
        """A collection in which a random share of a split's queries has moved to a new split.

        Queries of the same text move together. So do those that share a relevant document, unless told otherwise: then nothing
        that is asked in the new split was seen in the old one, and what is measured there holds for documents that nobody asked
        for before. Where the queries to come ask for the same documents as those that are known, ``apart="query"`` tells more.
        The same seed gives the same queries.

        Args:
            share: how much of the source to move, between 0 and 1; rounded down to whole groups of connected queries.
            seed: decides which.
            into: the new split.
            source: the split to take from.
            apart: what the two must not share: ``document``, or only ``query``, the text that is asked.

        Raises:
            ArgumentError: where the share is out of range, the new split is there already, or the queries are too connected
                to be parted.
            DataError: where there is no such source.
        """
        self._grades(source)
        return self._of(hold_out(self._contents, share=share, seed=seed, into=into, source=source, apart=apart))

    def narrowed(self, split: str, *, queries: int, documents: int | None = None, seed: int) -> Collection:
        """A collection with a random part of a split's queries, and perhaps of the documents.

        Every document that is judged for these queries, or named in their triples, is among them; what other splits say of the
        documents that are left stays known. The same seed draws the same, whatever their order.

        Args:
            split: whose queries are drawn.
            queries: so many, where there are as many, and those that ask the same in the same words.
            documents: so many in all, held in memory, and more only where more are needed; None keeps all, streamed.
            seed: decides which.

        Raises:
            DataError: where there is no such split.

        >>> from biencoder.records import Document
        >>> asked, corpus = [Query("q1", "x"), Query("q2", "y")], [Document("d1", "one"), Document("d2", "two")]
        >>> judged = {"test": [Judgement("q1", "d1"), Judgement("q2", "d1")]}
        >>> Collection(documents=corpus, queries=asked, judgements=judged).narrowed("test", queries=1, seed=0)
        Collection(2 documents, 1 queries, test 1)
        """
        self._grades(split)
        return self._of(narrow(self._contents, split=split, queries=queries, documents=documents, seed=seed))

    def write(self, path: str | Path, *, compress: bool = False) -> None:
        """Write the BEIR layout, streaming; :meth:`read` gives the same collection back.

        The folder appears whole or not at all. A folder that is there already must be empty.

        Args:
            path: the folder.
            compress: gzip the files.

        Raises:
            StorageError: where the folder is not empty or cannot be written.
            DataError: where metadata is not JSON, or a document can no longer be read.
        """
        write_beir(self._contents, Path(path), compress=compress)

    def __repr__(self) -> str:
        splits = "".join(f", {split} {len(self._grades(split))}" for split in self.splits)
        return f"Collection({len(self.documents)} documents, {len(self._contents.queries)} queries{splits})"

    def _grades(self, split: str) -> Grades:
        if split not in self._contents.grades:
            there = ", ".join(self.splits) or "none"
            raise DataError(f"there is no split {split!r} in this collection; there are: {there}")
        return self._contents.grades[split]

    def _texts(self, grades: Grades, triples: Mapping[tuple[str, str], Triple]) -> dict[str, str]:
        """The contents of all documents that a split's examples need."""
        wanted = {document for judged in grades.values() for document, grade in judged.items() if grade > 0}
        wanted.update(negative for triple in triples.values() for negative in triple.negative_ids)
        return {document.id: document.content for document in self.documents if document.id in wanted}


def _negatives(
    triple: Triple | None, texts: Mapping[str, str], known: frozenset[str]
) -> tuple[tuple[str, ...], tuple[float, ...] | None]:
    """The texts of a triple's negatives and the scores, without those known to be relevant."""
    if triple is None:
        return (), None
    negatives = [texts[name] for name in triple.negative_ids]
    kept = [place for place, text in enumerate(negatives) if text not in known]
    scores = None
    if triple.scores is not None:
        scores = (triple.scores[0], *(triple.scores[1 + place] for place in kept))
    return tuple(negatives[place] for place in kept), scores
