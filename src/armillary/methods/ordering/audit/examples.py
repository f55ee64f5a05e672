"""Samples as a page shows them: as they are written beside the proposed order, with what moved and what waits."""

from bisect import bisect
from dataclasses import dataclass
from typing import Self

from armillary.methods.ordering.audit.tally import OrderExample
from armillary.methods.ordering.steps import Sample
from armillary.records.sections import PlacedStep

MOST_STEPS = 16
"""Steps that fit a screen beside each other; of longer samples only what moves is shown."""

MOST_LETTERS, MOST_LINES = 280, 6
"""Of a step that are shown: some six lines of a column."""

MOST_NAMED = 4
"""Supports of a step that are named beside it."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What is shown of a sample, known before it is shown: most samples never are."""

    sample: Sample
    proposed: list[int]
    """Positions of the steps in the proposed order."""

    needs: dict[int, list[int]]
    """For each step that stands too early the positions of its supports to the right."""

    moved: set[int]
    steps: set[int]
    """Positions of the steps that are shown."""

    rank: tuple[int, int, int, int]
    """See ``OrderExample.rank``."""

    @classmethod
    def of(cls, sample: Sample, proposed: list[int], late: list[tuple[int, int]]) -> Self:
        """``late``: pairs (step, support) whose support stands to the right, one at least."""
        needs = dict[int, list[int]]()
        for at, support in late:
            needs.setdefault(at, []).append(support)
        moved = set(range(len(proposed))) - stayed(proposed)
        farthest, waiting = max((support - at, at) for at, support in late)
        steps, group = set(range(len(proposed))), 0
        if len(steps) > MOST_STEPS:
            steps, group = {*moved, *needs, *(support for _, support in late)}, 1
        if len(steps) > MOST_STEPS:
            steps, group = {waiting, *sorted(needs[waiting])[-MOST_NAMED:]}, 2
        # Of samples that reach equally far the one with the fewest late supports shows it most clearly.
        rank = (group, -farthest, len(late), sum(len(step.text) for step in sample.steps))
        return cls(sample=sample, proposed=proposed, needs=needs, moved=moved, steps=steps, rank=rank)

    def example(self, where: str, edges: int) -> OrderExample:
        """Both columns; ``edges`` are all of the sample."""
        places = [0] * len(self.proposed)
        for place, at in enumerate(self.proposed):
            places[at] = place
        written = list(range(len(places)))
        return OrderExample(
            where=where,
            prompt=shortened(self.sample.prompt, 2 * MOST_LETTERS, 2 * MOST_LINES),
            late=sum(map(len, self.needs.values())),
            edges=edges,
            farthest=-self.rank[1],
            rank=self.rank,
            before=self._column(written, written, places, self.needs),
            after=self._column(self.proposed, places, written, {}),
        )

    def _column(
        self, line: list[int], own: list[int], other: list[int], needs: dict[int, list[int]]
    ) -> list[PlacedStep]:
        result, skipped = list[PlacedStep](), 0
        for at in line:
            if at not in self.steps:
                skipped += 1
                continue
            if skipped:
                result.append(PlacedStep(skipped=skipped))
            skipped = 0
            text = shortened(self.sample.steps[at].text, MOST_LETTERS, MOST_LINES)
            note = _note(at, needs[at]) if at in needs else ""
            result.append(
                PlacedStep(text=text, place=own[at] + 1, other=other[at] + 1, moved=at in self.moved, note=note)
            )
        return [*result, PlacedStep(skipped=skipped)] if skipped else result


def _note(at: int, supports: list[int]) -> str:
    """What a step lacks where it stands, in words."""
    far = max(supports) - at
    if len(supports) == 1:
        return f"needs step {supports[0] + 1}, {far} below"
    shown = ", ".join(str(support + 1) for support in sorted(supports)[-MOST_NAMED:])
    others = f"{len(supports) - MOST_NAMED} more and " if len(supports) > MOST_NAMED else ""
    return f"needs steps {others}{shown}, up to {far} below"


def stayed(proposed: list[int]) -> set[int]:
    """The most steps that keep their order among themselves: a longest increasing subsequence. The others moved."""
    tails, previous = list[int](), dict[int, int]()
    for at in proposed:
        place = bisect(tails, at)
        if place:
            previous[at] = tails[place - 1]
        if place == len(tails):
            tails.append(at)
        tails[place] = at
    kept = set(tails[-1:])
    while tails and tails[-1] in previous:
        tails.append(previous[tails[-1]])
        kept.add(tails[-1])
    return kept


def shortened(text: str, letters: int, lines: int) -> str:
    """A text of no more than some ``letters`` and ``lines``: what is left out of its middle is an ellipsis."""
    rows = text.split("\n")
    if len(rows) > lines:
        text = "\n".join([*rows[: lines - 2], "…", rows[-1]])
    if len(text) <= letters:
        return text
    return f"{text[: letters * 3 // 4].rstrip()} … {text[-(letters // 4) :].lstrip()}"
