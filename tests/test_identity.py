from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biencoder.errors import IdentityError
from biencoder.identity import Identity, fingerprint, short

PARTS = st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=4) | st.none() | st.booleans(), max_size=5)


def test_golden() -> None:
    text = b'{"length":256,"prompt":"\\u00fc"}'
    assert fingerprint({"prompt": "ü", "length": 256}) == hashlib.sha256(text).hexdigest()


@given(parts=PARTS)
def test_the_order_of_the_parts_does_not_matter(parts: dict[str, object]) -> None:
    assert fingerprint(parts) == fingerprint(dict(reversed(parts.items())))


@given(one=PARTS, other=PARTS)
def test_other_parts_are_another_fingerprint(one: dict[str, object], other: dict[str, object]) -> None:
    alike = one == other and {key: type(value) for key, value in one.items()} == {
        key: type(value) for key, value in other.items()
    }
    assert (fingerprint(one) == fingerprint(other)) == alike


def test_a_new_query_side_is_welcome() -> None:
    Identity("a" * 64, "new", "bf16").check_documents(Identity("a" * 64, "old"), what="index")


def test_another_document_side_is_not() -> None:
    with pytest.raises(IdentityError) as caught:
        Identity("a" * 64, "q").check_documents(Identity("b" * 64, "q"), what="runs/index")
    assert str(caught.value) == (
        "runs/index holds vectors of document side bbbbbbbbbbbb, but the model given is aaaaaaaaaaaa; encode the documents "
        "again with this model, or use the model that made them"
    )


def test_as_dict() -> None:
    identity = Identity("d", "q", "e")
    assert identity.as_dict() == {"document": "d", "query": "q", "execution": "e"}
    assert Identity(**identity.as_dict()) == identity
    assert short("0123456789abcdef") == "0123456789ab"
