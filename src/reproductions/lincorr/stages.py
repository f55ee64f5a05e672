"""The stages of the LinCorr reproduction on one model. Each returns plain data and is kept as a part of the run."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from armillary.data.texts.corpora import corpus_texts
from armillary.errors import UsageError
from armillary.methods import lincorr
from armillary.methods.bricks.growth.grown import untrained_copy
from armillary.methods.lincorr import core
from armillary.methods.lincorr.words import Status, WordTable
from armillary.models import LoadedModel
from armillary.numerics import LinearFit, RidgePath, pearson_columns
from armillary.numerics.intervals import Interval
from armillary.progress import track
from armillary.records.plain import decode
from armillary.runs.parts import Arrays, Store
from armillary.scoring import sequence_nll
from reproductions.lincorr.finetune import FineTuneConfig, fine_tune, relative_change
from reproductions.lincorr.scale import JUDGED, KNOWLEDGE, PAIRS, RATES, RELATIONS, Scale
from reproductions.lincorr.vocabulary import Embeddings, FactMapping, VocabularyConfig, vocabulary_feed_forward
from reproductions.stages import StageContext

OTHER_TEXT = "python-reference"
"""Corpus of the fine-tune: far from geography."""

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Context(StageContext[Scale]):
    """The model with its relations; their logits are read once."""

    def config(self, offset: int = 0, **changes: Any) -> lincorr.LinCorrConfig:
        """Settings of one seed."""
        settings = {"n": self.scale.subjects, "seed": self.seed + offset, "replicates": self.scale.replicates}
        return lincorr.LinCorrConfig(**{**settings, **changes})

    @cached_property
    def study(self) -> lincorr.Study:
        """All relations on the same subjects, with the first split of them."""
        return lincorr.study(self.loaded, RELATIONS, self.config(), store=self.store("first"))

    def store(self, name: str) -> Store:
        """Keeps arrays among the parts of the run, under names that begin with this one."""

        def keep(key: str, compute: Any) -> Arrays:
            return self.parts.arrays(f"{name} {key}", compute)

        return keep

    @property
    def first(self) -> dict[str, lincorr.RelationTables]:
        """Tables with the first split, by relation."""
        return dict(self.study.tables)

    def fit(self, relation: str) -> lincorr.RelationFit:
        """The ridge map of the first split."""
        return self.study.results[relation].fit


def correlation_stage(context: Context, offset: int) -> lincorr.StudyScores:
    """Every relation at the first split of the subjects into halves, those that claims compare at the others."""
    if not offset:
        return context.study.scores()
    config, results = context.config(offset), {}
    for name in JUDGED:
        if name in context.first:
            first = context.first[name]
            three = (first.source, first.target, first.control)
            tables = lincorr.relation_tables(first.relation, first.model_name, three, first.gold, config)
            results[name] = lincorr.measure(tables, config).scores()
    return lincorr.StudyScores(results=results, skipped={})


@dataclass(frozen=True, kw_only=True)
class Knowledge:
    """Whether a model says the facts of a relation when it is asked for them directly, best of N."""

    target: lincorr.HitRate
    """Of source words, asked for their target: each among the target words."""

    source: lincorr.HitRate
    """Of target words, asked for a source."""


def knowledge_stage(context: Context) -> dict[str, Knowledge]:
    """Facts asked directly, by relation; exchanged answers are the null, as for the weights of a map."""
    by_relation = {}
    for name, (forward, backward) in KNOWLEDGE.items():
        fit = context.fit(name)
        # Of ten digits five would nearly always hit.
        count = 5 if len(fit.target.ids) >= 25 else 1
        read = partial(lincorr.collect, context.loaded, config=context.config())
        to_target = lincorr.PromptDomain(template=forward, words=fit.target)
        to_source = lincorr.PromptDomain(template=backward, words=fit.source)
        values_ST = torch.from_numpy(read([to_target], _first_words(fit.source))[0].values)
        values_TS = torch.from_numpy(read([to_source], _first_words(fit.target))[0].values)
        by_relation[name] = Knowledge(
            target=lincorr.hit_at(values_ST, fit.gold, count),
            source=lincorr.hit_at(values_TS.T, fit.gold, count, direction="influencing"),
        )
    return by_relation


def _first_words(words: WordTable) -> list[str]:
    """One word of each token."""
    return [label.split(" / ")[0] for label in words.labels]


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
class Tune:
    """What one fine-tune did to the map of city-country that was fitted before it."""

    before: float
    """Test correlation of the map on the model that it was fitted on."""

    after: float
    """On the tuned model's logits, over the same subjects, not fitted anew."""

    untrained: float
    """There, of the map of an untrained model of the same shape."""

    relative_change: float
    """Norm of the change of the weights over their norm before."""

    nll_before: float
    """Nats a token of held-out text of the new kind."""

    nll: float


