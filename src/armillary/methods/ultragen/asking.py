"""A model asked on a file of sets, some sets at a time: its scored responses, and what analyses read of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from armillary.attributes.attribute_set import Judge
from armillary.methods.ultragen.analyse.attention import (
    AttentionDilution,
    AttributeAttention,
    attention_to_attributes,
    dilution_of,
)
from armillary.methods.ultragen.analyse.counts import CountCurve, count_curve, nested_sets
from armillary.methods.ultragen.analyse.position import PositionBias, position_bias
from armillary.methods.ultragen.config import SamplingConfig
from armillary.methods.ultragen.evaluation import EvaluatedSet, scored_response
from armillary.methods.ultragen.pairing import set_seed
from armillary.methods.ultragen.sampling import outline_then_write, require_room, responses
from armillary.methods.ultragen.set_files import StoredSet, stored
from armillary.models.loaded import LoadedModel
from armillary.progress import counted
from armillary.runs.parts import Parts

SETS_AT_ONCE = 8
"""Sets of one part: about a minute for a small model on a laptop, which a kill may lose."""


@dataclass(frozen=True, kw_only=True)
class EvaluatedSets:
    """Some sets with their responses."""

    sets: list[EvaluatedSet]


def evaluated(
    loaded: LoadedModel,
    sets: Sequence[StoredSet],
    parts: Parts,
    *,
    name: str,
    k: int,
    sampling: SamplingConfig,
    seed: int,
    judge: Judge | None = None,
    outline: bool = False,
) -> list[EvaluatedSet]:
    """``k`` responses to each set's prompt, scored, or with ``outline`` one that is written behind an outline.

    Kept some sets at a time under ``name``. UsageError before anything is drawn where a prompt leaves no room.
    """
    require_room(loaded, [own.prompt for own in sets], sampling.max_new_tokens)

    def ask(start: int) -> Callable[[], EvaluatedSets]:
        def some() -> EvaluatedSets:
            chosen = sets[start : start + SETS_AT_ONCE]
            requests, own_seed = [own.prompt for own in chosen], set_seed(seed, start)
            if outline:
                texts = [[text] for text in outline_then_write(loaded, requests, config=sampling, seed=own_seed)]
            else:
                texts = responses(loaded, requests, k, config=sampling, seed=own_seed)
            return EvaluatedSets(
                sets=[
                    EvaluatedSet(
                        id=own.attributes.id,
                        responses=[
                            scored_response(own.attributes, text, reference=own.text, judge=judge) for text in row
                        ],
                    )
                    for own, row in zip(chosen, texts, strict=True)
                ]
            )

        return some

    collected: list[EvaluatedSet] = []
    with counted(name, len(sets)) as bar:
        for start in range(0, len(sets), SETS_AT_ONCE):
            collected += parts.decoded(EvaluatedSets, f"{name} from {start}", ask(start)).sets
            bar.advance(min(SETS_AT_ONCE, len(sets) - start))
    return collected


def with_prompts(sets: Sequence[StoredSet], seed: int, *, anew: bool = False) -> list[StoredSet]:
    """The sets, each with a prompt of its own in a random order where it has none, or for all where ``anew``."""
    return [
        stored(own.attributes, set_seed(seed, place), own.text) if anew or not own.prompt else own
        for place, own in enumerate(sets)
    ]


@dataclass(frozen=True, kw_only=True)
class AnalysisPlan:
    """What is analysed."""

    counts: tuple[int, ...]
    """Numbers of attributes of the curve; empty for none."""

    attention: int
    """Texts on which attention is read, at each count; 0 for none."""

    sampling: SamplingConfig
    seed: int


@dataclass(frozen=True, kw_only=True)
class Analyses:
    """Position, number of attributes and attention; None for what was not asked for or the sets don't allow."""

    bias: PositionBias
    curve: CountCurve | None
    dilution: AttentionDilution | None


def analysed(loaded: LoadedModel, sets: Sequence[StoredSet], plan: AnalysisPlan, parts: Parts) -> Analyses:
    """One response to each set in a random order, to each of its nested smaller sets, and attention on its own text.

    Only sets that have as many attributes as the largest count take part in the curve. Errors as ``evaluated``.
    """
    shuffled = with_prompts(sets, plan.seed, anew=True)
    whole = evaluated(loaded, shuffled, parts, name="position", k=1, sampling=plan.sampling, seed=plan.seed)
    placed = [response.placed for own in whole for response in own.responses]
    bias = position_bias(placed, seed=plan.seed)
    nested: dict[int, list[StoredSet]] = {count: [] for count in plan.counts}
    for place, own in enumerate(sets):
        smaller = nested_sets(own.attributes, plan.counts, seed=plan.seed) if plan.counts else {}
        if len(smaller) == len(plan.counts):
            for count, few in smaller.items():
                nested[count].append(stored(few, set_seed(plan.seed, place), own.text))
    curve = None
    if len(plan.counts) > 1 and all(nested.values()):
        csr = {
            count: [
                own.responses[0].csr
                for own in evaluated(
                    loaded, chosen, parts, name=f"{count} attributes", k=1, sampling=plan.sampling, seed=plan.seed
                )
            ]
            for count, chosen in nested.items()
        }
        curve = count_curve(csr, seed=plan.seed)
    witnesses = [
        (own.attributes, own.text)
        for chosen in (nested.values() if any(nested.values()) else [shuffled])
        for own in chosen[: plan.attention]
        if own.text
    ]
    reads = []
    with counted("attention", len(witnesses)) as bar:
        for place, (attributes, text) in enumerate(witnesses):
            reads.append(
                parts.decoded(
                    AttributeAttention,
                    f"attention {place}",
                    partial(attention_to_attributes, loaded, attributes, text, seed=plan.seed),
                )
            )
            bar.advance()
    dilution = dilution_of(reads, seed=plan.seed) if reads else None
    return Analyses(bias=bias, curve=curve, dilution=dilution)
