"""What an index folder says of itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from biencoder.errors import CorruptError
from biencoder.identity import Identity
from biencoder.index.base import Metric, Value
from biencoder.storage.manifest import Manifest, read_manifest, write_manifest

KIND = "index"
VERSION = 2
MEASURED = ("recall", "recall_worst_decile", "p50_ms", "p99_ms", "build_seconds")
"""Fields that tuning fills."""


@dataclass(frozen=True, slots=True)
class IndexManifest:
    """The facts of an index folder.

    Args:
        engine: name of the engine.
        reason: why it was chosen.
        asked: what was asked for: its name, or ``auto``.
        metric: ``cosine`` or ``dot``.
        dimension: of each vector.
        count: documents.
        vectors: rows; more than ``count`` where documents were split into passages.
        bytes_per_vector: all bytes of the engine's files, for each row.
        identity: the model that made the vectors.
        corpus: SHA-256 over the documents' ids and contents, in order.
        created: when, in UTC (ISO 8601).
        biencoder: version of the library that wrote it.
        parameters: of the engine, those of search being its defaults.
        keywords: whether it holds a BM25 index too.
        passages: how documents were split (``size`` and ``overlap``), if they were.
        execution: how the model was run that made the vectors: runtime, version, number format, device. Another way of running
            the same document side is welcome.
        server: ``url`` and ``collection`` of a live index that lies in a Qdrant server.
        goal: what the index was tuned to; None where it was not, as all that follows.
        recall: mean share of the nearest rows found, against exact search of the whole vectors.
        recall_worst_decile: of the tenth of the queries that fared worst.
        p50_ms: median time of a query on one thread.
        p99_ms: what 99 of 100 stay below.
        build_seconds: of the engine.
    """

    engine: str
    reason: str
    metric: Metric
    dimension: int
    count: int
    vectors: int
    bytes_per_vector: float
    identity: Identity
    corpus: str
    created: str
    biencoder: str
    asked: str = "auto"
    parameters: dict[str, Value] = field(default_factory=dict)
    keywords: bool = False
    passages: dict[str, int] | None = None
    execution: dict[str, str] = field(default_factory=dict)
    server: dict[str, str] | None = None
    goal: str | None = None
    recall: float | None = None
    recall_worst_decile: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    build_seconds: float | None = None

    def write(self, folder: Path) -> Manifest:
        """Write ``manifest.json`` into a folder that is complete but for it."""
        return write_manifest(folder, kind=KIND, version=VERSION, fields=asdict(self))

    @classmethod
    def read(cls, folder: Path) -> IndexManifest:
        """Read and check the manifest of an index folder, and the files that it lists.

        Raises:
            StorageError: where the folder is no index, or has another format version.
            CorruptError: where something in it is damaged.
        """
        return cls.from_fields(read_manifest(folder, kind=KIND, version=VERSION).fields, folder)

    @classmethod
    def from_fields(cls, fields: dict[str, Any], folder: Path) -> IndexManifest:
        """The typed form of a manifest's fields; ``folder`` is for the message.

        Raises:
            CorruptError: where a field is missing or unknown.
        """
        try:
            return cls(**{**fields, "identity": Identity(**fields["identity"])})
        except (KeyError, TypeError) as error:
            raise CorruptError(f"{folder}: the manifest's fields are not those of an index ({error}); build it again") from None
