"""One fact changed in one FFN, as a run of its own: what ``armillary bricks edit`` leaves."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from armillary.cli.bricks.delivery import Delivery, Outcome, run_on_model
from armillary.cli.bricks.options import ModelOptions
from armillary.cli.options import Folder
from armillary.data import capability_source, capability_texts
from armillary.data.texts.corpora import corpus_source, texts
from armillary.errors import UsageError
from armillary.methods.bricks.editing.facts import CAPITAL, Fact, Neighbour, capital_facts
from armillary.methods.bricks.editing.report import edit_finding, edit_measures, edit_section
from armillary.records.record import RunRecord
from armillary.runs.folder import RunFolder

if TYPE_CHECKING:
    from armillary.methods.bricks.editing.key_value import KeyCovariance
    from armillary.methods.bricks.editing.rome import FactEdit
    from armillary.models import LoadedModel

GENERAL, ELSEWHERE = "world-factbook", "writing"
"""Corpus whose keys stand for general text, and capability whose texts an edit should leave alone."""

CANDIDATES = 60
"""Countries among which facts to try layers on are looked for."""


@dataclass(frozen=True, kw_only=True)
class EditConfig:
    """Which fact is changed, where, and what it is judged on."""

    model: str
    prompt: str
    subject: str
    answer: str
    new: str
    paraphrases: tuple[str, ...] = ()
    """Other ways to ask, with the subject written out."""

    neighbours: tuple[str, ...] = ()
    """"subject=answer" of the same question, to be left alone."""

    layer: int | None = None
    """None tries three layers on other facts."""

    trials: int = 2
    """Facts that layers are tried on; without one that the model knows a layer at a quarter of the depth is taken."""

    identity: bool = False
    """Take the identity for the second moment of keys."""

    general_texts: int = 200
    texts: int = 8
    """Unrelated texts on which side effects are measured."""

    tokens: int = 128
    subjects: int = 400
    """Words on which LinCorr's map is fitted, where the prompt is a relation's; 0 for no forecast of spill-over."""

    known: bool = True
    """Refuse a fact that the model does not answer rightly."""

    seed: int = 0
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        for name, number in {"general_texts": 1, "texts": 1, "trials": 0, "tokens": 2, "subjects": 0}.items():
            if getattr(self, name) < number:
                raise UsageError(f"{name} must be {number} or more, got {getattr(self, name)}.")
        self.fact()

    def fact(self) -> Fact:
        """The fact with what it is judged on; for a capital asked in our words these are given. Raises UsageError."""
        fact = Fact.from_prompt(self.prompt, self.subject, self.answer, self.new)
        pairs = [one.partition("=") for one in self.neighbours]
        if wrong := [name for name, sign, answer in pairs if not (name and sign and answer)]:
            raise UsageError(f"a neighbour is given as SUBJECT=ANSWER; got {wrong[0]!r}.")
        for text in self.paraphrases:
            if text.count(self.subject) != 1:
                raise UsageError(f"a paraphrase has the subject {self.subject!r} once; got {text!r}.")
        if fact.prompt == CAPITAL and not self.paraphrases and not pairs:
            return self._capital(fact)
        return replace(
            fact,
            paraphrases=tuple(text.replace(self.subject, "{}") for text in self.paraphrases),
            neighbours=tuple(Neighbour(subject=name, answer=answer) for name, _, answer in pairs),
        )

    def _capital(self, fact: Fact) -> Fact:
        try:
            drawn = capital_facts(countries=[self.subject], seed=self.seed)[0]
        except UsageError:  # no country of that name, or no list of them: it is judged on the prompt alone
            return fact
        around = tuple(one for one in drawn.neighbours if one.answer != self.new)
        return replace(fact, paraphrases=drawn.paraphrases, neighbours=around)


def run_edit(config: EditConfig, out: Path, *, fresh: bool = False, delivery: Delivery | None = None) -> RunRecord:
    """The record of an edit, also left in ``out`` with its report and the brick. Raises ``ArmillaryError``."""
    fact = config.fact()
    elsewhere = capability_texts(ELSEWHERE, split="test", limit=config.texts, seed=config.seed)

    def work(loaded: "LoadedModel", folder: RunFolder) -> Outcome:
        from armillary.cli.bricks.edit_forecast import forecast_measures, forecast_section, forecasts
        from armillary.methods.bricks.brick import Brick, BrickMeta, Provenance
        from armillary.methods.bricks.editing.metrics import edit_outcome, score_edits, side_effects
        from armillary.runs.environment import versions

        edit, sweep = _edited(loaded, fact, config)
        outcome = edit_outcome(loaded, [fact], edit.payload)
        scores = score_edits(outcome, seed=config.seed)
        side = side_effects(loaded, edit.payload, elsewhere, max_tokens=config.tokens, seed=config.seed)
        made = Provenance(
            method="ROME", base=config.model, data=f"{config.prompt} {config.new}", seed=config.seed,
            versions=versions(),
        )  # fmt: skip
        name = f"{config.subject}: {config.answer} to {config.new}"
        meta = BrickMeta(provenance=made, notes={"fact": fact.to_dict(), "edit": edit.to_dict()})
        brick = Brick.of(loaded, edit.payload, name=name, kind="knowledge", meta=meta)
        told = forecasts(loaded, fact, brick, subjects=config.subjects, seed=config.seed) if config.subjects else []
        return Outcome(
            title=f"{config.prompt} {config.new} ({loaded.name})",
            sections=[
                edit_section(outcome[0], scores, side, edit, sweep),
                *([forecast_section(told)] if told else []),
            ],
            findings=[edit_finding(outcome[0], side, edit)],
            measures=edit_measures(scores, side) | forecast_measures(told),
            data=[corpus_source(GENERAL), capability_source(ELSEWHERE)],
            brick=brick,
        )

    return run_on_model("edit", config, out, work, fresh=fresh, delivery=delivery)


def _edited(loaded: "LoadedModel", fact: Fact, config: EditConfig) -> "tuple[FactEdit, dict[str, Any] | None]":
    """The edit, and the scores of the layers where it was tried on others."""
    from armillary.methods.bricks.editing.key_value import key_covariances
    from armillary.methods.bricks.editing.rome import edit_fact, refuse_unknown

    if config.known:
        refuse_unknown(loaded, [fact])
    trial = _trial_facts(loaded, fact, config) if config.layer is None else []
    layers = _layers(loaded, config, bool(trial))
    covariances = None
    if not config.identity:
        general = texts(GENERAL, limit=config.general_texts, seed=config.seed)
        covariances = key_covariances(
            loaded, general, layers, max_tokens=config.tokens, label="reading the keys of general text"
        )
    layer, sweep = layers[0], None
    if trial:
        layer, sweep = _swept(loaded, fact, trial, layers, covariances, config)
    metric = None if covariances is None else covariances[layer]
    return edit_fact(loaded, fact, layer, metric, require_known=False), sweep


def _swept(
    loaded: "LoadedModel",
    fact: Fact,
    trial: list[Fact],
    layers: list[int],
    covariances: "dict[int, KeyCovariance] | None",
    config: EditConfig,
) -> tuple[int, dict[str, Any]]:
    from armillary.methods.bricks.editing.rome import choose_layer

    found = choose_layer(loaded, trial, layers, covariances, meant_for=[fact], require_known=False, seed=config.seed)
    return found.best, found.to_dict()


def _trial_facts(loaded: "LoadedModel", fact: Fact, config: EditConfig) -> list[Fact]:
    """Capitals, other than the fact's, that the model knows."""
    from armillary.methods.bricks.editing.answers import base_answers_right

    try:
        drawn = [one for one in capital_facts(CANDIDATES, seed=config.seed) if one.subject != fact.subject]
    except UsageError:  # the list of countries is not installed
        return []
    right = base_answers_right(loaded, drawn)
    return [one for one, known in zip(drawn, right, strict=True) if known][: config.trials]


