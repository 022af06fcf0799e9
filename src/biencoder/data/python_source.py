"""A retrieval collection from the Python source on this machine: real questions, real documents, nothing to download.

Every function with a docstring gives a pair: the docstring's first sentence is the query, and the function without any
docstring is the document (the idea of CodeSearchNet: Husain et al., 2019). Files are parsed, never imported or run.

What a document is: its text is the code as written, dedented, from the first decorator to the last statement; its title is
where the code stands, ``json.decoder.JSONDecoder``. The code of a method hardly ever says what it is a method of, while who
searches does ("tar archive: add a file"), so the class belongs to what is searched. The function's own name is left out of
the title: it stands in the code, and in many docstrings, and would count twice. The identifier, ``json/decoder.py:343``, is
what an editor opens; the metadata hold file, line, module and qualified name.

What is a query: a sentence that someone could have typed. The rules are in `docstrings`. A sentence that stands over several
functions is one query with several right answers.

What is split: files. Files are kept together where they hold near-duplicates of one another or share a query.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from biencoder.data.near_duplicates import connected, near_duplicates
from biencoder.data.python_candidates import Candidate, CandidateReader
from biencoder.data.python_files import find_python_files, installed_packages, standard_library
from biencoder.data.splits import draw, split_groups
from biencoder.errors import ArgumentError, DataError
from biencoder.progress import Progress
from biencoder.records import Document, Judgement, Query

if TYPE_CHECKING:
    from biencoder.data.collection import Collection

RESEMBLANCE = 0.7
"""Functions of two files whose shingles have this Jaccard index or more tie the files to one split.

