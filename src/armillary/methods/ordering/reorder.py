"""Rows of steps to rows that are trained on, in a chosen order: a function for ``datasets.Dataset.map``.

    rows.map(Reorder(order="seq"), num_proc=4)
    rows.map(Reorder(order="swap:0.25", seed=3), batched=True)

What comes out depends on the row and the settings alone, so that any number of processes gives the same, and the
fingerprint by which ``datasets`` finds its cache stays the same from one session to the next.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from armillary.errors import UsageError
from armillary.methods.ordering.measures import metrics
from armillary.methods.ordering.orders import OrderFunction, order, permutation
from armillary.methods.ordering.readers.framing import prompt_of
from armillary.methods.ordering.readers.interface import Reader
from armillary.methods.ordering.readers.plain import PlainReader
from armillary.methods.ordering.steps import GraphKind, Sample

Row = Mapping[str, object]
TokenSpans = Callable[[str], Iterable[tuple[int, int]]]
"""From a text to the first character of each of its tokens and the one behind its last."""


@dataclass(frozen=True, kw_only=True)
class Reorder:
    """The steps of a row, or of a batch of rows, written in another order.

    A row gets the columns ``prompt`` and ``completion`` (which TRL reads), or ``text``, and beside them ``order`` (its
    name) and ``vf`` (the share of its dependencies that point to the right in that order; None where it has none).
    """

    order: str | OrderFunction = "seq"
    """Name of an order (see ``orders.order``), or a function from a sample to the positions of its steps."""

    steps_field: str = "steps"
    """Column with a list of steps: texts, or objects with "text" and perhaps "id", "kind", "deps", "premises"."""

    deps_field: str = "deps"
    """Column with the dependencies, one list a step, of positions from 0 or of ids."""

    prompt_field: str = ""
    """Column with what the steps answer; by default the first of prompt, question, problem ... that is there."""

    sep: str = "\n"
    """What stands between two steps."""

    seed: int = 0
    columns: Literal["completion", "text"] = "completion"
    """completion: prompt and completion each by itself; text: both in one, with ``sep`` between them."""

    graph: GraphKind = "discovery"
    """Of which graph ``vf`` is told."""

    reader: Reader | None = None
    """Reads rows of another format (see ``readers``); the three fields above then say nothing."""

    token_spans: TokenSpans | None = None
    """Spans of a tokenizer, such as ``lambda text: tokenizer(text, return_offsets_mapping=True)["offset_mapping"]``.
    With it a warning tells where a token reaches over the border of two steps: in another order other tokens would
    come out, and two orders would not be of the same tokens. A longer ``sep`` parts them."""

    def __post_init__(self) -> None:
        nothing, given = Sample("", ()), (self.columns, self.reader)
        if isinstance(self.order, str):
            permutation(nothing, self.order)
        nothing.supports(self.graph)
        if given[0] not in ("completion", "text"):
            raise UsageError(f"columns must be completion or text, got {given[0]!r}.")
        if isinstance(given[1], str):
            raise UsageError(f"reader is a text; give the reader of that name, reader({given[1]!r}).")

    def __call__(self, row: Row) -> dict[str, object]:
        """The new columns of a row; of a batch (a list for each column) lists of them.

        Raises:
            UsageError: the row holds no steps, they are no sample, or the order is none.
        """
        if not self._is_batch(row):
            return self._written(row)
        columns = {name: values for name, values in row.items() if isinstance(values, Sequence)}
        count = len(columns[self.steps_field] if self.reader is None else next(iter(columns.values())))
        written = [self._written({name: values[at] for name, values in columns.items()}) for at in range(count)]
        return {name: [new[name] for new in written] for name in written[0]}

    def _is_batch(self, row: Row) -> bool:
        if self.reader is None:
            # The steps of one row are texts or objects.
            steps = row.get(self.steps_field)
            return isinstance(steps, Sequence) and bool(steps) and _listed(steps[0])
        # Turns of a conversation are a list in one row, too, but one of objects.
        return bool(row) and all(
            isinstance(values, Sequence) and _listed(values) and values and not isinstance(values[0], Mapping)
            for values in row.values()
        )

    def _written(self, row: Row) -> dict[str, object]:
        sample = self._sample(row)
        ordered = order(sample, self.order, seed=self.seed) if sample.steps else sample
        completion = self.sep.join(step.text for step in ordered.steps)
        if self.token_spans is not None:
            self._warn_of_merged(ordered, completion)
        name = self.order if isinstance(self.order, str) else getattr(self.order, "__name__", "custom")
        beside = {"order": name, "vf": metrics(ordered, self.graph).vf}
        if self.columns == "text":
            return {"text": f"{sample.prompt}{self.sep}{completion}" if sample.prompt else completion, **beside}
        return {"prompt": sample.prompt, "completion": completion, **beside}

    def _sample(self, row: Row) -> Sample:
        if self.reader is not None:
            sample = self.reader(row)
            if sample is None:
                raise UsageError(f"a row holds no steps that are read as {self.reader.name}; it has {', '.join(row)}.")
            return sample
        if not _listed(steps := row.get(self.steps_field)):
            raise UsageError(f"a row has no list of steps under {self.steps_field!r}; it has {', '.join(row)}.")
        plain = PlainReader(steps_field=self.steps_field, deps_field=self.deps_field, prompt_field=self.prompt_field)
        # A row without a step is none to the reader; here it stays a row.
        prompt = str(row.get(self.prompt_field) or "") if self.prompt_field else prompt_of(row)
        return (plain(row) if steps else None) or Sample(prompt, ())

    def _warn_of_merged(self, sample: Sample, completion: str) -> None:
        assert self.token_spans is not None
        lengths = [len(step.text) + len(self.sep) for step in sample.steps]
        borders = set(accumulate(lengths[:-1]))
        for start, end in self.token_spans(completion):
            reached = borders.intersection(range(start + 1, end))
            if reached:
                token = completion[start:end]
                warnings.warn(
                    f"a token of the tokenizer ({token!r}) reaches over the border of two steps, so that other orders "
                    "are of other tokens; give a sep that the tokenizer never joins with a text.",
                    UserWarning, stacklevel=4,
                )  # fmt: skip
                return


def _listed(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
