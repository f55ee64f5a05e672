"""Plain rows with ``steps`` and ``deps``; nothing is guessed.

An edge means what the row's author says: "deps" of a step are the steps that help to find it, "premises" what it
follows from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from armillary.errors import UsageError
from armillary.methods.ordering.readers.framing import key_of, prompt_of
from armillary.methods.ordering.readers.interface import Reader, Record
from armillary.methods.ordering.steps import Sample, Step


@dataclass(frozen=True)
class PlainReader(Reader):
    """Rows whose steps are texts or objects, with the names of the fields that hold them.

    Steps are texts, with the deps beside them (a list as long, of lists of positions from 0; or an object from step id
    to ids), or objects with "text" and perhaps "id", "kind", "deps" and "premises". Ids that are not given count from
    0, so that positions name them.
    """

    steps_field: str = "steps"
    deps_field: str = "deps"
    prompt_field: str = ""
    """Empty: the first of the usual names that is there."""

    name = "plain"
    about = "rows with steps and deps: the edges are the row's own"

    def __call__(self, record: Record) -> Sample | None:
        """The row's sample; None for a text, and for a row without a list of steps."""
        if isinstance(record, str) or not _listed(record.get(self.steps_field)) or not record[self.steps_field]:
            return None
        written = record[self.steps_field]
        assert isinstance(written, Sequence)
        beside = record.get(self.deps_field)
        if _listed(beside) and isinstance(beside, Sequence) and len(beside) != len(written):
            raise UsageError(
                f"{self.deps_field} has {len(beside)} entries for {len(written)} steps; give one list a step."
            )
        if not (beside is None or _listed(beside) or isinstance(beside, Mapping)):
            kind = type(beside).__name__
            raise UsageError(f"{self.deps_field} is {kind}; give a list of lists, or an object from ids to lists.")
        prompt = str(record.get(self.prompt_field) or "") if self.prompt_field else prompt_of(record)
        steps = tuple(self._step(place, step, beside) for place, step in enumerate(written))
        if isinstance(beside, Mapping) and (others := {*beside} - {step.id for step in steps}):
            name = min(map(str, others))
            raise UsageError(f"{self.deps_field} has an entry {name!r}, which is no step; its keys are ids of steps.")
        return Sample(prompt=prompt, steps=steps, key=key_of(record))

    def _step(self, place: int, step: object, beside: object) -> Step:
        fields = {"text": step} if isinstance(step, str) else step
        if not (isinstance(fields, Mapping) and isinstance(fields.get("text"), str)):
            raise UsageError(f"step {place} of {self.steps_field} is no text and no object with a text.")
        # Columns of objects (Parquet) hold null where an object has no such field.
        given, kind = fields.get("id"), fields.get("kind")
        name = str(place if given is None else given)
        if isinstance(beside, Mapping):
            deps = beside.get(name)
        else:
            deps = beside[place] if isinstance(beside, Sequence) else fields.get("deps")
        premises = fields.get("premises")
        return Step(
            id=name,
            text=str(fields["text"]),
            kind="step" if kind is None else str(kind),
            deps=_ids(deps, name),
            premises=None if premises is None else _ids(premises, name),
        )

    def rewritten(self, record: Record, sample: Sample) -> Record | None:
        """The row with its steps as objects in the new order, each with its id and its edges, and no deps beside."""
        if isinstance(record, str):
            return None
        steps = []
        for step in sample.steps:
            fields: dict[str, object] = {"id": step.id, "text": step.text, "kind": step.kind, "deps": [*step.deps]}
            if step.premises is not None:
                fields["premises"] = [*step.premises]
            steps.append(fields)
        return {**{name: value for name, value in record.items() if name != self.deps_field}, self.steps_field: steps}


def _listed(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _ids(value: object, step: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if (
        not isinstance(value, Sequence)
        or isinstance(value, str)
        or not all(isinstance(dep, str | int) for dep in value)
    ):
        raise UsageError(f"the support of step {step} is {value!r}; give a list of ids, or of positions from 0.")
    return tuple(map(str, value))
