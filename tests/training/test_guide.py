from __future__ import annotations

import numpy as np
import pytest

from biencoder.errors import ArgumentError
from biencoder.records import Example
from biencoder.towers.bi_encoder import BiEncoder
from biencoder.training.guide import Guide
from biencoder.training.trainer import train
from tests import tiny
from tests.training.tasks import options


def test_scores_are_the_models(tiny_model: BiEncoder) -> None:
    examples = [Example("heart", "the heart", ("a lung",)), Example("lung", "a lung")]
    guide = Guide(tiny_model, examples)
    found = guide.scores(["lung", "heart"], ["a lung", "the heart", "a lung"]).numpy()
    expected = tiny_model.encode_queries(["lung", "heart"]) @ tiny_model.encode_documents(["a lung", "the heart", "a lung"]).T
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_a_guide_takes_negatives_out_of_the_loss(tiny_model: BiEncoder) -> None:
    examples = tiny.collection().examples("train")
    guide = Guide(tiny_model, examples)
    plain = train(BiEncoder(tiny.tower(), tiny.tower()), examples, options(epochs=0.1)).losses
    none_left = options(epochs=0.1, guide_margin=2.0)
    masked = train(BiEncoder(tiny.tower(), tiny.tower()), examples, none_left, guide=guide).losses
    assert masked == [0.0]
    some = train(BiEncoder(tiny.tower(), tiny.tower()), examples, options(epochs=0.1, guide_margin=0.0), guide=guide).losses
    assert 0 < some[0] < plain[0]


def test_margin_and_guide_belong_together(tiny_model: BiEncoder) -> None:
    examples = tiny.collection().examples("train")
    for chosen, guide in ((options(guide_margin=0.1), None), (options(), Guide(tiny_model, examples[:2]))):
        with pytest.raises(ArgumentError, match=r"^guide_margin and a guide belong together; give both or neither$"):
            train(tiny_model, examples, chosen, guide=guide)
