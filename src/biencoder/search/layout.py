"""Names in an index folder that several parts of it need."""

from __future__ import annotations

LIVE = "qdrant"
"""The engine whose indexes are live: documents lie in its store, and are added and deleted there."""
LIVE_FOLDER = "live"
"""Where an embedded store lies."""
ENGINE = "engine"
"""Where an engine's files lie."""
MODEL = "model"
"""Where the model lies."""
