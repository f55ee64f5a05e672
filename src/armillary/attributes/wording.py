"""The sentences that state attributes, and their inverse: what ``render`` writes, ``parse`` reads back exactly.

A template holds slots in braces; each slot's form says which values it takes, how they are written and how they are
read. Texts stand in double quotes with JSON's escapes, so that quotes, backslashes and line breaks in them survive.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from armillary.errors import UsageError

Value = str | int | float | bool | tuple[str, ...]
Params = Mapping[str, Value]

_QUOTED = r'"(?:[^"\\\n]|\\[^\n])*"'
_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Form:
    """How the values of one parameter are accepted, written and read."""

    accepted: str
    """What is accepted, in words."""

    accepts: Callable[[Value], bool]
    pattern: str
    write: Callable[[Value], str]
    read: Callable[[str], Value]


def _is_text(value: Value) -> bool:
    return isinstance(value, str) and bool(value.strip())


_quoted = json.JSONEncoder(ensure_ascii=False).encode


def whole(least: int = 0, one: str = "", more: str = "") -> Form:
    """A whole number of at least ``least``; with the noun that it counts, which follows it in the sentence."""
    return Form(
        f"a whole number of at least {least}",
        lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= least,
        rf"\d+ (?:{re.escape(one)}|{re.escape(more)})" if one else r"\d+",
        lambda value: f"{value} {one if value == 1 else more}" if one else str(value),
        lambda text: int(text.partition(" ")[0]),
    )


def one_of(words: Mapping[str, str]) -> Form:
    """One of the keys, each with the words that stand for it in the sentence (no two alike)."""
    keys = {phrase: key for key, phrase in words.items()}
    return Form(
        f"one of {', '.join(words)}",
        lambda value: isinstance(value, str) and value in words,
        "|".join(re.escape(phrase) for phrase in sorted(keys, key=len, reverse=True)),
        lambda value: words[str(value)],
        keys.__getitem__,
    )


NUMBER = Form(
    "a finite number",
    lambda value: isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value),
    r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?",
    lambda value: repr(float(value)) if not isinstance(value, str | tuple) else "",
    float,
)
TEXT = Form("a text that is not blank", _is_text, _QUOTED, _quoted, lambda text: str(json.loads(text)))
TEXTS = Form(
    "a list of texts, none blank",
    lambda value: isinstance(value, tuple) and bool(value) and all(map(_is_text, value)),
    f"{_QUOTED}(?:, {_QUOTED})*",
    lambda value: ", ".join(map(_quoted, value)) if isinstance(value, tuple) else "",
    lambda text: tuple(json.loads(f"[{text}]")),
)
RELATION = one_of({"=": "exactly", ">=": "at least", "<=": "at most"})


class Wording:
    """The templates of a kind: one for each set of parameters that it takes."""

    def __init__(self, *templates: str, **forms: Form) -> None:
        self.forms = forms
        self.templates = {frozenset(_SLOT.findall(template)): template for template in templates}
        if len(self.templates) < len(templates) or set().union(*self.templates) - set(forms):
            raise ValueError(f"two templates take the same parameters, or one takes an unknown one: {templates}")
        self._pieces = {names: tuple(_SLOT.split(template)) for names, template in self.templates.items()}
        self._patterns = {names: self._compiled(template) for names, template in self.templates.items()}

    def _compiled(self, template: str) -> re.Pattern[str]:
        pieces = _SLOT.split(template)
        literal, names = map(re.escape, pieces[::2]), pieces[1::2]
        slots = [f"(?P<{name}>{self.forms[name].pattern})" for name in names]
        return re.compile("".join(piece for pair in zip(literal, [*slots, ""], strict=True) for piece in pair))

    def validated(self, kind: str, params: Params) -> dict[str, Value]:
        """The parameters, lists as tuples; UsageError naming the first that is unknown, missing or not accepted."""
        if frozenset(params) not in self.templates:
            raise UsageError(f"{kind} takes {self._sets()}; the given parameters were {_listed(params)}.")
        values = dict(params)
        for name, value in params.items():
            given: object = value
            if isinstance(given, list):
                values[name] = value = tuple(given)
            if not self.forms[name].accepts(value):
                raise UsageError(f"{kind}: {name} is {value!r:.80}; accepted is {self.forms[name].accepted}.")
        return values

    def _sets(self) -> str:
        return " or ".join(_listed(names) for names in sorted(self.templates, key=sorted))

    def render(self, params: Params) -> str:
        """The sentence of validated parameters."""
        pieces = self._pieces[frozenset(params)]
        # Literal text and slots take turns, the first and last being text.
        return "".join(
            self.forms[piece].write(params[piece]) if place % 2 else piece for place, piece in enumerate(pieces)
        )

    def parse(self, text: str) -> dict[str, Value] | None:
        """The parameters of which ``render`` writes this sentence; None where there are none."""
        for pattern in self._patterns.values():
            if match := pattern.fullmatch(text):
                try:
                    params = {name: self.forms[name].read(value) for name, value in match.groupdict().items()}
                except ValueError:  # not one of JSON's escapes
                    continue
                if all(self.forms[name].accepts(value) for name, value in params.items()):
                    return params
        return None


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
