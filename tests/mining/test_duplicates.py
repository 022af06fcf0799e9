from __future__ import annotations

from biencoder.mining.duplicates import NearDuplicates
from biencoder.records import Document
from biencoder.search.documents import DocumentStore

BODY = " ".join(f"word{number}" for number in range(100))
TEXTS = [BODY, BODY.replace("word50", "other"), "short", "", BODY + " " + BODY.replace("word", "more")]


class Counted(DocumentStore):
    """Counts what is read."""

    reads: list[int]

    def __getitem__(self, number: int) -> Document:
        self.reads.append(number)
        return super().__getitem__(number)


def store() -> Counted:
    found = Counted.temporary([Document(f"d{place}", text, "" if text else ".") for place, text in enumerate(TEXTS)])
    assert isinstance(found, Counted)
    found.reads = []
    return found


def test_any_positive_counts() -> None:
    near = NearDuplicates(store(), threshold=0.8)
    assert [near.of_any(candidate, [2, 0]) for candidate in range(5)] == [True, True, True, False, False]
    assert not near.of_any(0, [])


def test_without_a_threshold_nothing_is_read() -> None:
    documents = store()
    assert not NearDuplicates(documents, threshold=None).of_any(1, [0])
    assert documents.reads == []


def test_a_text_is_read_again_only_where_memory_has_no_room_for_it() -> None:
    roomy, narrow = store(), store()
    for documents, held in ((roomy, 10_000), (narrow, 100)):  # a body has 96 shingles
        near = NearDuplicates(documents, threshold=0.8, held=held)
        assert [near.of_any(1, [0]), near.of_any(0, [1]), near.of_any(1, [2])] == [True, True, False]
    assert roomy.reads == [1, 0, 2]
    assert narrow.reads == [1, 0, 1, 2]  # each makes room for the next
