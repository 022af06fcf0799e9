"""What `fit` can be told, and the curriculum that it follows when it is told nothing."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    create_model,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from biencoder.data.hold_out import Apart
from biencoder.mining import MiningOptions
from biencoder.training.options import TAUGHT, TrainingOptions
from biencoder.training.reranker_options import RerankerOptions


class _Said(BaseModel):
    """Options of which only those that were said count, also where it was said that there shall be none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_serializer(mode="wrap")
    def _what_was_said(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in serialise(self).items() if name in self.model_fields_set}


def _changes(kind: type[BaseModel]) -> type[BaseModel]:
    """A model with the same fields, none of which has to be given."""
    fields: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        checked: Any = field.annotation
        for bound in field.metadata:
            checked = Annotated[checked, bound]
        fields[name] = (checked | None, None)
    return create_model(f"{kind.__name__}Changes", __base__=_Said, **fields)


TrainingChanges = _changes(TrainingOptions)
"""Training options of one stage, over those of the run."""
MiningChanges = _changes(MiningOptions)
"""Mining options of one stage, over the defaults."""
RerankerChanges = _changes(RerankerOptions)
"""Options of the teacher's training, over the defaults."""


class StageOptions(BaseModel):
    """One row of the curriculum."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=40)]
    negatives: Literal["in-batch", "bm25", "mined"] = "in-batch"
    """Where hard negatives come from, beside those of the batch: BM25's ranking, or the model's own at that time."""
    rounds: Annotated[int, Field(ge=1, le=20)] = 1
    """How often the negatives are mined anew, with the model as it is by then; each round trains and is judged by itself."""
    teacher: bool = False
    """Only with a teacher that ranks better than the model does; its scores come with the examples."""
    rate: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Share of the run's learning rate, where the stage names none: harder negatives want smaller steps."""
    training: TrainingChanges = TrainingChanges()  # type: ignore[valid-type]
    mining: MiningChanges = MiningChanges()  # type: ignore[valid-type]

    def names(self, option: str) -> bool:
        """Whether the stage says itself what a training option is."""
        return option in _said(self.training)

    def check(self, training: TrainingOptions) -> None:
        """Refuse what would have no effect.

        Args:
            training: the stage's.
        """
        problem = None
        if self.teacher and self.negatives != "mined":
            problem = "teacher needs negatives = mined, which are those that a teacher scores"
        elif training.loss in TAUGHT and self.negatives == "bm25":
            problem = f"loss {training.loss} learns from a teacher's scores, which negatives of bm25 do not have; use mined"
        elif "source" in _said(self.mining):
            problem = "say negatives, not mining.source"
        if problem is not None:
            raise PydanticCustomError("stages", "In stage {name}: {problem}", {"name": self.name, "problem": problem})

    def mining_options(self, *, seed: int) -> MiningOptions:
        """What the stage's negatives are mined with."""
        source = "bm25" if self.negatives == "bm25" else "model"
        return MiningOptions.model_validate({"seed": seed, **_said(self.mining), "source": source})

    def training_options(self, base: TrainingOptions) -> TrainingOptions:
        """What the stage is trained with."""
        slowed = {"learning_rate": base.learning_rate * self.rate}
        return TrainingOptions.model_validate({**base.model_dump(), **slowed, **_said(self.training)})


def _first(error: ValidationError) -> str:
    """The first of what was refused, in one line."""
    first = error.errors()[0]
    key, said = ".".join(str(part) for part in first["loc"]), first["msg"]
    return f"{key} is {first['input']!r}: {said[0].lower()}{said[1:]}"


def _said(changes: BaseModel) -> dict[str, Any]:
    return changes.model_dump()


def _stage(name: str, *, training: dict[str, Any] | None = None, **more: Any) -> StageOptions:
    return StageOptions.model_validate({"name": name, "training": training or {}, **more})


