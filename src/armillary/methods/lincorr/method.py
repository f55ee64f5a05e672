"""LinCorr bound to a model: one relation in one call, or many relations from one collection of logits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from armillary.data import Relation, relation as shipped_relation
from armillary.errors import UsageError
from armillary.methods.lincorr.config import LinCorrConfig
from armillary.methods.lincorr.measurement import RelationTables, measure, relation_tables
from armillary.methods.lincorr.result import RelationResult, RelationScores
from armillary.methods.lincorr.tables import PromptDomain, collect
from armillary.methods.lincorr.words import (
    LEAST,
    WordTable,
    gold_columns,
    random_words,
    resolve_words,
    token_table,
    vocabulary_subjects,
)
from armillary.models import LoadedModel
from armillary.progress import track
from armillary.runs.parts import Store
from armillary.runs.settings import changed


@dataclass(frozen=True, kw_only=True)
class Study:
    """Several relations measured on the same subjects of one model, by relation id."""

    results: Mapping[str, RelationResult]
    tables: Mapping[str, RelationTables]
    skipped: Mapping[str, str]
    """Relations that this tokenizer can't express, with the reason."""

    subjects: tuple[str, ...]
    config: LinCorrConfig

    def scores(self) -> "StudyScores":
        """The scores alone, without maps and tables: what a record keeps."""
        results = {id: result.scores() for id, result in self.results.items()}
        return StudyScores(results=results, skipped=dict(self.skipped))


@dataclass(frozen=True, kw_only=True)
class StudyScores:
    """Scores by relation id, and the relations left out with the reason."""

    results: dict[str, RelationScores]
    skipped: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class _Resolved:
    relation: Relation
    source: WordTable
    target: WordTable
    control: WordTable | None

    def domains(self) -> list[PromptDomain]:
        """Source, target and, where there is one, control."""
        target = self.relation.target_template
        pairs = [(self.relation.source_template, self.source), (target, self.target), (target, self.control)]
        return [PromptDomain(template=template, words=words) for template, words in pairs if words is not None]


def lincorr(
    loaded: LoadedModel, relation: Relation | str, config: LinCorrConfig | None = None, **settings: Any
) -> RelationResult:
    """How far one linear map carries the source prompt's next-token logits to the target prompt's.

    ``relation`` is a ``Relation`` or the id of a shipped one; ``settings`` are fields of ``LinCorrConfig``, as in
    ``lincorr(model, "city-country", n=1000)``. Raises UsageError for words that this tokenizer can't say in one token
    (saying which), or more subjects than the vocabulary has; NumericError for NaN logits.
    """
    config = changed(config or LinCorrConfig(), settings, "LinCorr")
    chosen = shipped_relation(relation) if isinstance(relation, str) else relation
    outcome = study(loaded, [chosen], config)
    if chosen.id in outcome.skipped:
        raise UsageError(outcome.skipped[chosen.id])
    return outcome.results[chosen.id]


def study(
    loaded: LoadedModel,
    relations: Sequence[Relation | str],
    config: LinCorrConfig | None = None,
    *,
    subjects: Sequence[str] | None = None,
    store: Store | None = None,
) -> Study:
    """Each relation's result; the logits of all templates are collected together over the same subjects.

    ``subjects`` replaces the draw from the vocabulary. ``store`` (such as ``Parts.arrays``) keeps the logits chunk by
    chunk. A relation of which fewer than two words survive is skipped with the reason; all else raises as ``lincorr``.
    """
    config = config or LinCorrConfig()
    chosen = [shipped_relation(given) if isinstance(given, str) else given for given in relations]
    resolved, skipped = _resolve(loaded, chosen, config)
    if subjects is None:
        templates = {domain.template for parts in resolved for domain in parts.domains()}
        # Within a sentence the template has the space already.
        keep_space = config.keep_space and all(template.startswith("{}") for template in templates)
        subjects = vocabulary_subjects(loaded, config.n, seed=config.seed, keep_space=keep_space)
    tables = _collected(loaded, resolved, subjects, config, store) if resolved else {}
    results = {id: measure(tables[id], config) for id in track(tables, "fitting maps", len(tables))}
    return Study(results=results, tables=tables, skipped=skipped, subjects=tuple(subjects), config=config)


def recollect(
    loaded: LoadedModel, before: RelationTables, config: LinCorrConfig, *, store: Store | None = None
) -> RelationTables:
    """The same prompts, words and subjects read from another model that has the same tokens: for ``transfer``.

    UsageError when the tokenizers name these tokens differently.
    """
    words = [before.source.words, before.target.words]
    for table in words:
        ids = [loaded.tokenizer.convert_tokens_to_ids(token) for token in table.tokens]
        if ids != list(table.ids):
            raise UsageError(
                f"{loaded.name} has another tokenizer than {before.model_name}: its ids for these words differ, so a "
                "map fitted on one can't be used on the other."
            )
    domains = [PromptDomain(template=table.template, words=table.words) for table in (before.source, before.target)]
    source, target = collect(loaded, domains, before.source.subjects, config, store=store)
    return replace(before, model_name=loaded.name, source=source, target=target, control=None)


def _resolve(
    loaded: LoadedModel, relations: Sequence[Relation], config: LinCorrConfig
) -> tuple[list[_Resolved], dict[str, str]]:
    resolved: list[_Resolved] = []
    skipped: dict[str, str] = {}
    for relation in relations:
        if any(relation.id == other.relation.id for other in resolved):
            raise UsageError(f"the relation {relation.id!r} was given twice.")
        try:
            source = resolve_words(loaded, relation.source_words, prefix=relation.prefix, policy=config.policy)
            target = resolve_words(loaded, relation.target_words, prefix=relation.prefix, policy=config.policy)
        except UsageError as error:
            skipped[relation.id] = f"relation {relation.id}: {error}"
            continue
        control = None
        if config.control_tokens:
            own = [*source.ids, *target.ids]
            drawn = random_words(loaded, config.control_tokens, seed=config.seed, exclude=own)
            control = token_table(loaded, drawn) if len(drawn) >= LEAST else None
        resolved.append(_Resolved(relation=relation, source=source, target=target, control=control))
    return resolved, skipped


def _collected(
    loaded: LoadedModel,
    resolved: Sequence[_Resolved],
    subjects: Sequence[str],
    config: LinCorrConfig,
    store: Store | None,
) -> dict[str, RelationTables]:
    domains = [domain for parts in resolved for domain in parts.domains()]
    # The tables come back in the order of the domains.
    logits = iter(collect(loaded, domains, subjects, config, store=store))
    tables: dict[str, RelationTables] = {}
    for parts in resolved:
        source, target = next(logits), next(logits)
        three = (source, target, next(logits) if parts.control else None)
        gold = gold_columns(parts.relation.gold, parts.source, parts.target)
        tables[parts.relation.id] = relation_tables(parts.relation, loaded.name, three, gold, config)
    return tables
