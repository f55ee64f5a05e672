"""Worked solutions with a calculator's traces, as in GSM8K (Cobbe et al., 2021, arXiv 2110.14168): ``<<48/2=24>>``.

One step a line. An edge means that a line computes with a number that another line found, or, for the answer's line
``#### 24``, states it. Edges are inferred from equal values: a number that the problem gives is not taken from a line
that happens to find the same one.
"""

from armillary.methods.ordering.readers.framing import framed
from armillary.methods.ordering.readers.graph import linked
from armillary.methods.ordering.readers.interface import Reader, Record
from armillary.methods.ordering.readers.values import CALCULATOR, ValueLine, calculated, flow, given_in, numbers
from armillary.methods.ordering.steps import Sample

ANSWER = "####"


class CalculatorReader(Reader):
    """Texts with a calculator's brackets."""

    name = "calculator"
    about = "solutions with <<a*b=c>>: from the line that finds a number to those that use it (inferred)"

    def __call__(self, record: Record) -> Sample | None:
        """One step a line that is not empty; None for a text without a trace."""
        frame = framed(record)
        if frame is None or not CALCULATOR.search(frame.body):
            return None
        lines = [line.strip() for line in frame.body.splitlines() if line.strip()]
        suppliers = flow([line_of(line) for line in lines], given_in(frame.prompt))
        kinds = ["answer" if line.startswith(ANSWER) else "step" for line in lines]
        return linked(lines, suppliers, prompt=frame.prompt, key=frame.key, kinds=kinds)

    def rewritten(self, record: Record, sample: Sample) -> Record | None:
        """The lines in the new order."""
        frame = framed(record)
        return None if frame is None else frame.filled(record, "\n".join(step.text for step in sample.steps))


def line_of(text: str) -> ValueLine:
    """What a line takes in and gives out; the answer's line takes in what it states."""
    return ValueLine(numbers(text)[:1], ()) if text.startswith(ANSWER) else calculated(text)