CURRICULUM = (
    _stage("in-batch"),
    _stage("bm25", negatives="bm25", rate=0.6, training={"negatives": 1}),
    _stage("mined", negatives="mined", rate=0.6, rounds=2, training={"negatives": 3}),
    _stage("distilled", negatives="mined", rate=0.4, teacher=True, training={"loss": "kl", "negatives": 6}),
)
"""From easy to hard (DPR, 2020; ANCE and RocketQA, 2021), then what a cross-encoder thinks of the hardest."""


class FitOptions(BaseModel):
    """What `fit` can be told."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    training: TrainingOptions = TrainingOptions()
    """Of all stages, where a stage does not say otherwise. The epochs count where they are given; else each stage takes one,
    and up to three where there are few pairs."""
    stages: Annotated[tuple[StageOptions, ...], Field(min_length=1)] = CURRICULUM
    budget: Annotated[float, Field(gt=0)] | None = 60.0
    """Minutes for the whole; stages, negatives and teacher are sized to it. None sets no limit."""
    train_split: str = "train"
    dev_split: str = "dev"
    dev_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Where the collection has no dev split, this share of the training queries is held out: by default a tenth, and up to a
    fifth where that is fewer than 200."""
    dev_apart: Apart = "query"
    """What those that are held out must not share with the rest. ``query``: any queries, which stand for those to come if these
    ask for the same documents; ``document``: none that ask for a document that is trained on, where these are always new."""
    dev_queries: Annotated[int, Field(ge=1)] = 500
    """At most so many dev queries decide; a paired difference of 0.02 shows with that many."""
    dev_documents: Annotated[int, Field(ge=100)] = 5000
    """Dev queries search their own relevant documents, what BM25 takes for relevant, and others, so many in all at most."""
    measure: str = "nDCG@10"
    separate: bool = False
    """Train two towers that no longer share their weights, for queries and documents in different languages."""
    matryoshka: bool = True
    """Train every stage at 64, 128, 256, … dimensions as well, so that vectors can be cut to them (Kusupati et al., 2022)."""
    interpolate: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.7,)
    """Shares of the trained weights beside those of the start that are tried at the end (Wortsman et al., WiSE-FT, 2022)."""
    again: Annotated[float, Field(gt=0, lt=1)] | None = 0.5
    """What was rolled back is tried once more at the end, the hardest first, with this share of its learning rate, as far as
    the budget has time left; None leaves it at one try."""
    teacher: str = "auto"
    """A cross-encoder that denoises and teaches: a folder, package or hub name; ``auto`` trains one, ``none`` does without."""
    reranker: RerankerChanges = RerankerChanges()  # type: ignore[valid-type]
    """How the teacher is trained."""
    keep_models: bool = False
    """Leave every kept stage's model in its folder, to be measured by itself."""

    def reranker_options(self) -> RerankerOptions:
        """What a teacher is trained with; precision and seed are the run's where nobody says otherwise."""
        run = {"precision": self.training.precision, "seed": self.training.seed}
        return RerankerOptions.model_validate({**run, **_said(self.reranker), "evaluations": 1})

    @model_validator(mode="after")
    def _stages_can_be_done(self) -> Self:
        names = [stage.name for stage in self.stages]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise PydanticCustomError("stages", "Two stages are called {name}; give each a name of its own", {"name": twice})
        if "evaluations" in _said(self.reranker):
            raise PydanticCustomError("reranker", "Leave reranker.evaluations out: a run's teacher is judged once, on dev")
        try:
            self.reranker_options()
        except ValidationError as error:
            raise PydanticCustomError("reranker", "In reranker: {problem}", {"problem": _first(error)}) from None
        for stage in self.stages:
            try:
                training = stage.training_options(self.training)
                stage.mining_options(seed=0)
                stage.check(training)
            except ValidationError as error:
                raise PydanticCustomError(
                    "stages", "In stage {name}: {problem}", {"name": stage.name, "problem": _first(error)}
                ) from None
        return self
