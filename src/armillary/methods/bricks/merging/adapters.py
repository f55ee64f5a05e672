"""Several low-rank bricks joined into one: weighted sums exactly, other rules as their nearest low-rank change.

A sum of LoRAs is a LoRA of the sum of their ranks, so averages and task arithmetic lose nothing, whatever the ranks
and target modules. TIES and DARE give full matrices, which are kept whole; a lower rank (by SVD) would undo what they
leave out, so it is taken only where it loses almost nothing.

Legend: T bricks, R rank, I inputs, O outputs of a matrix, N entries of a block.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import torch
from torch import Tensor

from armillary.errors import UsageError
from armillary.methods.bricks.base import BaseRef
from armillary.methods.bricks.brick import Brick, BrickMeta, Provenance
from armillary.methods.bricks.library.peft import stated_base
from armillary.methods.bricks.low_rank import Factors, compressed, distance, factored, norm, weighted_sum
from armillary.methods.bricks.merging.rules import MergeRule
from armillary.methods.bricks.merging.streaming import BLOCK, Merger, SquaredError
from armillary.methods.bricks.payloads import LowRank, Site
from armillary.models.adapters.stated_base import StatedBase, same_model
from armillary.records.plain import plain
from armillary.runs.environment import versions

MOST_LOST = 0.05
"""Relative distance from what TIES or DARE gave at which a lower rank is refused: beyond it the result is neither."""


@dataclass(frozen=True, kw_only=True)
class MergeReport:
    """What a merge did. Errors are computed over all entries, in float64; they are no estimates."""

    rule: MergeRule
    ranks: Mapping[str, int]
    """Rank of the result, by module path."""

    error: float | None
    """Relative Frobenius distance of the result, as stored, from the exact weighted sum by ``rule.coefficients``; None
    where that sum is zero."""

    compression_error: float | None
    """Relative Frobenius distance of the result, as stored, from what the rule gave before it got its rank."""

    worst_module: str
    """Where the distance is largest."""

    worst_error: float | None
    """The relative distance there."""

    different_base: str | None
    """What differed between the bases, where that was allowed."""


@dataclass(frozen=True, kw_only=True)
class Merged:
    """A merged brick with what is known of the merge."""

    brick: Brick
    report: MergeReport


def merge(
    bricks: Sequence[Brick],
    method: str = "average",
    *,
    weights: Sequence[float] | None = None,
    density: float | None = None,
    scale: float = 1.0,
    rank: int | None = None,
    seed: int = 0,
    name: str | None = None,
    allow_different_base: bool = False,
) -> Merged:
    """One brick for several low-rank ones of the same base, and the error against the exact weighted sum.

    ``rank`` bounds the rank per module; without it nothing is lost: averages and task arithmetic have the sum of
    ranks, TIES and DARE the rank of the full matrices that they give. A module that a brick does not change counts as
    unchanged by it. ``ties_global`` trims over all modules that any of the bricks changes.

    Raises:
        UsageError: fewer than one brick, payloads that are not low-rank, bases that differ (both fingerprints and the
            first difference are named; with ``allow_different_base`` only shapes and tokenizer must agree, and the
            result says so), settings that ``MergeRule.of`` refuses, a rank below 1, or one that loses more of TIES
            or DARE than ``MOST_LOST``.
        NumericError: numbers that are not finite arise in the merge.
    """
    if not bricks or not all(isinstance(brick.payload, LowRank) for brick in bricks):
        kinds = ", ".join(type(brick.payload).__name__ for brick in bricks) or "nothing"
        raise UsageError(f"a merge takes one or more low-rank bricks; got {kinds}.")
    if rank is not None and rank < 1:
        raise UsageError(f"the rank of a merged brick must be 1 or more; got {rank}.")
    rule = MergeRule.of(method, len(bricks), weights=weights, density=density, scale=scale, seed=seed)
    different = check_bases(bricks, allow_different_base)
    sites = _united(bricks)
    terms = _Terms([brick.payload for brick in bricks if isinstance(brick.payload, LowRank)], sites)
    factors, errors, lost = _joined(rule, terms, rank)
    total, squeezed = SquaredError.total(errors.values()), SquaredError.total(lost.values())
    if not rule.how.is_sum and (squeezed.relative or 0.0) > MOST_LOST:
        raise UsageError(
            f"a rank of {rank} holds what {method} gives only to a relative distance of {squeezed.relative:.2g} (at "
            f"most {MOST_LOST:g} is taken), so it would be no {method}; give a larger one, or none to keep all of it."
        )
    worst = max(errors, key=lambda path: errors[path].wrong)
    report = MergeReport(
        rule=rule,
        ranks={path: len(a_RI) for path, (a_RI, _) in factors.items()},
        error=total.relative,
        compression_error=squeezed.relative,
        worst_module=worst,
        worst_error=errors[worst].relative,
        different_base=different,
    )
    return Merged(brick=_brick(bricks, sites, LowRank(factors), report, name), report=report)


def check_bases(bricks: Sequence[Brick], allow_different: bool) -> str | None:
    """The first difference of the bricks' bases where that is allowed, None where there is none; else UsageError.

    Beside the tensors that two bricks both touch, the names count that adapters give to their bases: a name that is
    known to be another model's, or that can't be verified and differs from another adapter's.
    """
    allowed: list[str] = []
    for first, second in combinations(bricks, 2):
        sentence = first.base.mismatch(second.base, f"the brick {first.name!r}", f"the base of {second.name!r}")
        if sentence is None and not first.base.touched.keys() & second.base.touched.keys():
            names = [brick.meta.provenance.base for brick in (first, second)]
            if all(names) and same_model(names[0], "", names[1]) != "same":
                sentence = f"the brick {first.name!r} was made for {names[0]}, {second.name!r} for {names[1]}."
        if sentence is None:
            continue
        if first.base.tokenizer != second.base.tokenizer:
            raise UsageError(
                f"{sentence} Their tokenizers differ; bring them to one with a tokenizer transplant tool."
            )
        if not allow_different or not first.base.same_shape(second.base):
            raise UsageError(sentence)
        allowed.append(sentence)
    for brick, base in _stated(bricks):
        others = [
            f"{other.name!r} on {its.name}"
            for other, its in _stated(bricks)
            if same_model(base.name, base.revision, its.name, its.revision) != "same"
        ]
        if base.verdict == "different" or (base.verdict == "not verifiable" and others):
            sentence = f"the brick {brick.name!r} was trained on {base.words}"
            sentence += f", the brick {others[0]}." if others else "."
            if not allow_different:
                raise UsageError(f"{sentence} Adapters of different bases don't add up, unless that is allowed.")
            allowed.append(sentence)
    return allowed[0] if allowed else None


def _stated(bricks: Sequence[Brick]) -> list[tuple[Brick, StatedBase]]:
    """The bases that adapters' folders name."""
    bases = [(brick, stated_base(brick)) for brick in bricks]
    return [(brick, base) for brick, base in bases if base is not None and base.name]


