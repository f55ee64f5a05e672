"""Texts made together with their graphs: multiplications in scratchpads, calculator traces, numbered arguments.

Numbers and what is added to what are drawn; equal values come by chance as they do in real texts, and nothing keeps
them out. Each text is made in the order of its computation and in a drawn one, so that support stands on both sides.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from armillary.methods.ordering.readers.interface import Record
from reproductions.ordering_readers.score import Edges


@dataclass(frozen=True)
class Made:
    """A text and the edges by which it was made, as positions in the text."""

    record: Record
    edges: Edges


def multiplications(count: int, seed: int, *, symbols: bool, shuffled: bool) -> Iterator[Made]:
    """Long multiplication, a partial product or a running sum a line; with ``symbols``, each line names its result."""
    draw = Random(seed)
    for _ in range(count):
        digits = draw.randint(2, 4)  # as the paper's task, 4 x 4 digits at most
        a, b = (draw.randint(10 ** (digits - 1), 10**digits - 1) for _ in range(2))
        lines, edges = list[str](), set[tuple[int, int]]()
        total, last_sum = 0, -1
        for place, digit in enumerate(reversed(str(b))):
            product = a * int(digit) * 10**place
            text = f"{a} * {int(digit) * 10**place} = {product}"
            lines.append(f"P_{place} = {text}" if symbols else text)
            here = len(lines) - 1
            if place == 0:
                total, last_sum = product, here
                continue
            old = "C" if last_sum else "P"
            text = f"{total} + {product} = {total + product}"
            lines.append(f"C_{place} = {old}_{place - 1} + P_{place} = {total + product}" if symbols else text)
            edges |= {(last_sum, here + 1), (here, here + 1)}
            total, last_sum = total + product, here + 1
        yield _written(f"{a} * {b} =", lines, edges, draw if shuffled else None)


SIGNS = ("+", "-", "*")


def calculations(count: int, seed: int, *, shuffled: bool) -> Iterator[Made]:
    """Solutions with calculator traces, as of word problems: each line takes given numbers and earlier results."""
    draw = Random(seed)
    for _ in range(count):
        given = [draw.randint(2, 60) for _ in range(draw.randint(2, 5))]
        lines, edges, results = list[str](), set[tuple[int, int]](), list[int]()
        for here in range(draw.randint(3, 7)):  # lines of a solution in GSM8K, most of them
            operands = list[int]()
            for _ in range(2):
                # Two thirds of the operands of such solutions are results; the rest is given.
                if results and draw.random() < 2 / 3:
                    source = draw.randrange(len(results))
                    operands.append(results[source])
                    edges.add((source, here))
                else:
                    operands.append(draw.choice(given))
            sign = draw.choice(SIGNS)
            if sign == "-":
                operands.sort(reverse=True)
            left, right = operands
            value = {"+": left + right, "-": left - right, "*": left * right}[sign]
            if value > 10**6:  # grows beyond what word problems hold
                sign, value = "+", left + right
            lines.append(f"This gives {left} {sign} {right} = <<{left}{sign}{right}={value}>>{value} in all.")
            results.append(value)
        question = f"There are {', '.join(map(str, given))}. How many are there in the end?"
        yield _written(question, lines, edges, draw if shuffled else None)


REASONS = ("By {}, this follows.", "From {} we get the claim.", "Using {} again, it holds.", "It is so, as {} show.")
CHATTER = ("There are 12 cases.", "Let n = 7 (4 of them matter).", "In 3 of the cases nothing changes.", "")


def arguments(count: int, seed: int, *, shuffled: bool) -> Iterator[Made]:
    """Numbered steps that name earlier ones in one of several forms, among other numbers that name none."""
    draw = Random(seed)
    for _ in range(count):
        steps = draw.randint(3, 10)
        bracketed = draw.random() < 0.5
        texts, edges = list[str](), set[tuple[int, int]]()
        for here in range(steps):
            sources = sorted(draw.sample(range(here), min(here, draw.randint(0, 3))))
            edges |= {(source, here) for source in sources}
            names = [f"({source + 1})" if bracketed else str(source + 1) for source in sources]
            listed = ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else "".join(names)
            listed = listed if bracketed else f"step{'s' if len(names) > 1 else ''} {listed}"
            reason = draw.choice(REASONS if not bracketed else REASONS[:3]).format(listed) if sources else "Given."
            label = f"({here + 1})" if bracketed else f"Step {here + 1}:"
            texts.append(f"{label} {draw.choice(CHATTER)} {reason}")
        yield _written("Show it.", texts, edges, draw if shuffled else None)


def _written(prompt: str, lines: list[str], edges: Edges, draw: Random | None) -> Made:
    order = list(range(len(lines)))
    if draw is not None:
        draw.shuffle(order)
    places = {at: place for place, at in enumerate(order)}
    text = "\n".join(lines[at] for at in order)
    return Made({"prompt": prompt, "completion": text}, {(places[u], places[v]) for u, v in edges})
