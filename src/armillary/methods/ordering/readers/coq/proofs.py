"""Coq proofs: one step a sentence, the statement first.

An edge means that a sentence names a hypothesis which another one introduced (``intros``, ``as``, ``assert``, ``set``,
``pose``, ``remember``, a parameter of the statement). Edges are inferred from the names; of several introductions the
nearest to the left counts whose bullets and braces are open, otherwise, unless it is one of Coq's own (``AUTOMATIC``),
the first to the right. Coq accepts no hypothesis before it is introduced, so that in a proof which it accepts an edge
to the right is a mistake of this reader.
"""

import re
from collections.abc import Iterator, Sequence

from armillary.methods.ordering.readers.coq.declarations import declarations
from armillary.methods.ordering.readers.coq.text import Sentence, introduced, named, parameters
from armillary.methods.ordering.readers.framing import framed
from armillary.methods.ordering.readers.graph import linked
from armillary.methods.ordering.readers.interface import Reader, Record
from armillary.methods.ordering.steps import Sample

AUTOMATIC = re.compile(r"[^\W\d_]+\d*'*|IH.*|H[a-z]?\d*'*")
"""Names as Coq makes them up itself (``intros`` without names leaves H, H0, n, IHn): that such a name is introduced
further right is no sign that it is meant, since an introduction to the left may not show it."""

AT_LEAST = 3
"""Sentences of a proof with its statement: two have no order that could be another."""


class CoqProofReader(Reader):
    """Texts that are one declaration with its proof; of a file, each of its proofs."""

    name = "coq-proof"
    about = "Coq proofs, sentence by sentence: from where a hypothesis is introduced to where it is named (inferred)"
    endings = (".v",)

    def __call__(self, record: Record) -> Sample | None:
        """The sample; None unless the last declaration, and no other, has a proof, of two sentences at least."""
        frame = framed(record)
        parts = [] if frame is None or "." not in frame.body else declarations(frame.body)
        if frame is None or not parts or any(len(part.sentences) > 1 for part in parts[:-1]):
            return None
        proof = parts[-1]
        steps = [sentence for sentence in proof.sentences if not sentence.focus]
        if len(steps) < AT_LEAST:
            return None
        texts = [frame.body[sentence.start : sentence.end] for sentence in steps]
        kinds = ["statement", *["tactic"] * (len(steps) - 1)]
        key = frame.key or (proof.names[0] if proof.names else "")
        return linked(texts, suppliers(proof.sentences), prompt=frame.prompt, key=key, kinds=kinds)

    def units(self, text: str) -> Iterator[str]:
        """Each proof with what stands before it, and what is left behind the last."""
        at = 0
        for part in declarations(text):
            if len(part.sentences) > 1:
                end = part.sentences[-1].end
                end = end if text[end:].strip() else len(text)
                yield text[at:end]
                at = end
        if at < len(text):
            yield text[at:]


def suppliers(sentences: Sequence[Sentence]) -> list[set[int]]:
    """Positions, from 0 and without bullets, of the sentences that introduced what each sentence names."""
    steps, paths = list[Sentence](), list[tuple[int, ...]]()
    for sentence, path in _focused(sentences):
        steps.append(sentence)
        paths.append(path)
    givers: dict[str, list[int]] = {}
    for place, step in enumerate(steps):
        for name in set(introduced(step.bare) if place else parameters(step.bare)):
            givers.setdefault(name, []).append(place)
    supports = [set[int]() for _ in steps]
    for place, step in enumerate(steps[1:], 1):
        for name in named(step.bare):
            open_here = [at for at in givers.get(name, ()) if paths[at] == paths[place][: len(paths[at])]]
            left = [at for at in open_here if at < place]
            right = [at for at in open_here if at > place] if not AUTOMATIC.fullmatch(name) else []
            supports[place].update(left[-1:] or right[:1])
    return supports


def _focused(sentences: Sequence[Sentence]) -> Iterator[tuple[Sentence, tuple[int, ...]]]:
    """The sentences that are no bullets, each with the bullets and braces that are open there, numbered."""
    marks, path = list[str](), list[int]()
    for number, sentence in enumerate(sentences):
        mark = sentence.bare
        if not sentence.focus:
            yield sentence, (*path,)
            continue
        if mark == "}":
            while marks and marks.pop() != "{":
                path.pop()
            del path[-1:]
            continue
        opening = "{" if mark.endswith("{") else mark
        inner = marks[len(marks) - marks[::-1].index("{") :] if "{" in marks else marks
        if opening != "{" and opening in inner:  # the next goal of a bullet that is open
            while marks[-1] != opening:
                marks.pop()
                path.pop()
            marks.pop()
            path.pop()
        marks.append(opening)
        path.append(number)