def _layers(loaded: "LoadedModel", config: EditConfig, tried: bool) -> list[int]:
    """The layer of the settings, or those to try: from an eighth to a half of the depth."""
    depth = loaded.anatomy.num_layers
    if config.layer is None:
        return sorted({depth // 8, depth // 4, depth // 2}) if tried else [depth // 4]
    if not 0 <= config.layer < depth:
        raise UsageError(f"layer must be 0 to {depth - 1}; got {config.layer}.")
    return [config.layer]


@dataclass(frozen=True, kw_only=True)
class EditOptions(ModelOptions):
    """Change one fact, as a brick of rank one, and tell what else changed."""

    prompt: str
    """Text that the fact completes, e.g. "The capital of France is"."""

    subject: str
    """What the fact is about, as it stands in the prompt."""

    answer: str
    """What the model answers now."""

    new: str
    """What it shall answer."""

    paraphrases: Annotated[tuple[str, ...], tyro.conf.arg(metavar="TEXT ...")] = ()
    """Other ways to ask, with the subject; capitals asked as above have some of their own."""

    neighbours: Annotated[tuple[str, ...], tyro.conf.arg(metavar="SUBJECT=ANSWER ...")] = ()
    """Other subjects of the same question, to be left alone."""

    layer: int | None = None
    """Layer to edit; by default three are tried on other facts."""

    identity: bool = False
    """Do without the second moment of general text: faster, and less local."""

    to: Folder = None
    """New PEFT folder for the edit."""

    library: Folder = None
    """Library that gets the edit as a brick."""
