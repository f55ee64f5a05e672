"""Proof searches as states and tactics: Lean states with their tactics, as PropL writes them.

``state_i:`` opens a state, ``state_i_tactic_j:`` a tactic tried in it (the data of "Learn from Failure", An et al.,
2024, arXiv 2404.07382). One step each. The labels say the edges, nothing is inferred: a state supports every tactic
tried in it, which was chosen looking at it; a tactic supports the state that stands directly behind it, which it led
to. What tells of a dead end, or of the end, is supported by what stands before it. The logical graph has the same
edges turned round: a state is proved by its tactic, the tactic by the state it left.
"""

import re

from armillary.methods.ordering.readers.framing import framed
from armillary.methods.ordering.readers.graph import linked
from armillary.methods.ordering.readers.interface import Reader, Record
from armillary.methods.ordering.steps import Sample

OPENING = re.compile(r"^[ \t]*(?:state_(\d+)(?:_tactic_(\d+))?:|(no solution\b)|(proof is complete\b))", re.I | re.M)


class StateTacticReader(Reader):
    """Texts of labelled states and tactics."""

    name = "state-tactic"
    about = "state_i: and state_i_tactic_j: from a state to its tactics, from a tactic to the state it led to"

    def __call__(self, record: Record) -> Sample | None:
        """The sample; None unless a state and a tactic are labelled, in the prompt and the text together.

        A first state that stands in the prompt is no step: it is given.
        """
        frame = framed(record)
        marks = [] if frame is None else [*OPENING.finditer(frame.body)]
        if frame is None or not any(mark[2] for mark in marks):
            return None
        ends = [mark.start() for mark in marks[1:]] + [len(frame.body)]
        texts = [frame.body[mark.start() : end].strip() for mark, end in zip(marks, ends, strict=True)]
        kinds = ["return" if m[3] else "end" if m[4] else "state" if m[2] is None else "tactic" for m in marks]
        states = {mark[1]: place for place, mark in enumerate(marks) if kinds[place] == "state"}
        discovery = [set[int]() for _ in marks]
        logical = [set[int]() for _ in marks]
        for place, (mark, kind) in enumerate(zip(marks, kinds, strict=True)):
            if kind == "tactic" and mark[1] in states:
                discovery[place].add(states[mark[1]])
                if kinds[place + 1 : place + 2] != ["return"]:
                    logical[states[mark[1]]].add(place)
            elif kind == "state" and place and kinds[place - 1] == "tactic" and marks[place - 1][1] != mark[1]:
                discovery[place].add(place - 1)
                logical[place - 1].add(place)
            elif kind in ("return", "end") and place:
                discovery[place].add(place - 1)
        return linked(
            texts, discovery, premises=logical, prompt=frame.prompt, key=frame.key, kinds=kinds, inferred=False
        )
