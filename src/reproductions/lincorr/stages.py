"""The stages of the LinCorr reproduction on one model. Each returns plain data and is kept as a part of the run."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from armillary.data.texts.corpora import texts
from armillary.errors import UsageError
from armillary.methods.lincorr import (
    LinCorrConfig,
    RelationTables,
    Study,
    fit_relation,
    resolve_words,
    study,
    vocabulary_subjects,
)
from armillary.methods.lincorr.editing import LogitEdit, combine_edits, edit_and_trace
from armillary.methods.lincorr.gradient import gradient_correlation
from armillary.methods.lincorr.method import recollect
from armillary.methods.lincorr.resilience import by_completeness, transfer, whole_word_advantage
from armillary.methods.lincorr.result import RelationFit
from armillary.methods.lincorr.vocabulary import VocabularyConfig, vocabulary_feed_forward
from armillary.models import LoadedModel
from armillary.progress import track
from armillary.records.plain import plain
from armillary.runs.parts import Parts
from armillary.scoring import sequence_nll
from reproductions.lincorr.finetune import FineTuneConfig, fine_tune, relative_change
from reproductions.lincorr.scale import PAIRS, RATES, RELATIONS, SYMBOLS, Scale

Payload = dict[str, Any]
OTHER_TEXT = "python-reference"
"""Corpus of the fine-tune: far from geography."""


@dataclass(frozen=True)
class Laboratory:
    """One model with what the stages share; the logits of the first seed are read once."""

    loaded: LoadedModel
    scale: Scale
    seed: int
    parts: Parts

    def config(self, offset: int = 0, **changes: Any) -> LinCorrConfig:
        """Settings of one seed."""
        settings = {"n": self.scale.subjects, "seed": self.seed + offset, "replicates": self.scale.replicates}
        return LinCorrConfig(**{**settings, **changes})

    def study(self, offset: int) -> Study:
        """All relations on the subjects of one seed."""
        return study(self.loaded, RELATIONS, self.config(offset), store=self._store(f"seed {offset}"))

    def _store(self, name: str) -> Callable[[str, Callable[[], Any]], Any]:
        return lambda key, compute: self.parts.arrays(f"{name} {key}", compute)

    @cached_property
    def first(self) -> dict[str, RelationTables]:
        """Tables of the first seed, by relation."""
        return dict(self.study(0).tables)

    def fit(self, relation: str) -> RelationFit:
        """The ridge map of the first seed."""
        found: RelationFit = fit_relation(self.first[relation], self.config())
        return found


def correlations(lab: Laboratory, offset: int) -> Payload:
    """Every relation at one seed."""
    found: Payload = lab.study(offset).to_dict()
    return found


def gradients(lab: Laboratory) -> Payload:
    """Gradient correlation of every relation, on subjects left out of the fit."""
    found = {}
    for name, tables in track(lab.first.items(), "Gradients", len(lab.first)):
        subjects = [tables.source.subjects[row] for row in tables.test[: lab.scale.gradient_subjects]]
        found[name] = lab.parts.json(
            f"gradient {name}",
            partial(_gradient, lab, name, subjects),
        )
    return found


def _gradient(lab: Laboratory, name: str, subjects: list[str]) -> Payload:
    found = gradient_correlation(
        lab.loaded, lab.fit(name), subjects, targets=lab.scale.gradient_targets, seed=lab.seed
    )
    return plain(found)


def resilience(lab: Laboratory) -> Payload:
    """The old map on a copy that is fine-tuned on other text, at several steps."""
    before, fit = lab.first["city-country"], lab.fit("city-country")
    train = texts(OTHER_TEXT, limit=400, seed=lab.seed, split="train")
    held_out = [text[:400] for text in texts(OTHER_TEXT, limit=24, seed=lab.seed, split="test")]
    looks: list[Payload] = []

    def nll(model: LoadedModel) -> list[float]:
        return list(sequence_nll(model, held_out).per_token)

    def look(step: int, tuned: LoadedModel) -> None:
        moved = transfer(fit, before, recollect(tuned, before, lab.config()), lab.config())
        change = relative_change(lab.loaded, tuned)
        looks.append({"step": step, "transfer": plain(moved), "relative_change": change, "nll": nll(tuned)})

    config = FineTuneConfig(steps=lab.scale.steps, seed=lab.seed)
    base = nll(lab.loaded)
    fine_tune(lab.loaded, train, config, look, lab.scale.looks)
    return {"looks": looks, "nll_before": base, "learning_rate": config.learning_rate, "texts": len(train)}


def _words(fit: RelationFit, count: int, seed: int) -> list[str]:
    """Source words with gold, in a seeded order."""
    usable = [word for word in fit.source.entries if fit.gold[fit.source.column(word)]]
    return [usable[index] for index in np.random.default_rng(seed).permutation(len(usable))[:count]]


def _edit(lab: Laboratory, relation: str, word: str, rate: float) -> LogitEdit:
    tables = lab.first[relation]
    subjects = [tables.source.subjects[row] for row in tables.test[:2]]
    return edit_and_trace(
        lab.loaded,
        lab.fit(relation),
        word,
        subjects,
        learning_rate=rate,
        max_steps=lab.scale.edit_steps,
        seed=lab.seed,
    )


def rate(lab: Laboratory) -> Payload:
    """The smallest rate that takes on every pilot word; pilot words take no further part."""
    pilots = _words(lab.fit("city-country"), lab.scale.pilots, lab.seed)
    tried: dict[float, list[int]] = {}
    for candidate in RATES:
        done = [_edit(lab, "city-country", word, candidate) for word in pilots]
        tried[candidate] = [edit.steps for edit in done]
        if not any(edit.failed for edit in done):
            break
    return {"rate": candidate, "pilots": pilots, "steps": {f"{rate:g}": steps for rate, steps in tried.items()}}


def edits(lab: Laboratory, relation: str, chosen: Payload) -> Payload:
    """Each edit's outcome and the summary over those that took."""
    fit = lab.fit(relation)
    count = lab.scale.edits + len(chosen["pilots"])
    words = [word for word in _words(fit, count, lab.seed) if word not in chosen["pilots"]][: lab.scale.edits]
    done = [_edit(lab, relation, word, chosen["rate"]) for word in track(words, f"Edits of {relation}")]
    told = [
        {
            "source": edit.source,
            "gold": list(edit.gold),
            "before": list(edit.before),
            "after": list(edit.after),
            "steps": edit.steps,
            "failed": edit.failed,
            "success": edit.success,
            "agreement": edit.agreement,
            "weight_reference": edit.weight_reference,
            "weight_generalised": edit.weight_generalised,
            "weight_largest": edit.weight_largest,
            "standardized_reference": edit.standardized_reference,
        }
        for edit in done
    ]
    try:
        summary = combine_edits(done, len(fit.target.ids), seed=lab.seed)
    except UsageError as error:
        return {"edits": told, "summary": None, "why": str(error)}
    return {"edits": told, "summary": summary, "why": ""}


