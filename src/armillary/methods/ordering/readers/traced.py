"""Traced proofs, as LeanDojo writes them (Yang et al., 2023, arXiv 2306.15626): each tactic with both its states.

A row has ``traced_tactics`` with "tactic", "state_before" and "state_after". Two steps a tactic: the state before it,
and the tactic. The trace says the edges, nothing is inferred: a state supports its tactic; a tactic supports each
state whose first goal it left behind and did not find there, goals being the same where their texts are. Logically a
tactic is a premise of the state it was used in, and the states it led to are premises of the tactic.
"""

from collections.abc import Mapping, Sequence

from armillary.errors import UsageError
from armillary.methods.ordering.readers.framing import key_of, prompt_of
from armillary.methods.ordering.readers.graph import linked
from armillary.methods.ordering.readers.interface import Reader, Record
from armillary.methods.ordering.steps import Sample

FIELDS = ("tactic", "state_before", "state_after")


class TracedReader(Reader):
    """Rows with traced tactics."""

    name = "traced"
    about = "rows with traced_tactics (LeanDojo): from a state to its tactic, from a tactic to the states it led to"

    def __call__(self, record: Record) -> Sample | None:
        """The sample; None for a row without traced tactics."""
        trace = None if isinstance(record, str) else record.get("traced_tactics")
        if isinstance(record, str) or not isinstance(trace, Sequence) or isinstance(trace, str) or not trace:
            return None
        rows = [_fields(place, row) for place, row in enumerate(trace)]
        texts, kinds, ids = list[str](), list[str](), list[str]()
        discovery = [set[int]() for _ in range(2 * len(rows))]
        logical = [set[int]() for _ in range(2 * len(rows))]
        left_by: dict[str, int] = {}
        for place, (tactic, before, after) in enumerate(rows):
            goals, left = _goals(before), _goals(after)
            for goal in left:
                if goal not in goals:
                    left_by.setdefault(goal, place)
            texts += [before, tactic]
            kinds += ["state", "tactic"]
            ids += [f"state {place}", f"tactic {place}"]
        for place, (_, before, _) in enumerate(rows):
            state, tactic_at = 2 * place, 2 * place + 1
            discovery[tactic_at].add(state)
            logical[state].add(tactic_at)
            maker = left_by.get(next(iter(_goals(before)), ""))
            if maker is not None and maker != place:
                discovery[state].add(2 * maker + 1)
                logical[2 * maker + 1].add(state)
        return linked(
            texts,
            discovery,
            premises=logical,
            prompt=prompt_of(record),
            key=key_of(record),
            kinds=kinds,
            ids=ids,
            inferred=False,
        )


def _fields(place: int, row: object) -> tuple[str, str, str]:
    values = [row.get(name) if isinstance(row, Mapping) else None for name in FIELDS]
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) < len(FIELDS):
        raise UsageError(
            f"entry {place} of traced_tactics has no texts for {', '.join(FIELDS)}; each needs all three."
        )
    return texts[0], texts[1], texts[2]


def _goals(state: str) -> list[str]:
    return [goal.strip() for goal in state.split("\n\n") if goal.strip() and goal.strip() != "no goals"]
