"""The stages of the LinCorr reproduction on one model. Each returns plain data and is kept as a part of the run."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from armillary.data.texts.corpora import corpus_texts
from armillary.errors import UsageError
from armillary.methods import lincorr
from armillary.methods.lincorr.words import Status
from armillary.models import LoadedModel
from armillary.numerics.intervals import Interval
from armillary.progress import track
from armillary.records.plain import decode
from armillary.runs.parts import Arrays, Store
from armillary.scoring import sequence_nll
from reproductions.lincorr.finetune import FineTuneConfig, fine_tune, relative_change
from reproductions.lincorr.scale import PAIRS, RATES, RELATIONS, SYMBOLS, Scale
from reproductions.lincorr.vocabulary import Embeddings, FactMapping, VocabularyConfig, vocabulary_feed_forward
from reproductions.stages import StageContext

OTHER_TEXT = "python-reference"
"""Corpus of the fine-tune: far from geography."""


@dataclass(frozen=True)
class Context(StageContext[Scale]):
    """The model with its relations; the logits of the first seed are read once."""

    def config(self, offset: int = 0, **changes: Any) -> lincorr.LinCorrConfig:
        """Settings of one seed."""
        settings = {"n": self.scale.subjects, "seed": self.seed + offset, "replicates": self.scale.replicates}
        return lincorr.LinCorrConfig(**{**settings, **changes})

    def study(self, offset: int) -> lincorr.Study:
        """All relations on the subjects of one seed."""
        return lincorr.study(self.loaded, RELATIONS, self.config(offset), store=self.store(f"seed {offset}"))

    def store(self, name: str) -> Store:
        """Keeps arrays among the parts of the run, under names that begin with this one."""

        def keep(key: str, compute: Any) -> Arrays:
            return self.parts.arrays(f"{name} {key}", compute)

        return keep

    @cached_property
    def first(self) -> dict[str, lincorr.RelationTables]:
        """Tables of the first seed, by relation."""
        return dict(self.study(0).tables)

    def fit(self, relation: str) -> lincorr.RelationFit:
        """The ridge map of the first seed."""
        return lincorr.fit_relation(self.first[relation], self.config())


def correlation_stage(context: Context, offset: int) -> lincorr.StudyScores:
    """Every relation at one seed."""
    return context.study(offset).scores()


def gradient_stage(context: Context) -> dict[str, lincorr.GradientCorrelation]:
    """Gradient correlation of every relation, on subjects left out of the fit."""
    by_relation = {}
    for name, tables in track(context.first.items(), "Gradients", len(context.first)):
        subjects = [tables.source.subjects[row] for row in tables.test[: context.scale.gradient_subjects]]
        compute = partial(
            lincorr.gradient_correlation,
            context.loaded,
            context.fit(name),
            subjects,
            targets=context.scale.gradient_targets,
            seed=context.seed,
        )
        # Kept relation by relation, since each takes minutes.
        data = context.parts.json(f"gradient {name}", compute)
        by_relation[name] = decode(lincorr.GradientCorrelation, data, f"The gradients of {name}")
    return by_relation


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The old map and the loss at one step of the fine-tune."""

    step: int
    transfer: lincorr.TransferResult
    relative_change: float
    """Norm of the change of the weights over their norm before."""

    nll: list[float]
    """Of each token of held-out text of the new kind, nats."""


@dataclass(frozen=True, kw_only=True)
class ResilienceStage:
    """What the fine-tune did to the map of city-country."""

    evaluations: list[Evaluation]
    nll_before: list[float]


def resilience_stage(context: Context) -> ResilienceStage:
    """The old map on a copy that is fine-tuned on other text, at several steps."""
    before, fit, config = context.first["city-country"], context.fit("city-country"), context.config()
    train = corpus_texts(OTHER_TEXT, limit=400, seed=context.seed, split="train")
    held_out = [text[:400] for text in corpus_texts(OTHER_TEXT, limit=24, seed=context.seed, split="test")]
    evaluations: list[Evaluation] = []

    def nll(model: LoadedModel) -> list[float]:
        return list(sequence_nll(model, held_out).per_token)

    def evaluate(step: int, tuned: LoadedModel) -> None:
        evaluations.append(
            Evaluation(
                step=step,
                transfer=lincorr.transfer(fit, before, lincorr.recollect(tuned, before, config), config),
                relative_change=relative_change(context.loaded, tuned),
                nll=nll(tuned),
            )
        )

    nll_before = nll(context.loaded)
    settings = FineTuneConfig(steps=context.scale.steps, seed=context.seed)
    fine_tune(context.loaded, train, settings, evaluate, context.scale.evaluations)
    return ResilienceStage(evaluations=evaluations, nll_before=nll_before)


