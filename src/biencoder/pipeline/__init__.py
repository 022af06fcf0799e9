"""`fit`: from a collection to a trained model in one call, with a gate behind every stage."""

from __future__ import annotations

from biencoder.pipeline.fit import fit
from biencoder.pipeline.options import CURRICULUM, FitOptions, StageOptions
from biencoder.run_folder import read_run

__all__ = ["CURRICULUM", "FitOptions", "StageOptions", "fit", "read_run"]
