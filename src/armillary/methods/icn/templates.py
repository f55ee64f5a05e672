"""How explored answers are put into words: prompts as data, which a user can replace.

The three that ship are those of the official code: a numbered list of quoted answers for knowledge probing and for
open-ended generation, and ways to solve a problem for chains of thought.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from armillary.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Template:
    """A prompt that lists what was explored and opens the next item. ``{instruction}`` and ``{number}`` are filled."""

    before: str
    """All that stands before the first item; holds ``{instruction}``."""

    opening: str
    """What opens an item; may hold ``{number}``, counted from 1."""

    closing: str
    """What stands between an answer and the next opening."""

    stop: str
    """An answer ends before the first of this text."""

    one_line: bool = True
    """Answers are put on one line before they are listed."""

    readout: str = ""
    """For chains of thought: the prompt that reads the answer out of a path; ``{instruction}`` and ``{path}``."""

    readout_stop: str = '"'
    """The answer read out ends before the first of this text."""

    def __post_init__(self) -> None:
        if "{instruction}" not in self.before:
            raise UsageError("The template's `before` has no {instruction}, so every prompt would be the same.")
        if not self.stop:
            raise UsageError("The template's `stop` is empty: an answer has to end somewhere.")

    def base(self, instruction: str) -> str:
        """The prompt before anything is explored; UsageError for an empty instruction."""
        if not instruction.strip():
            raise UsageError("The prompt is empty; say what to list or solve.")
        return self.before.replace("{instruction}", instruction) + self.opened(1)

    def listed(self, base: str, answers: Sequence[str], first: int = 1) -> str:
        """``base`` with these answers filled in and the next item opened; ``base`` itself for none.

        ``first`` is the number of the item that ``base`` has opened.
        """
        parts = [base]
        for number, answer in enumerate(answers, first):
            parts += [self.cleaned(answer), self.closing, self.opened(number + 1)]
        return "".join(parts)

    def opened(self, number: int) -> str:
        """What opens the item of this number."""
        return self.opening.replace("{number}", str(number))

    def cleaned(self, answer: str) -> str:
        """The answer as it may stand in the list: it can't hold the stop text, nor line ends where one line is due."""
        text = " ".join(answer.split()) if self.one_line else answer
        return text.replace(self.stop, "'" if self.stop == '"' else " ")

    def asked(self, instruction: str, path: str) -> str:
        """The prompt that reads an answer out of a path."""
        if not self.readout:
            raise UsageError("The template has no `readout`, so no answer can be read out of a chain of thought.")
        return self.readout.replace("{path}", path).replace("{instruction}", instruction)


NUMBERED_LIST = Template(before="{instruction}\n\nAnswer:\n", opening='{number}. "', closing='"\n', stop='"')
"""Knowledge probing and open-ended generation (official code: the prompt of the notebook and of zerogen)."""

_WAYS = (
    "{instruction}\n\nPlease show me some different ways to solve this problem.\n\n"
    "Here are different ways to solve the problem:\n"
)

WAYS = Template(
    before=_WAYS,
    opening="### Way {number}:\n* **Step 1:**\n",
    closing="\n",
    stop="#",
    one_line=False,
    readout=_WAYS + '### Way 1:\n* **Step 1:**\n{path}\n\n**Final Answer (Only Number):** "',
)
"""Chains of thought with self-consistency (official code: gsm8k and svamp)."""

TEMPLATES: dict[str, Template] = {"probe": NUMBERED_LIST, "open": NUMBERED_LIST, "cot": WAYS}
"""Task -> template."""


def template(task: str) -> Template:
    """The shipped template of a task; UsageError naming the tasks that have one."""
    if task not in TEMPLATES:
        raise UsageError(f"There is no template for the task {task!r}; the tasks are {', '.join(TEMPLATES)}.")
    return TEMPLATES[task]


def load_template(path: Path | str) -> Template:
    """A template from a TOML file whose keys are the fields of ``Template``; UsageError naming what is wrong."""
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The template {path} could not be read: {error}.") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: {error}.") from None
    known = {field.name: field.type for field in fields(Template)}
    for name, value in data.items():
        if name not in known:
            raise UsageError(f"{path} has the unknown key {name!r}; accepted are {', '.join(known)}.")
        if type(value) is not known[name]:
            raise UsageError(f"{path}: {name} has to be {'true or false' if known[name] is bool else 'text'}.")
    missing = [name for name in ("before", "opening", "closing", "stop") if name not in data]
    if missing:
        raise UsageError(f"{path} lacks {', '.join(missing)}.")
    return Template(**data)