@dataclass(frozen=True, kw_only=True)
class RateStage:
    """The learning rate of the edits, and how it was chosen."""

    rate: float
    pilots: list[str]
    steps: dict[str, list[int]]
    """Rate tried -> updates that each pilot word took."""


def rate_stage(context: Context) -> RateStage:
    """The smallest rate that takes on every pilot word; pilot words take no further part."""
    pilots = _words(context.fit("city-country"), context.scale.pilots, context.seed)
    steps: dict[str, list[int]] = {}
    for rate in RATES:
        edits = [_edit(context, "city-country", word, rate) for word in pilots]
        steps[f"{rate:g}"] = [edit.steps for edit in edits]
        if not any(edit.failed for edit in edits):
            break
    return RateStage(rate=rate, pilots=pilots, steps=steps)


@dataclass(frozen=True, kw_only=True)
class EditStage:
    """Each edit of one relation, and what those that took give together."""

    edits: list[lincorr.EditOutcome]
    summary: lincorr.SpilloverResult | None
    why: str
    """Why there is no summary."""


def edit_stage(context: Context, relation: str, rate: float, pilots: Sequence[str]) -> EditStage:
    """Edits of as many words as the scale says; ``pilots`` are left out."""
    fit = context.fit(relation)
    words = [word for word in _words(fit, context.scale.edits + len(pilots), context.seed) if word not in pilots]
    words = words[: context.scale.edits]
    edits = [_edit(context, relation, word, rate).outcome() for word in track(words, f"Edits of {relation}")]
    summary, why = None, ""
    try:
        summary = lincorr.combine_edits(edits, len(fit.target.ids), seed=context.seed)
    except UsageError as error:
        why = str(error)
    return EditStage(edits=edits, summary=summary, why=why)


def _words(fit: lincorr.RelationFit, count: int, seed: int) -> list[str]:
    """Source words with gold, in a seeded order."""
    usable = [word for word in fit.source.entries if fit.gold[fit.source.column(word)]]
    return [usable[index] for index in np.random.default_rng(seed).permutation(len(usable))[:count]]


def _edit(context: Context, relation: str, word: str, rate: float) -> lincorr.LogitEdit:
    """One word taught to two subjects that the map has not seen."""
    tables = context.first[relation]
    return lincorr.edit_and_trace(
        context.loaded,
        context.fit(relation),
        word,
        [tables.source.subjects[row] for row in tables.test[:2]],
        learning_rate=rate,
        max_steps=context.scale.edit_steps,
        seed=context.seed,
    )


def vocabulary_stage(context: Context) -> dict[str, list[float]]:
    """Held-out accuracy of the bag-of-words block at each seed: mapping x embeddings, and the symbolic pairs."""
    accuracies = {
        f"{mapping}, {embeddings}": _accuracies(context, PAIRS, mapping, embeddings)
        for embeddings in ("pretrained", "random")
        for mapping in ("true", "shuffled")
    }
    return {**accuracies, "symbolic, pretrained": _accuracies(context, SYMBOLS, "true", "pretrained")}


def _accuracies(
    context: Context, pairs: Sequence[tuple[str, str]], mapping: FactMapping, embeddings: Embeddings
) -> list[float]:
    city, country = "{} lives in the city of", "{} lives in the country of"
    cities = lincorr.resolve_words(context.loaded, [source for source, _ in pairs])
    countries = lincorr.resolve_words(context.loaded, [target for _, target in pairs])
    values = []
    for offset in track(range(context.scale.vocabulary_seeds), f"Vocabulary block, {mapping}, {embeddings}"):
        config = VocabularyConfig(
            mapping=mapping,
            embeddings=embeddings,
            steps=context.scale.vocabulary_steps,
            seed=context.seed + offset,
        )
        names = lincorr.vocabulary_subjects(context.loaded, context.scale.vocabulary_names, seed=config.seed)
        result = vocabulary_feed_forward(
            context.loaded, pairs, names, source=(city, cities), target=(country, countries), config=config
        )
        values.append(result.accuracy.estimate)
    return values


@dataclass(frozen=True, kw_only=True)
class CompletenessStage:
    """Source words by how much of the word their token is."""

    kinds: dict[Status, lincorr.Completeness]
    advantage: Interval | None
    """hit@5 of whole words less that of first words."""

    why: str
    """Why there is none."""


def completeness_stage(context: Context) -> CompletenessStage:
    """hit@5 and correlation of whole-word against first-word source tokens."""
    config = context.config(policy="first")
    tables = lincorr.study(context.loaded, ["city-country"], config, store=context.store("first words")).tables
    try:
        kinds = lincorr.by_completeness(tables["city-country"], config)
        advantage = lincorr.whole_word_advantage(kinds, "first-word", config)
    except (KeyError, UsageError) as error:
        return CompletenessStage(kinds={}, advantage=None, why=str(error))
    return CompletenessStage(kinds=dict(kinds), advantage=advantage, why="")