def vocabulary(lab: Laboratory) -> Payload:
    """Held-out accuracy of the bag-of-words block: mapping x embeddings x seed, and the symbolic pairs."""
    found: Payload = {}
    runs = [(mapping, embeddings) for embeddings in ("pretrained", "random") for mapping in ("true", "shuffled")]
    for mapping, embeddings in runs:
        found[f"{mapping}, {embeddings}"] = _accuracies(lab, PAIRS, mapping, embeddings)
    found["symbolic, pretrained"] = _accuracies(lab, SYMBOLS, "true", "pretrained")
    return found


def _accuracies(lab: Laboratory, pairs: tuple[tuple[str, str], ...], mapping: Any, embeddings: Any) -> list[float]:
    city, country = "{} lives in the city of", "{} lives in the country of"
    cities = resolve_words(lab.loaded, [source for source, _ in pairs])
    countries = resolve_words(lab.loaded, [target for _, target in pairs])
    values = []
    for offset in track(range(lab.scale.vocabulary_seeds), f"Vocabulary block, {mapping}, {embeddings}"):
        seed = lab.seed + offset
        names = vocabulary_subjects(lab.loaded, lab.scale.vocabulary_names, seed=seed)
        config = VocabularyConfig(mapping=mapping, embeddings=embeddings, steps=lab.scale.vocabulary_steps, seed=seed)
        result = vocabulary_feed_forward(
            lab.loaded, pairs, names, source=(city, cities), target=(country, countries), config=config
        )
        values.append(result.accuracy.estimate)
    return values


def completeness_of_words(lab: Laboratory) -> Payload:
    """hit@5 and correlation of whole-word against first-word source tokens."""
    config = lab.config(policy="first")
    found = study(lab.loaded, ["city-country"], config, store=lab._store("first words"))
    try:
        kinds = by_completeness(found.tables["city-country"], config)
        advantage = whole_word_advantage(kinds, "first-word", config)
    except (KeyError, UsageError) as error:
        return {"kinds": {}, "advantage": None, "why": str(error)}
    return {
        "kinds": kinds,
        "advantage": advantage,
        "why": "",
    }
