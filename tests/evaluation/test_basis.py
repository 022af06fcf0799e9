from __future__ import annotations

import pytest

from biencoder.data.collection import Collection
from biencoder.errors import DataError
from biencoder.evaluation.basis import basis_of
from biencoder.records import Document, Judgement, Query

DOCUMENTS = [Document("d1", "salt"), Document("d2", "sugar", "A title", {"year": 1999})]
QUERIES = [Query("q1", "is salt a salt"), Query("q2", "what is sweet")]
DEV = [Judgement("q1", "d1"), Judgement("q2", "d2", 2)]


def collection(documents: list[Document] = DOCUMENTS, queries: list[Query] = QUERIES, dev: list[Judgement] = DEV) -> Collection:
    judgements = {"dev": dev, "train": [Judgement("q1", "d2")]}
    return Collection(documents=documents, queries=queries, judgements=judgements)


def test_the_same_has_the_same_basis() -> None:
    found = basis_of(collection(), "dev")
    assert found == basis_of(collection(dev=DEV[::-1]), "dev")  # the order of judgements decides nothing
    assert (found["queries"]["count"], found["documents"]["count"]) == (2, 2)
    assert found == basis_of(collection([DOCUMENTS[0], Document("d2", "sugar", "A title")]), "dev")  # nothing is read of it


@pytest.mark.parametrize(
    ("other", "part"),
    [
        (collection(DOCUMENTS[::-1]), "documents"),
        (collection([DOCUMENTS[0], Document("d2", "honey", "A title")]), "documents"),
        (collection([*DOCUMENTS, Document("d3", "new")]), "documents"),
        (collection(queries=[QUERIES[0], Query("q2", "what is so sweet")]), "queries"),
        (collection(dev=[DEV[0], Judgement("q2", "d2", 1)]), "queries"),
        (collection(dev=DEV[:1]), "queries"),
    ],
)
def test_what_scores_depend_on_changes_it(other: Collection, part: str) -> None:
    own, found = basis_of(collection(), "dev"), basis_of(other, "dev")
    assert {name for name in own if own[name] != found[name]} == {part}


def test_no_such_split() -> None:
    with pytest.raises(DataError):
        basis_of(collection(), "test")
