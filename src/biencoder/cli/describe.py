"""All that is known of a folder, as a JSON object."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from biencoder.cli.opening import MEASURES, read_measures
from biencoder.errors import StorageError
from biencoder.storage.folder import disk_bytes, folder_bytes
from biencoder.storage.manifest import NAME, peek_manifest
from biencoder.storage.manifest import verify as verify_bytes

Facts = dict[str, Any]


def describe(source: str, *, verify: bool = False) -> Facts:
    """Say what a folder is.

    Args:
        source: a model, reranker, run, index, vectors, keywords or collection folder, a file of pairs, or a model's name.
        verify: check every byte that has a checksum; ``verified`` and ``checked`` then say with which result.

    Raises:
        StorageError: where the folder is nothing of ours.
        CorruptError: where a byte is not as it was written.
        BiencoderError: where it cannot be read.
    """
    place = Path(source)
    if not place.exists():
        return _model(source, verify=verify)
    if place.is_file():
        return _collection(source, verify=verify)
    if (place / NAME).exists():
        return _manifested(place, verify=verify)
    if (place / "run.json").exists():
        return _run(place, verify=verify)
    if (place / "modules.json").exists() or (place / "config.json").exists():
        return _model(source, verify=verify)
    if any((place / name).exists() for name in ("corpus.jsonl", "corpus.jsonl.gz")):
        return _collection(source, verify=verify)
    inside = sorted(child.name for child in place.iterdir() if child.is_dir() and not child.name.startswith("."))
    hint = f"; the folders in it are {', '.join(inside[:8])}" if inside else ""
    raise StorageError(f"{place} is no model, run, index, vectors or collection folder{hint}")


def _manifested(folder: Path, *, verify: bool) -> Facts:
    manifest = verify_bytes(folder) if verify else peek_manifest(folder)
    facts: Facts = {"kind": manifest.kind, "path": str(folder)}
    files = len(manifest.files)
    if manifest.kind == "index":
        found, changed = _index(folder, verify=verify)
        facts |= found
        files += changed
    else:
        facts |= manifest.fields
    return facts | {"format": manifest.version, "bytes": manifest.bytes} | (_whole(files) if verify else {})


def _index(folder: Path, *, verify: bool) -> tuple[Facts, int]:
    """What an index is, with its changes, and how many files of those were verified."""
    from biencoder.index.manifest import IndexManifest
    from biencoder.search.canaries import Canaries
    from biencoder.search.changes import Change, change_folders

    manifest, folders = IndexManifest.read(folder), change_folders(folder)
    files = sum(len(verify_bytes(place).files) for place in folders) if verify else 0
    changes = [Change(place) for place in folders]
    facts = asdict(manifest)
    facts["changes"] = {
        "folders": len(changes),
        "added": sum(change.manifest.count for change in changes),
        "gone": sum(change.manifest.gone for change in changes),
        "bytes": sum(folder_bytes(place) for place in folders),
    }
    facts |= _live(folder)
    canaries = Canaries.read(folder)
    facts["canaries"] = {"queries": len(canaries.queries), "documents": len(canaries.documents)}
    return facts, files


def _live(folder: Path) -> Facts:
    """What is known of an embedded store without opening it, which one process alone may do."""
    from biencoder.index.qdrant_embedded import stored_fields
    from biencoder.search.layout import LIVE_FOLDER

    place = folder / LIVE_FOLDER
    if not place.is_dir():
        return {}
    return {"live": {"fields": stored_fields(place), "bytes": disk_bytes(place)}}


def _whole(files: int) -> Facts:
    return {"verified": True, "checked": f"every byte of {files} files is as it was written"}


def _run(folder: Path, *, verify: bool) -> Facts:
    from biencoder.run_folder import read_run

    record = read_run(folder)
    finished = (folder / "model").is_dir() and (folder / MEASURES).exists()
    facts: Facts = {"kind": "run", "path": str(folder), "finished": finished, "format": record.pop("version", None)}
    facts |= {key: value for key, value in record.items() if key != "kind"}
    if finished:
        facts["measures"] = read_measures(folder)
        facts["model"] = _model(str(folder / "model"), verify=verify)
    else:
        command = "rerank-fit" if record.get("task") == "reranker" else "fit"
        facts["state"] = f"not finished; the same {command} command goes on with it"
    facts["bytes"] = folder_bytes(folder)
    return facts | (_verified_run(folder, finished=finished) if verify else {})


def _verified_run(folder: Path, *, finished: bool) -> Facts:
    """Loading the model has compared its fingerprints; a checkpoint has checksums."""
    parts = ["the model is the one that was saved"] if finished else []
    checkpoints = [manifest.parent for manifest in folder.glob(f"**/training/{NAME}")]
    for checkpoint in checkpoints:
        verify_bytes(checkpoint)
    if checkpoints:
        parts.append("every byte of the last checkpoint is as it was written")
    return {"verified": bool(parts), "checked": "; ".join(parts) or "there is neither model nor checkpoint yet"}


def _model(source: str, *, verify: bool) -> Facts:
    from biencoder.towers.bi_encoder import BiEncoder
    from biencoder.towers.cross_encoder_folder import is_reranker
    from biencoder.towers.sources import find_model

    folder = find_model(source)
    if is_reranker(folder):
        return _reranker(source, folder, verify=verify)
    model = BiEncoder.load(source)
    own = (folder / "biencoder.json").exists()
    towers = {model.query_tower.backbone, model.document_tower.backbone}
    facts: Facts = {
        "kind": "model",
        "path": str(folder),
        "shape": "shared" if model.shared else "separate",
        "backbone": _backbone(model.document_tower.backbone.config),
        "parameters": sum(weights.numel() for tower in towers for weights in tower.parameters()),
        "dimension": model.dimension,
        "similarity": model.similarity,
        "query": asdict(model.query_tower.settings),
        "document": asdict(model.document_tower.settings),
        "identity": model.identity.as_dict(),
        "execution": model.execution,
        "notes": list(model.notes),
        "saved_by_biencoder": own,
        "bytes": folder_bytes(folder),
    }
    return facts | (_verified_model(own=own) if verify else {})


def _reranker(source: str, folder: Path, *, verify: bool) -> Facts:
    from biencoder.towers.cross_encoder import CrossEncoder
    from biencoder.towers.cross_encoder_folder import OWN, SCALE

    encoder = CrossEncoder.load(source)
    own = (folder / OWN).exists()
    facts: Facts = {
        "kind": "reranker",
        "path": str(folder),
        "backbone": _backbone(encoder.module.config),
        "parameters": sum(weights.numel() for weights in encoder.module.parameters()),
        "max_length": encoder.max_length,
        "scale": SCALE,
        "first_stage": None if encoder.first_stage is None else asdict(encoder.first_stage),
        "fingerprint": encoder.fingerprint(),
        "execution": encoder.execution,
        "saved_by_biencoder": own,
        "bytes": folder_bytes(folder),
    }
    return facts | (_verified_model(own=own) if verify else {})


def _backbone(config: Any) -> str:
    return f"{config.model_type}, {getattr(config, 'num_hidden_layers', '?')} layers"


def _verified_model(*, own: bool) -> Facts:
    """Loading has compared the fingerprints."""
    checked = "weights, tokenizer and settings are those that were saved" if own else "it loads; it records no fingerprints"
    return {"verified": own, "checked": checked}


def _collection(source: str, *, verify: bool) -> Facts:
    from biencoder.data.collection import Collection

    found = Collection.read(source)
    splits = {
        split: {
            "queries": len(judged := found.judgements(split)),
            "judgements": sum(map(len, judged.values())),
            "relevant": sum(grade > 0 for grades in judged.values() for grade in grades.values()),
        }
        for split in found.splits
    }
    facts: Facts = {
        "kind": "collection",
        "path": source,
        "documents": len(found.documents),
        "queries": len(found.queries()),
        "splits": splits,
    }
    place = Path(source)
    facts["bytes"] = place.stat().st_size if place.is_file() else folder_bytes(place)
    if verify:  # a collection carries no checksums; reading it has checked all that can be
        facts |= {"verified": True, "checked": "every line can be read, and every judgement points somewhere"}
    return facts