The pairs found at 0.7 in the standard library are real copies (bz2 and lzma, ntpath and posixpath, distutils and shutil);
lower, short methods begin to match that only look alike. The largest group then holds a tenth of the queries there, a fifth
with 300 installed packages, and goes to train."""


@dataclass(frozen=True, slots=True)
class PythonSource:
    """What was read, and what was not.

    ``files`` and ``functions`` count all that were met: less those skipped (a count by reason) they are the files read and
    the documents. ``unreadable`` says of each file that should have been read what was wrong with it.
    """

    documents: tuple[Document, ...]
    queries: tuple[Query, ...]
    judgements: Mapping[str, tuple[Judgement, ...]]
    files: int
    functions: int
    skipped_files: Mapping[str, int]
    skipped_functions: Mapping[str, int]
    unreadable: tuple[str, ...]

    @property
    def collection(self) -> Collection:
        """The documents, queries and judgements as a collection."""
        from biencoder.data.collection import Collection

        return Collection(
            documents=list(self.documents),
            queries=list(self.queries),
            judgements={split: list(judgements) for split, judgements in self.judgements.items()},
        )

    def summary(self) -> str:
        """The counts, a line each, the most frequent reason first."""
        splits = {split: len({judged.query_id for judged in found}) for split, found in self.judgements.items()}
        return "\n".join(
            [
                f"{self.files} files, {self.files - sum(self.skipped_files.values())} read",
                *(f"  {count} skipped: {reason}" for reason, count in self.skipped_files.items()),
                f"{self.functions} functions, {len(self.documents)} documents",
                *(f"  {count} skipped: {reason}" for reason, count in self.skipped_functions.items()),
                f"{len(self.queries)} queries: " + ", ".join(f"{count} {split}" for split, count in splits.items()),
            ]
        )


def python_collection(
    *,
    site_packages: bool = False,
    seed: int = 0,
    roots: Sequence[Path] | None = None,
    limit: int | None = None,
    undocumented: bool = False,
    progress: Progress | None = None,
) -> Collection:
    """The collection of `read_python_source`, which takes the same arguments and tells as well what was left out."""
    return read_python_source(
        site_packages=site_packages, seed=seed, roots=roots, limit=limit, undocumented=undocumented, progress=progress
    ).collection


def read_python_source(
    *,
    site_packages: bool = False,
    seed: int = 0,
    roots: Sequence[Path] | None = None,
    limit: int | None = None,
    undocumented: bool = False,
    progress: Progress | None = None,
) -> PythonSource:
    """Read functions and their docstrings into documents, queries and judgements by split.

    The same files give the same result on every machine, in whatever order the file system lists them.

    Args:
        site_packages: read the installed packages too, after the standard library.
        seed: of the splits, and of the choice of files where there is a limit.
        roots: folders that modules are imported from, instead of the standard library.
        limit: at most this many documents with a query, from whole files drawn at random.
        undocumented: also keep the functions that have no usable docstring, as documents that answer no query: who
            searches a code base wants to find them too, but they cost time and train nothing.
        progress: is told how many files are read.

    Raises:
        ArgumentError: where ``limit`` is below 1.
        DataError: where a root is not a folder, or the roots hold too few documented functions for three splits.

    >>> import asyncio
    >>> source = read_python_source(roots=[Path(asyncio.__file__).parent])
    >>> next(document.title for document in source.documents if document.metadata["name"] == "Lock.acquire")
    'locks.Lock'
    >>> source.files - sum(source.skipped_files.values()) == len(list(Path(asyncio.__file__).parent.glob("*.py")))
    True
    """
    if limit is not None and limit < 1:
        raise ArgumentError(f"limit is {limit}; it must be at least 1")
    folders = [standard_library()] if roots is None else [Path(root) for root in roots]
    files, passed_over = find_python_files(folders + (installed_packages() if site_packages else []))
    reader = CandidateReader(limit=limit, undocumented=undocumented)
    drawn = files if limit is None else sorted(files, key=lambda file: draw(seed, file.name))
    for done, file in enumerate(drawn, start=1):
        reader.read(file)
        if progress is not None:
            progress("reading", done, len(drawn))
    candidates = reader.finish()
    if not any(candidate.sentence for candidate in candidates):
        raise DataError("no function with a usable docstring", path=", ".join(map(str, folders)))
    queries, judgements = _judged(candidates, seed)
    return PythonSource(
        documents=tuple(candidate.document for candidate in candidates),
        queries=queries,
        judgements=judgements,
        files=len(files) + passed_over.total(),
        functions=reader.functions,
        skipped_files=dict((passed_over + reader.skipped_files).most_common()),
        skipped_functions=dict((+reader.skipped_functions).most_common()),
        unreadable=tuple(sorted(reader.unreadable)),
    )


def _judged(candidates: Sequence[Candidate], seed: int) -> tuple[tuple[Query, ...], dict[str, tuple[Judgement, ...]]]:
    """One query a question, judged in the split of the group of files that hold its answers."""
    answers: defaultdict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        if candidate.sentence:
            answers[candidate.question].append(candidate)
    groups = _file_groups(answers)
    splits = split_groups(Counter(groups[found[0].file.name] for found in answers.values()), seed=seed)
    queries: list[Query] = []
    judgements: dict[str, list[Judgement]] = {"train": [], "dev": [], "test": []}
    for found in answers.values():
        documents = [candidate.document.id for candidate in found]
        query = Query(id=f"q:{documents[0]}", text=found[0].sentence)
        queries.append(query)
        judgements[splits[groups[found[0].file.name]]] += [Judgement(query.id, document) for document in documents]
    return tuple(queries), {split: tuple(judged) for split, judged in judgements.items()}


def _file_groups(answers: Mapping[str, Sequence[Candidate]]) -> dict[str, str]:
    """For each file the first file of its group: near-duplicates and answers to one query belong together."""
    candidates = [candidate for found in answers.values() for candidate in found]
    names = sorted({candidate.file.name for candidate in candidates})
    position = {name: index for index, name in enumerate(names)}
    resembling = near_duplicates([one.function.code for one in candidates], threshold=RESEMBLANCE)
    alike = [(candidates[i], candidates[j]) for i, j in resembling]
    alike += [(found[0], other) for found in answers.values() for other in found[1:]]
    roots = connected(len(names), [(position[one.file.name], position[other.file.name]) for one, other in alike])
    return {name: names[root] for name, root in zip(names, roots, strict=True)}
