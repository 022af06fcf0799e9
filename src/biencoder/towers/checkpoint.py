"""The model folder, read and written: it opens in sentence-transformers, and theirs open here.

Beside the files that sentence-transformers reads stands `biencoder.json`: the settings of each side that its layout has no
place for, and the identity of the weights, which is checked whenever the folder is read.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from biencoder.errors import ModelError
from biencoder.identity import Identity, short
from biencoder.storage.folder import writing
from biencoder.towers.backbone import (
    load_backbone,
    load_tokenizer,
    longest_input,
    lower_case,
    os_errors_of_rust,
    quiet_transformers,
)
from biencoder.towers.cross_encoder_folder import OWN as RERANKER
from biencoder.towers.families import Family, family_of
from biencoder.towers.layout import Layout, Side, read_layout, read_object
from biencoder.towers.pooling import Pooling
from biencoder.towers.tower import Projection, Tower, TowerSettings

OWN = "biencoder.json"
FORMAT = 1
_MODULES = "sentence_transformers.models."


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Two towers as a folder describes them; ``notes`` say what the folder did not and what was decided in its place."""

    query: Tower
    document: Tower
    similarity: str
    notes: tuple[str, ...] = ()

    @property
    def shared(self) -> bool:
        """Whether one set of weights serves both sides."""
        return self.query.backbone is self.document.backbone

    def identity(self) -> Identity:
        """Fingerprints of the two sides."""
        document = self.document.fingerprint()
        same = self.shared and self.query.settings == self.document.settings
        return Identity(document, document if same else self.query.fingerprint())


def read_checkpoint(folder: Path, *, name: str = "") -> Checkpoint:
    """Read a model folder: ours, sentence-transformers', or a bare transformers checkpoint.

    Args:
        folder: where it lies.
        name: what the user called it, for the table of well-known families.

    Raises:
        ModelError: where it cannot be read, or its weights are not those that were saved.
    """
    if (folder / OWN).exists():
        return _read_own(folder)
    if (folder / RERANKER).exists():
        raise ModelError(f"{folder} is a reranker, which gives scores and no vectors; use it as --rerank {name or folder}")
    config = read_object(folder / "config.json", default={})
    family = family_of(name, folder.name, str(folder.parent.parent.name), str(config.get("_name_or_path", "")))
    if (folder / "modules.json").exists():
        return _read_foreign(read_layout(folder), family)
    if not config:
        raise ModelError(f"{folder} is no model folder: neither modules.json nor config.json is in it")
    return _read_bare(folder, family)


