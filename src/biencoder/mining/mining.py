"""`mine`: from a collection and its model as it is now to hard negatives, in memory that does not grow with the queries.

The work is done in a hidden folder beside the file (`.NAME.partial`):

1. the documents are encoded into a folder of vectors, which knows by fingerprint which model made it;
2. an index over the mapped vectors, or BM25, ranks the documents for a block of queries at a time, and the block's lines are
   made durable together with a mark;
3. the whole file is put in place beside a record of all that decided it: the fingerprints of model and teacher, the digests of
   corpus, queries and judgements, and the options. A later call for the same purpose reuses the file; one by a model that has
   been trained since does not.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from biencoder.configuration import first_difference
from biencoder.data.collection import Collection
from biencoder.errors import ArgumentError
from biencoder.mining.block import NEGATIVES, PAIRS, WITHOUT, Miner
from biencoder.mining.corpus import Corpus
from biencoder.mining.lookup import KeywordLookup, Lookup, ModelLookup, open_index
from biencoder.mining.options import MiningOptions
from biencoder.mining.partial import VECTORS, Partial
from biencoder.mining.questions import Question, digest_of, read_questions
from biencoder.mining.record import Purpose, Record, check_replaceable
from biencoder.mining.selection import MARGIN, NEAR_DUPLICATE, TEACHER
from biencoder.mining.teacher import Teacher
from biencoder.progress import Progress
from biencoder.search.documents import CorpusDigest
from biencoder.search.encoding import encode
from biencoder.search.keywords import KeywordIndex
from biencoder.search.model import Model, metric_of
from biencoder.search.vectors import VectorsFolder
from biencoder.storage.folder import explain_os_errors, locked

BLOCK = 256
"""Queries that are ranked, judged and made durable together: enough for one pass over an exact index, little to lose."""
_SAMPLE = 512
"""Documents at the beginning that a runtime is chosen on, where that is open; as `encode` does."""


@dataclass(frozen=True, slots=True)
class Mined:
    """What `mine` has done.

    Args:
        path: the file.
        pairs: query-document pairs, a line each.
        negatives: of all pairs together.
        dropped: candidates left out, by reason: ``margin`` of all in the window, ``near duplicate`` and ``teacher`` of those
            that were looked at until enough were kept. A candidate counts once for each pair that it is left out of.
        without_negatives: pairs that have none.
        fresh: pairs that this call mined: ``pairs``, less where it resumed, 0 where all was there already.
    """

    path: Path
    pairs: int
    negatives: int
    dropped: dict[str, int]
    without_negatives: int
    fresh: int


def mine(
    model: Model | None,
    collection: Collection,
    *,
    out: str | os.PathLike[str],
    split: str = "train",
    options: MiningOptions | None = None,
    teacher: Teacher | None = None,
    vectors: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Mined:
    """Write hard negatives for every query-document pair of a split as JSONL, with ranks and scores.

    A negative is never known to be relevant for the query, in whatever split and under whatever query id of the same text,
    nor the same text as such a document. A mined one keeps the margins below its own pair's positive and is no near duplicate
    of any of the query's positives. The collection's own negatives stand in front of the mined ones, and no margin, likeness
    or teacher removes them: somebody has judged them.

    Args:
        model: ranks the documents and gives the scores that the margins compare, also where BM25 ranks. None with BM25 alone,
            whose scores then serve.
        collection: its documents are streamed; its queries and judgements are in memory.
        out: the file, ending in .jsonl; `read_examples` and `Collection.from_pairs` read it. One that was mined for the same
            purpose is reused, another one that was mined is replaced at the end. What an interrupted call left beside it is
            gone on with.
        split: whose pairs.
        options: everything else.
        teacher: a cross-encoder; its scores go into the examples, and it refuses what it takes for better than the positive.
        vectors: a folder where the documents' vectors are kept for other uses, encoded where it does not hold this model's
            already; by default they go with this call.
        progress: is told queries done and in all, and what is reused, resumed or mined anew.

    Raises:
        ArgumentError: where the name of ``out`` or the lack of a model does not fit.
        DataError: where there is no such split, or nothing in it is relevant.
        StorageError: where the place cannot be written, or holds something else.
        LockedError: where another process is writing the same file.
        ModelError: where the model's vectors or the teacher's scores cannot be used.
    """
    chosen, target, told = options or MiningOptions(), Path(out).resolve(), progress or Progress()
    _check_arguments(model, target, chosen, vectors)
    questions = read_questions(collection, split)
    if teacher is None and any(question.scored for question in questions):
        told.say("the collection's own scores are left out, since mined negatives have none; give a teacher to score all")
    if model is not None:
        model.prepare([document.content for document in islice(iter(collection.documents), _SAMPLE)], say=told.say)
    job = _Job(model, collection, split, questions, chosen, teacher, told)
    with explain_os_errors(target), locked(target):
        check_replaceable(target)
        work = target.with_name(f".{target.name}.partial")
        fresh = 0 if job.is_done(target) else job.run(work, target, None if vectors is None else Path(vectors))
        shutil.rmtree(work, ignore_errors=True)
        record = Record.read(target)
    assert record is not None  # noqa: S101 - it has just been read or written under the lock
    counts = record.counts
    dropped = {reason: counts[reason] for reason in (MARGIN, NEAR_DUPLICATE, TEACHER)}
    return Mined(target, counts[PAIRS], counts[NEGATIVES], dropped, counts[WITHOUT], fresh)


def _check_arguments(model: Model | None, target: Path, options: MiningOptions, vectors: str | os.PathLike[str] | None) -> None:
    if target.suffix != ".jsonl":
        raise ArgumentError(f"{target}: the file's name must end in .jsonl, so that it can be read as pairs")
    if model is None and options.source == "model":
        raise ArgumentError("source model needs a model, and none is given; give one, or choose source bm25")
    if model is None and vectors is not None:
        raise ArgumentError("vectors belong to a model, and none is given; give one, or leave vectors out")


@dataclass(frozen=True, slots=True)
class _Job:
    """One split of a collection to be mined by one model with one set of options."""

    model: Model | None
    collection: Collection
    split: str
    questions: list[Question]
    options: MiningOptions
    teacher: Teacher | None
    progress: Progress

    def purpose(self, corpus: str) -> Purpose:
        """All that decides the file's bytes; the documents by their digest."""
        return {
            "split": self.split,
            "options": self.options.model_dump(mode="json"),
            "model": None if self.model is None else self.model.identity.as_dict(),
            "teacher": None if self.teacher is None else self.teacher.fingerprint(),
            "questions": digest_of(self.questions),
            "corpus": corpus,
        }

    def is_done(self, target: Path) -> bool:
        """Whether the file that stands there is what this job would write; if not, says why."""
        record = Record.read(target)
        if record is None or not target.exists():
            return False
        purpose = self.purpose(str(record.purpose.get("corpus")))
        if purpose == record.purpose:  # then a pass over the documents is worth while
            purpose["corpus"] = self._digest()
        if purpose != record.purpose:
            self.progress.say(f"mining anew: {target} was mined otherwise ({first_difference(record.purpose, purpose)})")
            return False
        if not record.is_whole(target):
            self.progress.say(f"mining anew: {target} is not as it was written")
            return False
        self.progress.say(f"reused the negatives of {record.counts[PAIRS]:,} pairs")
        return True

    def run(self, work: Path, target: Path, vectors: Path | None) -> int:
        """Write the file, going on where an earlier run stopped; gives the number of pairs mined now."""
        work.mkdir(exist_ok=True)
        try:
            corpus = self._read_corpus(work / "documents")
            unfinished = Partial(work, self.purpose(corpus.digest))
        except BaseException:
            with suppress(OSError):  # it is kept where it holds what can be gone on with
                work.rmdir()
            raise
        before = unfinished.counts[PAIRS]
        if unfinished.done:
            self.progress.say(f"resumed behind {unfinished.done:,} queries")
        try:
            if unfinished.done < len(self.questions):
                self._mine(corpus, self._lookup(corpus, work, vectors or work / VECTORS), unfinished)
            unfinished.put_in_place(target)
        finally:
            unfinished.close()
        return unfinished.counts[PAIRS] - before

    def _read_corpus(self, folder: Path) -> Corpus:
        judged = {identifier for question in self.questions for identifier in question.relevant}
        queries = {question.id: question.text for question in self.questions}
        return Corpus.read(self.collection.documents, folder=folder, judged=judged, queries=queries)

    def _mine(self, corpus: Corpus, lookup: Lookup, unfinished: Partial) -> None:
        """The blocks that are not done."""
        miner = Miner(corpus, lookup, self.options, self.teacher)
        for start in range(unfinished.done, len(self.questions), BLOCK):
            block = self.questions[start : start + BLOCK]
            counts: Counter[str] = Counter()
            unfinished.append(miner.lines(block, counts), done=start + len(block), counts=counts)
            average = unfinished.counts[NEGATIVES] / unfinished.counts[PAIRS]
            self.progress("mining", unfinished.done, len(self.questions), f"{average:.1f} negatives a pair")

    def _lookup(self, corpus: Corpus, work: Path, vectors: Path) -> Lookup:
        """Encode and index the documents as the options ask."""
        keywords = self._keywords(corpus) if self.options.source == "bm25" else None
        if self.model is None:
            assert keywords is not None  # noqa: S101 - without a model, only BM25 is accepted
            return KeywordLookup(keywords)
        encode(self.model, corpus.documents, out=vectors, progress=self.progress)
        matrix, metric = VectorsFolder(vectors).vectors(), metric_of(self.model)
        if keywords is not None:
            return ModelLookup(self.model, matrix, keywords, metric=metric)
        index = open_index(matrix, metric=metric, folder=work / "engine", progress=self.progress)
        return ModelLookup(self.model, matrix, index, metric=metric)

    def _keywords(self, corpus: Corpus) -> KeywordIndex:
        def tell(done: int) -> None:
            if done % 1000 == 0:  # a call a document would cost more than the work that it counts
                self.progress("keywords", done, len(corpus))

        return KeywordIndex.build((document.content for document in corpus.documents), progress=tell)

    def _digest(self) -> str:
        digest = CorpusDigest()
        for document in self.collection.documents:
            digest.add(document)
        return digest.value()
