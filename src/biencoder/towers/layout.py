"""The folder layout of sentence-transformers, read: which modules there are, in which order, with which settings.

A `modules.json` names classes that sentence-transformers would import; here their last names are looked up in a known list
and nothing is imported. A folder that a module names and that holds nothing to read (a `Normalize` without one) is fine.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from biencoder.errors import ModelError
from biencoder.towers.pooling import Pooling

_LEGACY_POOLING = {
    "pooling_mode_cls_token": Pooling.CLS,
    "pooling_mode_mean_tokens": Pooling.MEAN,
    "pooling_mode_max_tokens": Pooling.MAX,
    "pooling_mode_lasttoken": Pooling.LAST,
}
_POOLING = {"cls": Pooling.CLS, "mean": Pooling.MEAN, "max": Pooling.MAX, "lasttoken": Pooling.LAST}
_UNSUPPORTED = ("pooling_mode_mean_sqrt_len_tokens", "pooling_mode_weightedmean_tokens")


@dataclass(slots=True)
class Side:
    """The modules of one tower; ``max_length`` is None where the checkpoint leaves it to the tokenizer.

    ``lower_case`` asks for lower-cased text whatever the tokenizer does by itself.
    """

    backbone: Path
    pooling: Pooling = Pooling.MEAN
    normalise: bool = False
    projection: Path | None = None
    max_length: int | None = None
    lower_case: bool = False


@dataclass(slots=True)
class Layout:
    """A whole model folder; ``query is document`` where the towers share their weights."""

    query: Side
    document: Side
    prompts: dict[str, str] = field(default_factory=dict)
    default_prompt: str = ""
    similarity: str | None = None

    @property
    def shared(self) -> bool:
        """Whether one set of weights serves both sides."""
        return self.query is self.document

    def prompt(self, *names: str) -> str | None:
        """The first of the named prompts that the checkpoint knows; None where it knows none of them."""
        return next((self.prompts[name] for name in names if name in self.prompts), None)


def read_layout(folder: Path) -> Layout:
    """Read `modules.json` and the small configurations around it.

    Raises:
        ModelError: where a module is unknown, or a file is damaged.
    """
    try:
        return _read_layout(folder)
    except (AttributeError, IndexError, TypeError, ValueError, OverflowError) as error:  # JSON, but of another form
        raise ModelError(f"{folder}: modules.json, or a configuration that it names, has not the form that "
                         f"sentence-transformers writes ({error})") from None  # fmt: skip


def _read_layout(folder: Path) -> Layout:
    modules = read_json(folder / "modules.json")
    if not isinstance(modules, list) or not modules:
        raise ModelError(f"{folder / 'modules.json'} lists no modules")
    named = [(_class_name(entry, folder), confined(folder, str(entry.get("path", "")))) for entry in modules]
    if named[0][0] == "Router":
        query, document = _routes(named[0][1], behind=named[1:])
    else:
        query = document = _side(named)
    config = read_object(folder / "config_sentence_transformers.json", default={})
    prompts = {key: value for key, value in (config.get("prompts") or {}).items() if isinstance(value, str)}
    default = config.get("default_prompt_name")
    return Layout(query, document, prompts, prompts.get(default, "") if default else "", config.get("similarity_fn_name"))


def confined(folder: Path, relative: str) -> Path:
    """A path inside ``folder``.

    Raises:
        ModelError: where it leads out of the folder.
    """
    path = (folder / relative).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ModelError(f"{folder}: the path {relative!r} leads out of the model folder; it is refused")
    return folder / relative


def read_json(path: Path, *, default: Any = None) -> Any:
    """Parse a small JSON file; a missing one gives ``default`` where one is given.

    Raises:
        ModelError: where it is missing without default, or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if default is None:
            raise ModelError(f"{path} is missing; the model folder is incomplete") from None
        return default
    except (ValueError, OSError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read as JSON ({error}); the model folder is damaged") from None


def read_object(path: Path, *, default: dict[str, Any] | None = None) -> dict[str, Any]:
    """Parse a small JSON file that holds an object; see `read_json`.

    Raises:
        ModelError: where it is missing without default, damaged, or holds something else.
    """
    found = read_json(path, default=default)
    if not isinstance(found, dict):
        raise ModelError(f"{path} holds no JSON object; the model folder is damaged")
    return found


def _class_name(entry: Any, folder: Path) -> str:
    path = str(entry.get("type", "")) if isinstance(entry, dict) else ""
    name = path.rpartition(".")[2]
    if not path.startswith("sentence_transformers.") or name not in {"Transformer", "Pooling", "Dense", "Normalize", "Router"}:
        raise ModelError(f"{folder}: the module {path or entry!r} is not supported; Transformer, Pooling, Dense, Normalize "
                         "and Router of sentence-transformers are")  # fmt: skip
    return name


def _routes(folder: Path, *, behind: list[tuple[str, Path]]) -> tuple[Side, Side]:
    """The two sides of a Router, each with the modules that stand behind it."""
    config = read_object(folder / "router_config.json")
    try:
        structure, types = config["structure"], config["types"]
        sides = []
        for route in ("query", "document"):
            names = [str(name) for name in structure[route]]
            own = [(_class_name({"type": types[name]}, folder), confined(folder, name)) for name in names]
            sides.append(_side(own + behind))
    except (KeyError, TypeError) as error:
        raise ModelError(f"{folder / 'router_config.json'}: a Router with the routes 'query' and 'document' was expected "
                         f"(missing: {error})") from None  # fmt: skip
    return sides[0], sides[1]


def _side(modules: list[tuple[str, Path]]) -> Side:
    if modules[0][0] != "Transformer":
        raise ModelError(f"{modules[0][1]}: the first module is {modules[0][0]}; a Transformer was expected")
    side = Side(modules[0][1])
    config = read_object(side.backbone / "sentence_bert_config.json", default={})
    side.max_length = int(config.get("max_seq_length") or 0) or None
    side.lower_case = bool(config.get("do_lower_case"))
    for name, folder in modules[1:]:
        if name == "Pooling":
            side.pooling = _pooling(folder)
        elif name == "Dense" and side.projection is None and not side.normalise:
            side.projection = folder
        elif name == "Normalize":
            side.normalise = True
        else:
            raise ModelError(f"{folder}: a module {name} in this place is not supported")
    return side


def _pooling(folder: Path) -> Pooling:
    config = read_object(folder / "config.json")
    if config.get("include_prompt", True) is False:
        raise ModelError(f"{folder}: pooling that leaves the prompt out (include_prompt false) is not supported")
    mode = config.get("pooling_mode")
    if mode is None:
        modes: list[Any] = [_LEGACY_POOLING[key] for key in _LEGACY_POOLING if config.get(key)]
        modes += [key for key in _UNSUPPORTED if config.get(key)]
    else:
        modes = [_POOLING.get(name, name) for name in ([mode] if isinstance(mode, str) else mode)]
    if len(modes) != 1 or not isinstance(modes[0], Pooling):
        found = ", ".join(map(str, modes)) or "none"
        raise ModelError(f"{folder}: the pooling {found} is not supported; one of {', '.join(Pooling)} is")
    return modes[0]
