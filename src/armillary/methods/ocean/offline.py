"""What the commands do with logged chains: mark their entities, train the graph's policy, value a model, align one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from armillary.errors import UsageError
from armillary.files import digest_of, whole_folder
from armillary.graphs import Lexicon
from armillary.methods.ocean.chains.graph_choice import ChosenGraph
from armillary.methods.ocean.chains.phrases import spoken
from armillary.methods.ocean.chains.reading import WrittenChain
from armillary.methods.ocean.config import Logging
from armillary.methods.ocean.estimate import Estimate, Resampling
from armillary.methods.ocean.policy.training import PolicyConfig, train_kg_policy
from armillary.methods.ocean.policy.verbalising import Templates, sample_paths, verbalise
from armillary.methods.ocean.rows import read_chains, token_rows
from armillary.methods.ocean.scores import ScoredChains, score_chains
from armillary.models.loaded import LoadedModel
from armillary.models.loading import load
from armillary.models.prompts import chat_text
from armillary.models.quiet import quiet
from armillary.numerics.intervals import Interval, paired_difference
from armillary.runs.parts import Parts
from armillary.runs.settings import Opening

POLICY = "kg_policy"
"""Folder of the graph's policy, within that of the run."""

ChainRow = Mapping[str, object]
"""A row as ``rows.read_chains`` takes it."""


def logged_rows(
    chains: Sequence[WrittenChain],
    loaded: LoadedModel,
    lexicon: Lexicon | None,
    *,
    logged_by: Logging,
    plain_prompts: bool = False,
) -> list[ChainRow]:
    """The chains with their entities marked, prompts in the model's chat template where it has one.

    Spans that a row brings count, and whom it names as its writer; other spans come from the lexicon. UsageError for a
    row without spans where there is no lexicon, and where no chain has an entity.
    """
    rows: list[ChainRow] = []
    marked = 0
    for chain in chains:
        spans = chain.entity_spans
        if spans is None:
            if lexicon is None:
                raise UsageError(f"{chain.where} has no entity_spans; give them, or a graph (--kg) to find them by.")
            spans = tuple(tuple((m.start, m.end) for m in lexicon.link(step)) for step in chain.steps)
        marked += sum(map(len, spans))
        rows.append(
            {
                "prompt": as_prompt(loaded, chain.prompt, plain=plain_prompts),
                "steps": list(chain.steps),
                "entity_spans": [list(own) for own in spans],
                "logging": chain.logging or logged_by,
            }
        )
    if not marked:
        raise UsageError("no chain names an entity of the graph, so that the graph has no part in any value.")
    return rows


def as_prompt(loaded: LoadedModel, prompt: str, *, plain: bool) -> str:
    """The prompt in the model's chat template, unless it has none or ``plain`` is told."""
    return chat_text(loaded, prompt) if loaded.tokenizer.chat_template and not plain else prompt


@dataclass(frozen=True, kw_only=True)
class PolicyPlan:
    """How the graph's policy is made of random paths."""

    paths: int
    hops: tuple[int, ...]
    training: PolicyConfig
    plain_prompts: bool = False


def trained_graph_policy(
    name: str, opening: Opening, chosen: ChosenGraph, plan: PolicyPlan, parts: Parts, folder: Path
) -> LoadedModel:
    """A copy of the model ``name`` tuned on sentences of random paths, kept under ``folder``; read from there after.

    What is there already may be of another graph: it is taken only where ``parts`` know it as this run's. Every path
    is a fact after a fact of the graph, said by templates, so that each is worth 1. A killed training goes on from its
    last checkpoint.
    """
    target = folder / POLICY
    if not (target.is_dir() and parts.has(f"{POLICY} {digest_of(target)}")):
        loaded = load(name, **opening)
        patterns = {relation: [spoken(own[0])] for relation, own in chosen.phrases.patterns.items()}
        seed = plan.training.seed
        paths = sample_paths(chosen.graph, plan.paths, plan.hops, seed=seed)
        chains = verbalise(chosen.graph, paths, Templates(sentences=patterns), questions=1, seed=seed)
        prompted = [
            replace(one, questions=tuple(as_prompt(loaded, text, plain=plan.plain_prompts) for text in one.questions))
            for one in chains
        ]
        checkpoints = None if parts.folder is None else parts.folder / "policy-checkpoints"
        made = train_kg_policy(loaded, prompted, np.ones(len(prompted)), plan.training, checkpoints=checkpoints)
        with quiet(), whole_folder(target, replace=True) as saved:
            made.model.save_pretrained(saved)
            loaded.tokenizer.save_pretrained(saved)
        parts.json(f"{POLICY} {digest_of(target)}", lambda: True)
    # Read back whether it was trained now or before a kill, so that both go on alike.
    return load(
        str(target), dtype=opening["dtype"], device=opening["device"], trust_remote_code=opening["trust_remote_code"]
    )


def require_vocabulary_of(target: LoadedModel, other: LoadedModel, name: str) -> None:
    """UsageError where the other model, called ``name``, has other words, whose probabilities are of other texts."""
    if other.tokenizer.get_vocab() != target.tokenizer.get_vocab():
        raise UsageError(f"the {name} has another vocabulary than {target.name}; give one of the same.")


@dataclass(frozen=True, kw_only=True)
class OfflineValue:
    """A model's value by logged chains, by several estimators, beside the base policy's own."""

    estimates: tuple[Estimate, ...]
    """The paper's first."""

    base: Estimate
    """The base policy's own value on the same chains: all its weights are those of the graph alone."""

    gain: Interval
    """The model's terms minus the base policy's, over chains, by the paper's estimator."""


def valued(
    target: LoadedModel,
    base: LoadedModel,
    kg: LoadedModel,
    rows: Sequence[ChainRow],
    *,
    clip: float,
    propensity_floor: float | None,
    max_length: int | None,
    seed: int,
) -> OfflineValue:
    """The values. UsageError for other vocabularies, no chain short enough, and tokens without support."""
    for name, other in (("base policy", base), ("graph's policy", kg)):
        require_vocabulary_of(target, other, name)
    tokens = token_rows(target.tokenizer, read_chains(rows), max_length=max_length)
    scored = score_chains(target.model, base.model, kg.model, tokens.rows, propensity_floor=propensity_floor)
    resampling = Resampling(seed=seed)

    def of(chains: ScoredChains, **settings: bool | float) -> Estimate:
        return chains.estimate(propensity_floor=propensity_floor, resampling=resampling, **settings)  # type: ignore[arg-type]

    paper, own = of(scored), of(replace(scored, logp_target=scored.logp_base))
    estimates = (
        paper,
        of(scored, clip=clip),
        of(scored, self_normalized=True),
        of(scored, per_decision=True),
        scored.doubly_robust(propensity_floor=propensity_floor, resampling=resampling),
    )
    gain = paired_difference(
        paper.per_chain, own.per_chain, seed=seed, how=f"paired bootstrap over {paper.chains:,} chains"
    )
    return OfflineValue(estimates=estimates, base=own, gain=gain)
