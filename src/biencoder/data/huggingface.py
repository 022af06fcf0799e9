"""Data sets of the Hugging Face hub, or in its formats on this machine, by ``hf:NAME[:CONFIG][:SPLIT]``.

The files are downloaded once and read from the local cache, mapped into memory: iterating streams.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from biencoder.data.assembly import assemble
from biencoder.data.contents import Contents
from biencoder.data.documents import DocumentFields, TableDocuments
from biencoder.data.judgements import JudgementTable
from biencoder.data.pairs import pairs_to_contents
from biencoder.data.tables import RowsTable, one_line
from biencoder.errors import DataError, require

PREFIX = "hf:"

_EXTRA = "huggingface"
_SAVED = ("dataset_info.json", "dataset_dict.json")


class HubName:
    """A data set, perhaps one configuration of it, perhaps one split.

    Args:
        name: ``hf:NAME[:CONFIG][:SPLIT]``; NAME is that of the hub or a folder. A single word after NAME is a configuration
            where the data set has one of that name, and otherwise a split.

    Raises:
        DataError: where there is no such data set, or it cannot be fetched.
        MissingDependencyError: where ``datasets`` is not installed.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.dataset, *rest = name.removeprefix(PREFIX).split(":")
        if not self.dataset or len(rest) > 2:
            raise DataError("not the name of a data set", path=name, hint="expected hf:NAME[:CONFIG][:SPLIT]")
        self.saved = any(Path(self.dataset, file).is_file() for file in _SAVED)
        self.configs: list[str] = []
        if not self.saved:
            with _explained(name) as datasets:
                self.configs = datasets.get_dataset_config_names(self.dataset)
        self.config = rest.pop(0) if len(rest) == 2 or (rest and rest[0] in self.configs) else None
        self.split = rest[0] if rest else None

    def load(self) -> dict[str, Any]:
        """The data sets by split."""
        return load(self.dataset, self.config, split=self.split, saved=self.saved, name=self.name)


def load(dataset: str, config: str | None, *, split: str | None, saved: bool, name: str) -> dict[str, Any]:
    """The data sets of one configuration by split; ``validation``, as the hub calls it, is dev.

    Raises:
        DataError: where there is no such data set, configuration or split, or it cannot be fetched.
    """
    with _explained(name) as datasets:
        found = datasets.load_from_disk(dataset) if saved else datasets.load_dataset(dataset, config)
    parts = dict(found) if isinstance(found, Mapping) else {"train": found}
    if split is not None:
        if split not in parts:
            raise DataError(f"there is no split {split!r}; there are: {', '.join(parts)}", path=name)
        parts = {split: parts[split]}
    return {"dev" if part == "validation" else part: data for part, data in parts.items()}


def huggingface_documents(name: str, fields: DocumentFields) -> TableDocuments:
    """The rows of one split as documents.

    Raises:
        DataError: where the data set cannot be had, has several splits and none is named, or a row is no document.
        MissingDependencyError: where ``datasets`` is not installed.
    """
    return TableDocuments(_only(HubName(name).load(), name=name), fields)


def huggingface_collection(name: str) -> Contents:
    """Pairs, with the data set's splits; or a retrieval task in MTEB's or BEIR's layout on the hub.

    The retrieval layout has a configuration ``corpus``, one ``queries``, and judgements in ``default`` or ``qrels``, or in a
    second data set called NAME-qrels.

    Raises:
        DataError: where the data set cannot be had, or something in it is missing, malformed or points nowhere.
        MissingDependencyError: where ``datasets`` is not installed.
    """
    hub = HubName(name)
    if hub.config is None and {"corpus", "queries"} <= set(hub.configs):
        return _retrieval(hub)
    parts = hub.load()
    return pairs_to_contents(RowsTable(partial(_with_splits, parts), name=name))


def _retrieval(hub: HubName) -> Contents:
    base = PREFIX + hub.dataset

    def table(config: str) -> RowsTable:
        name = f"{base}:{config}"
        return _only(load(hub.dataset, config, split=None, saved=False, name=name), name=name)

    inside = next((config for config in ("qrels", "default") if config in hub.configs), None)
    place = f"{base}-qrels" if inside is None else f"{base}:{inside}"
    dataset = hub.dataset if inside is not None else f"{hub.dataset}-qrels"
    qrels = load(dataset, inside, split=hub.split, saved=False, name=place)
    judged = {split: JudgementTable(_table(data, name=f"{place}:{split}")) for split, data in qrels.items()}
    return assemble(table("corpus"), table("queries"), judged)


def _only(parts: Mapping[str, Any], *, name: str) -> RowsTable:
    if len(parts) > 1:
        raise DataError(f"there are several splits: {', '.join(parts)}", path=name, hint="name one: hf:NAME:CONFIG:SPLIT")
    (data,) = parts.values()
    return _table(data, name=name)


def _table(data: Any, *, name: str) -> RowsTable:
    return RowsTable(lambda: data, name=name)


def _with_splits(parts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """All rows; a split column of the data set's own is worth more than the part that the row is in."""
    for split, data in parts.items():
        for row in data:
            yield {"split": split, **row}


@contextmanager
def _explained(name: str) -> Iterator[Any]:
    datasets = require("datasets", extra=_EXTRA)
    try:
        yield datasets
    except (OSError, ValueError, KeyError, datasets.exceptions.DatasetsError) as error:
        raise DataError(f"this data set cannot be loaded ({one_line(error)})", path=name) from error