def _read_own(folder: Path) -> Checkpoint:
    own = read_object(folder / OWN)
    if own.get("format") != FORMAT:
        raise ModelError(f"{folder / OWN} has format {own.get('format')}; this biencoder reads format {FORMAT}")
    layout = read_layout(folder)
    try:
        query, document = (_settings(own[side]) for side in ("query", "document"))
        recorded = Identity(own["identity"]["document"], own["identity"]["query"])
        similarity = str(own["similarity"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{folder / OWN} is damaged (at {error}); save the model again") from None
    if similarity not in {"cosine", "dot"}:
        raise ModelError(f"{folder / OWN} names the similarity {similarity!r}; cosine or dot was expected")
    document_tower = _tower(layout.document, document)
    query_tower = document_tower.twin(query) if layout.shared else _tower(layout.query, query)
    checkpoint = Checkpoint(query_tower, document_tower, similarity)
    found = checkpoint.identity()
    if found != recorded:
        raise ModelError(
            f"{folder}: the weights, tokenizer or settings are not those that were saved (document side "
            f"{short(found.document)}, saved {short(recorded.document)}); the files are damaged, or another tool changed them: "
            f"then remove {OWN}"
        )
    return checkpoint


def _read_foreign(layout: Layout, family: Family) -> Checkpoint:
    query_prompt, document_prompt = layout.prompt("query"), layout.prompt("document", "passage", "corpus")
    notes = []
    if not (query_prompt or document_prompt or layout.default_prompt) and (family.query_prompt or family.document_prompt):
        query_prompt, document_prompt = family.query_prompt, family.document_prompt
        notes.append(f"the checkpoint names no prompts; its family's are used: {query_prompt!r} and {document_prompt!r}")
    fallback = layout.default_prompt
    document = _tower(layout.document, None, prompt=fallback if document_prompt is None else document_prompt)
    prompt = fallback if query_prompt is None else query_prompt
    twin = _with_prompt(document.settings, prompt)
    query = document.twin(twin) if layout.shared else _tower(layout.query, None, prompt=prompt)
    if layout.similarity not in {None, "cosine", "dot"}:
        notes.append(f"the checkpoint compares by {layout.similarity}, which search does not offer; cosine is used")
    dot = layout.similarity == "dot" or (layout.similarity is None and family.normalise is False)
    return Checkpoint(query, document, "dot" if dot else "cosine", tuple(notes))


def _read_bare(folder: Path, family: Family) -> Checkpoint:
    normalise = family.normalise is not False
    side = Side(folder, pooling=family.pooling or Pooling.MEAN, normalise=normalise)
    document = _tower(side, None, prompt=family.document_prompt)
    query = document.twin(_with_prompt(document.settings, family.query_prompt))
    origin = f"as {family.source} has it" if family.pattern else "as is usual"
    note = f"a bare transformers checkpoint: {side.pooling} pooling, {'unit' if normalise else 'raw'} vectors, {origin}"
    return Checkpoint(query, document, "cosine" if normalise else "dot", (note,))


def _tower(side: Side, settings: TowerSettings | None, *, prompt: str = "") -> Tower:
    backbone, tokenizer = load_backbone(side.backbone), load_tokenizer(side.backbone)
    if side.lower_case:
        lower_case(tokenizer)
    if settings is None:
        length = side.max_length or longest_input(backbone, tokenizer)
        settings = TowerSettings(side.pooling, side.normalise, prompt, length)
    return Tower(backbone, tokenizer, settings, _read_projection(side.projection))


def _settings(record: dict[str, Any]) -> TowerSettings:
    return TowerSettings(
        Pooling(record["pooling"]), bool(record["normalise"]), str(record["prompt"]), int(record["max_length"])
    )


def _with_prompt(settings: TowerSettings, prompt: str) -> TowerSettings:
    return TowerSettings(settings.pooling, settings.normalise, prompt, settings.max_length)


def _read_projection(folder: Path | None) -> Projection | None:
    if folder is None:
        return None
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    config = read_object(folder / "config.json")
    try:
        projection = Projection(
            inputs=int(config["in_features"]),
            outputs=int(config["out_features"]),
            bias=bool(config.get("bias", True)),
            activation=str(config.get("activation_function", "torch.nn.Identity")).rpartition(".")[2],
        )
        projection.load_state_dict(load_file(folder / "model.safetensors"))
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{folder} cannot be read as a projection ({str(error).splitlines()[0]})") from error
    return projection


def write_checkpoint(checkpoint: Checkpoint, path: str | Path) -> None:
    """Write a model folder in one step; a folder that stood there is replaced.

    Raises:
        ModelError: where a folder stands there that is no model.
        StorageError: where the place cannot be written.
    """
    target = Path(path)
    foreign = target.is_dir() and any(target.iterdir()) and not (target / OWN).exists()
    if foreign:
        raise ModelError(f"{target} holds something that biencoder did not write; choose another place")
    with writing(target) as folder:
        write_files(checkpoint, folder)


@os_errors_of_rust()
def write_files(checkpoint: Checkpoint, folder: Path) -> None:
    """Write a model's files into ``folder``, which somebody else puts in place."""
    if checkpoint.shared:
        modules = _write_side(checkpoint.document, folder, prefix="", root=True)
    else:
        sides = {
            route: _write_side(tower, folder, prefix=f"{route}_", root=False)
            for route, tower in (("query", checkpoint.query), ("document", checkpoint.document))
        }
        router = {
            "types": {name: kind for side in sides.values() for name, kind in side},
            "structure": {route: [name for name, _ in side] for route, side in sides.items()},
            "parameters": {"default_route": "document", "allow_empty_key": True},
        }
        _write_json(folder / "router_config.json", router)
        modules = [("", _MODULES + "Router")]
    entries = [{"idx": at, "name": str(at), "path": name, "type": kind} for at, (name, kind) in enumerate(modules)]
    _write_json(folder / "modules.json", entries)
    prompts = {"query": checkpoint.query.settings.prompt, "document": checkpoint.document.settings.prompt}
    settings = {"prompts": prompts, "default_prompt_name": None, "similarity_fn_name": checkpoint.similarity}
    _write_json(folder / "config_sentence_transformers.json", {"model_type": "SentenceTransformer", **settings})
    identity = checkpoint.identity()
    own = {
        "format": FORMAT,
        "similarity": checkpoint.similarity,
        "query": asdict(checkpoint.query.settings),
        "document": asdict(checkpoint.document.settings),
        "identity": {"document": identity.document, "query": identity.query},
    }
    _write_json(folder / OWN, own)


def _write_side(tower: Tower, folder: Path, *, prefix: str, root: bool) -> list[tuple[str, str]]:
    """Write one tower's modules; gives their folder names and classes in order."""
    parts = [("" if root else f"{prefix}0_Transformer", "Transformer"), (f"{prefix}1_Pooling", "Pooling")]
    backbone = folder / parts[0][0]
    with quiet_transformers():
        tower.backbone.save_pretrained(backbone)
        tower.tokenizer.save_pretrained(backbone)
    length = tower.settings.max_length
    _write_json(backbone / "sentence_bert_config.json", {"max_seq_length": length, "do_lower_case": False})
    pooling = tower.settings.pooling
    legacy = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens", "last": "lasttoken"}
    flags = {f"pooling_mode_{suffix}": pooling == name for name, suffix in legacy.items()}
    hidden = int(tower.backbone.config.hidden_size)
    _write_json(folder / parts[1][0] / "config.json", {"word_embedding_dimension": hidden, **flags})
    if tower.projection is not None:
        parts.append((f"{prefix}2_Dense", "Dense"))
        _write_projection(tower.projection, folder / parts[-1][0])
    if tower.settings.normalise:
        parts.append((f"{prefix}{len(parts)}_Normalize", "Normalize"))
        (folder / parts[-1][0]).mkdir()
    return [(name, _MODULES + kind) for name, kind in parts]


def _write_projection(projection: Projection, folder: Path) -> None:
    from safetensors.torch import save_file

    names = {"Identity": "linear.Identity", "Tanh": "activation.Tanh", "ReLU": "activation.ReLU", "GELU": "activation.GELU"}
    linear = projection.linear
    config = {
        "in_features": linear.in_features,
        "out_features": linear.out_features,
        "bias": linear.bias is not None,
        "activation_function": "torch.nn.modules." + names[projection.activation_name],
    }
    _write_json(folder / "config.json", config)
    save_file({name: tensor.contiguous() for name, tensor in projection.state_dict().items()}, folder / "model.safetensors")


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
