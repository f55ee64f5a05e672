"""A prompt of another benchmark: its instructions as they stand in the file, and the attributes that they are here."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from armillary.attributes.attribute import Attribute, Verdict
from armillary.attributes.interchange.strict import strict_verdict
from armillary.attributes.kinds.catalogue import Catalogue
from armillary.errors import UsageError
from armillary.files import write_atomic

Benchmark = Literal["ifeval", "ifbench", "ultrabench"]
OnUnknown = Literal["error", "skip"]
"""``skip`` keeps an instruction that no kind can check, without attributes; its verdict is None."""

Arguments = Mapping[str, object]
Mapped = Callable[[str, Arguments], list[Attribute] | None]
"""The attributes that an instruction is; None where no kind can check it."""


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """One instruction of a prompt."""

    id: str
    """As its benchmark names it: "keywords:existence"."""

    arguments: Arguments
    """Those that are given; arguments of null are left out."""

    attributes: tuple[Attribute, ...] = ()
    """What it is here, all of which must hold; empty where no kind can check it."""


@dataclass(frozen=True, kw_only=True)
class ImportedPrompt:
    """One row of a benchmark's file."""

    key: int | str
    prompt: str
    instructions: tuple[Instruction, ...]
    soft: tuple[Attribute, ...] = ()
    """Requirements that only a judge can check (ultrabench)."""

    sentences: tuple[str, ...] = field(default=(), repr=False)
    """What the prompt says for each instruction, where the file has it (ultrabench)."""

    benchmark: Benchmark = "ifeval"

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        """Of all instructions in their order, then the soft ones."""
        hard = [attribute for instruction in self.instructions for attribute in instruction.attributes]
        return (*hard, *self.soft)

    @property
    def unchecked(self) -> tuple[str, ...]:
        """Ids of the instructions that no kind can check."""
        return tuple(instruction.id for instruction in self.instructions if not instruction.attributes)

    def check(
        self, response: str, *, strict_ifeval: bool = False, catalogue: Catalogue | None = None
    ) -> list[Verdict]:
        """A verdict for each instruction, None where no kind can check it.

        ``strict_ifeval`` gives the verdicts of lm-eval's checkers where ours differ (docs/methods/ultragen.md lists
        how): for numbers that are to be compared with published ones. Raises as ``strict.strict_verdict``.
        """
        catalogue = catalogue or Catalogue.default()
        stats = catalogue.stats(response)
        verdicts = []
        for instruction in self.instructions:
            if not instruction.attributes:
                verdicts.append(Verdict(None, f"not judged: no kind checks {instruction.id}"))
                continue
            parts = [catalogue.check(attribute, stats) for attribute in instruction.attributes]
            failed = [part for part in parts if part.satisfied is not True]
            verdict = (failed or parts)[0]
            if any(part.satisfied is False for part in parts) or stats.is_empty:
                verdict = Verdict(False, verdict.measured, spans=verdict.spans)
            if strict_ifeval:
                satisfied = strict_verdict(instruction.id, instruction.arguments, response)
                verdict = Verdict(satisfied, verdict.measured, spans=verdict.spans)
            verdicts.append(verdict)
        return verdicts


def instructions_of(
    ids: object, arguments: object, mapped: Mapped, where: str, on_unknown: OnUnknown
) -> tuple[Instruction, ...]:
    """The instructions of a row's two lists. UsageError naming the place and the id of what is wrong."""
    if not isinstance(ids, list) or not isinstance(arguments, list) or len(ids) != len(arguments):
        raise UsageError(f"{where}: instruction_id_list and kwargs must be lists of one length.")
    made = []
    for name, given in zip(ids, arguments, strict=True):
        if not isinstance(name, str) or not isinstance(given, Mapping):
            raise UsageError(f"{where}: an instruction is an id with an object of arguments, not {name!r:.60}.")
        known = {str(key): value for key, value in given.items() if value is not None}
        try:
            attributes = mapped(name, known)
        except (UsageError, KeyError, TypeError, ValueError) as error:
            reason = f"the argument {error} is missing." if isinstance(error, KeyError) else str(error)
            raise UsageError(f"{where}: {name} can't be read: {reason}") from error
        if attributes is None and on_unknown == "error":
            raise UsageError(
                f"{where}: no kind of attribute checks {name!r}; to pass over such ids give on_unknown='skip' "
                "(`armillary ultragen check --on-unknown skip`)."
            )
        made.append(Instruction(id=name, arguments=known, attributes=tuple(attributes or ())))
    return tuple(made)


def write_rows(path: Path | str, rows: Iterable[Mapping[str, object]]) -> None:
    """One JSON object a line. StorageError where the file can't be written."""
    write_atomic(path, "".join(json.dumps(dict(row), ensure_ascii=False) + "\n" for row in rows))


def texts(value: object) -> Sequence[str]:
    """A list of texts. TypeError for anything else."""
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise TypeError(f"{value!r:.80} is no list of texts.")
    return [str(item) for item in value]


def text(value: object) -> str:
    """A text. TypeError for anything else."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.80} is no text.")
    return value


def number(value: object) -> int:
    """A whole number of 0 or more, also where a table made it a fraction. TypeError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or value < 0:
        raise TypeError(f"{value!r:.80} is no whole number of 0 or more.")
    return int(value)
