"""Loading a model, with its remarks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from biencoder.cli.terminal import TerminalProgress

if TYPE_CHECKING:
    from biencoder.towers.bi_encoder import BiEncoder


def load_model(name: str, *, precision: str, progress: TerminalProgress) -> BiEncoder:
    """Load a model and say what its checkpoint left open and was decided in its place.

    Raises:
        ModelError: where there is no such model, or it cannot be read.
    """
    progress.phase(f"loading {name}")
    from biencoder.towers.bi_encoder import BiEncoder

    model = BiEncoder.load(name, precision=precision)
    for note in model.notes:
        progress.say(f"{name}: {note}")
    return model