def tune_stage(context: Context, offset: int) -> Tune:
    """One fine-tune on other text; texts, order of training, test subjects and untrained model are of this seed."""
    tables, fit, config = context.first["city-country"], context.fit("city-country"), context.config(offset)
    train = corpus_texts(OTHER_TEXT, limit=400, seed=config.seed, split="train")
    held_out = [text[:400] for text in corpus_texts(OTHER_TEXT, limit=16, seed=config.seed, split="test")]
    tuned = fine_tune(context.loaded, train, FineTuneConfig(steps=context.scale.steps, seed=config.seed))
    other = untrained_copy(context.loaded, seed=config.seed)
    rows = np.random.default_rng(config.seed).permutation(tables.test)[: context.scale.tune_subjects]
    subjects = [tables.source.subjects[row] for row in rows]
    domains = [lincorr.PromptDomain(template=t.template, words=t.words) for t in (tables.source, tables.target)]

    def nll(model: LoadedModel) -> float:
        return float(np.mean(sequence_nll(model, held_out).per_token))

    def correlation(linear: LinearFit, source: lincorr.LogitTable, target: lincorr.LogitTable, rows: Rows) -> float:
        return float(pearson_columns(linear.predict(source.rows(rows)), target.rows(rows)).nanmean())

    every = np.arange(len(subjects))
    after = lincorr.collect(tuned, domains, subjects, config)
    source, target = (table.rows(every) for table in lincorr.collect(other, domains, subjects, config))
    return Tune(
        before=correlation(fit.linear, tables.source, tables.target, rows),
        after=correlation(fit.linear, after[0], after[1], every),
        untrained=correlation(core.solve(RidgePath(source), target, config.ridge), after[0], after[1], every),
        relative_change=relative_change(context.loaded, tuned),
        nll_before=nll(context.loaded),
        nll=nll(tuned),
    )


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
    traced = [_edit(context, relation, word, rate) for word in track(words, f"Edits of {relation}")]
    edits = [edit.outcome() for edit in lincorr.beside_others(traced)]
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


@dataclass(frozen=True, kw_only=True)
class VocabularyArm:
    """The bag-of-words block of one mapping and one kind of embeddings, by seed."""

    held_out: list[float]
    """Accuracy on names whose target was never shown."""

    taught: list[float]
    """Accuracy on the texts that were trained on."""


def vocabulary_stage(context: Context) -> dict[str, VocabularyArm]:
    """Every arm, by "mapping, embeddings"."""
    return {
        f"{mapping}, {embeddings}": _vocabulary_arm(context, mapping, embeddings)
        for embeddings in ("pretrained", "random")
        for mapping in ("true", "shuffled")
    }


def _vocabulary_arm(context: Context, mapping: FactMapping, embeddings: Embeddings) -> VocabularyArm:
    city, country = "{} lives in the city of", "{} lives in the country of"
    cities = lincorr.resolve_words(context.loaded, [source for source, _ in PAIRS])
    countries = lincorr.resolve_words(context.loaded, [target for _, target in PAIRS])
    arm = VocabularyArm(held_out=[], taught=[])
    for offset in track(range(context.scale.vocabulary_seeds), f"Vocabulary block, {mapping}, {embeddings}"):
        config = VocabularyConfig(
            mapping=mapping,
            embeddings=embeddings,
            steps=context.scale.vocabulary_steps,
            seed=context.seed + offset,
        )
        names = lincorr.vocabulary_subjects(context.loaded, context.scale.vocabulary_names, seed=config.seed)
        result = vocabulary_feed_forward(
            context.loaded, PAIRS, names, source=(city, cities), target=(country, countries), config=config
        )
        arm.held_out.append(result.accuracy.estimate)
        arm.taught.append(result.taught)
    return arm


@dataclass(frozen=True, kw_only=True)
class CompletenessStage:
    """Source words by how much of the word their token is."""

    kinds: dict[Status, lincorr.Completeness]
    advantage: Interval | None
    """Excess hit@5 of whole words less that of first words."""

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
