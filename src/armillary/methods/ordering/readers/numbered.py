"""Numbered steps that give their reasons as "by (3)", "from steps 2 and 4".

One step a number. An edge means that a step refers to another one's number, uses a symbol that the other defines, or
computes with a number that the other found. Edges are inferred.
"""

from armillary.methods.ordering.readers.framing import framed
from armillary.methods.ordering.readers.graph import linked
from armillary.methods.ordering.readers.in_place import in_place
from armillary.methods.ordering.readers.interface import Reader, Record
from armillary.methods.ordering.readers.prose import labelled, prose_suppliers
from armillary.methods.ordering.readers.values import CALCULATOR, given_in
from armillary.methods.ordering.steps import Sample

AT_LEAST = 2
"""Numbered steps: one alone has no order."""


class NumberedReader(Reader):
    """Texts in which steps begin with a number of their own."""

    name = "numbered"
    about = "numbered steps: from the steps that a step names (by (3), from step 2) or takes values from (inferred)"

    def __call__(self, record: Record) -> Sample | None:
        """The sample; None unless two steps at least have different numbers, or where there are calculator traces.

        The id of a step is its number. What stands before the first is part of the prompt; numbers may stand in any
        order, but one that comes twice does not begin a step again (a list inside a step).
        """
        frame = framed(record)
        if frame is None or CALCULATOR.search(frame.body):
            return None
        intro, steps = numbered_steps(frame.body)
        if len(steps) < AT_LEAST:
            return None
        prompt = "\n".join(part for part in (frame.prompt, intro) if part)
        texts = [whole for _, whole, _ in steps]
        labels = [label for label, _, _ in steps]
        suppliers = prose_suppliers([bare for _, _, bare in steps], labels, given_in(prompt))
        return linked(texts, suppliers, prompt=prompt, key=frame.key, ids=labels)

    def rewritten(self, record: Record, sample: Sample) -> Record | None:
        """The steps in the new order, each with the number that it had, so that what refers to it stays true."""
        frame, read = framed(record), self(record)
        if frame is None or read is None:
            return None
        body = in_place(frame.body, [step.text for step in read.steps], [step.text for step in sample.steps])
        return None if body is None else frame.filled(record, body)


def numbered_steps(text: str) -> tuple[str, list[tuple[str, str, str]]]:
    """What stands before the first number, and of each step its number, its text, and its text without the number."""
    intro, steps = list[str](), list[tuple[str, list[str], list[str]]]()
    seen = set[str]()
    for line in text.splitlines():
        label = labelled(line)
        if label is not None and label[0] not in seen:
            seen.add(label[0])
            steps.append((label[0], [line], [label[1]]))
        elif steps:
            steps[-1][1].append(line)
            steps[-1][2].append(line)
        elif line.strip():
            intro.append(line)
    return "\n".join(intro), [(label, "\n".join(w).strip(), "\n".join(b).strip()) for label, w, b in steps]