class _Terms:
    """The bricks' changes of each module, as factors and as blocks of rows."""

    def __init__(self, payloads: Sequence[LowRank], sites: Mapping[str, Site]) -> None:
        self.payloads, self.sites = payloads, sites

    @property
    def names(self) -> Sequence[str]:
        return list(self.sites)

    def factors(self, path: str) -> list[tuple[int, Factors]]:
        """Index of the brick and its factors, for the bricks that change the module."""
        return [(index, low.factors[path]) for index, low in enumerate(self.payloads) if path in low.factors]

    def blocks(self, path: str) -> Iterator[Tensor]:
        site, factors = self.sites[path], self.factors(path)
        step = max(1, BLOCK // (site.inputs * len(self.payloads)))
        for start in range(0, site.outputs, step):
            stop = min(start + step, site.outputs)
            block = torch.zeros(len(self.payloads), (stop - start) * site.inputs, dtype=torch.float64)
            for index, (a_RI, b_OR) in factors:
                block[index] = (b_OR[start:stop].double() @ a_RI.double()).reshape(-1)
            yield block


def _joined(
    rule: MergeRule, terms: _Terms, rank: int | None
) -> tuple[dict[str, Factors], dict[str, SquaredError], dict[str, SquaredError]]:
    """Factors in float32, and by module the squares of the error and of what compression lost."""
    factors: dict[str, Factors] = {}
    errors: dict[str, SquaredError] = {}
    lost: dict[str, SquaredError] = {}
    merger = None if rule.how.is_sum else Merger(rule, terms)
    for path in terms.names:
        changes = terms.factors(path)
        exact = weighted_sum([factors for _, factors in changes], [rule.coefficients[index] for index, _ in changes])
        size = norm(*exact)
        # Where the terms cancel only their rounding is left, and nothing can be measured against that.
        whole = size**2 if size > 1e-12 * float(exact[0].norm() * exact[1].norm()) else 0.0
        if merger is None:
            kept = (
                exact
                if rank is None or rank >= len(exact[0])
                else compressed(*exact, min(rank, exact[0].shape[1], exact[1].shape[0]))[0]
            )
            factors[path] = _float32(kept)
            errors[path] = SquaredError(distance(factors[path], exact) ** 2, whole)
            lost[path] = errors[path]
            continue
        site = terms.sites[path]
        dense_OI = torch.cat([block for _, block in merger.blocks(path)]).reshape(site.outputs, site.inputs)
        factors[path] = _float32(factored(dense_OI, None if rank is None else min(rank, *dense_OI.shape))[0])
        stored_OI = factors[path][1].double() @ factors[path][0].double()
        lost[path] = SquaredError()
        lost[path].add(stored_OI, dense_OI)
        errors[path] = SquaredError(float((stored_OI - exact[1] @ exact[0]).square().sum()), whole)
    return factors, errors, lost


def _float32(factors: Factors) -> Factors:
    return factors[0].float().contiguous(), factors[1].float().contiguous()


def _united(bricks: Sequence[Brick]) -> dict[str, Site]:
    sites: dict[str, Site] = {}
    for brick in bricks:
        for site in brick.sites:
            known = sites.setdefault(site.path, site)
            if (known.inputs, known.outputs, known.transposed) != (site.inputs, site.outputs, site.transposed):
                raise UsageError(f"{site.path} has another shape in {brick.name!r} than in a brick before it.")
    return dict(sorted(sites.items()))


def _brick(
    bricks: Sequence[Brick], sites: Mapping[str, Site], payload: LowRank, report: MergeReport, name: str | None
) -> Brick:
    licences = sorted({brick.meta.provenance.licence for brick in bricks} - {""})
    touched = {tensor: value for brick in reversed(bricks) for tensor, value in brick.base.touched.items()}
    provenance = Provenance(
        method=f"merge: {report.rule.method}",
        base=bricks[0].meta.provenance.base,
        data=f"{len(bricks)} bricks",
        licence="; ".join(licences),
        seed=report.rule.seed if report.rule.how.is_random else None,
        versions=versions(),
    )
    base: BaseRef = replace(bricks[0].base, touched=dict(sorted(touched.items())))
    return Brick(
        name=name or f"{report.rule.method} of {', '.join(brick.name for brick in bricks)}",
        origin="customised",
        kind="task" if all(brick.kind == "task" for brick in bricks) else "knowledge",
        granularity="adapter",
        base=base,
        sites=tuple(sites.values()),
        payload=payload,
        meta=BrickMeta(provenance=provenance, notes={"merge": plain(report)}),
        parents=tuple(brick.id for brick in bricks),
    )
