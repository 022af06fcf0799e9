from __future__ import annotations

import pytest

from biencoder.training import shortcuts


@pytest.fixture
def every_embedding_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortcuts, "_LARGE", 1)
