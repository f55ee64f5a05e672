"""One requirement on a text, the verdict on it, and the object of each kind: derive, render, parse, check.

An attribute is a kind's id with parameters ("word_count", lo 100, hi 200) and the sentence that states it. Hard ones
are checked by a program, soft ones (kind "soft" or "soft/<slot>") by a judge.
"""

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from armillary.attributes.text_stats import Span as Span, TextStats
from armillary.attributes.wording import Params, Value as Value, Wording
from armillary.errors import UsageError

Source = Literal["derived", "imported"]
Family = Literal["lengths", "keywords", "positions", "punctuation", "casing", "formats", "style", "languages", "whole"]
Priority = Literal["format", "structure", "position", "content", "style"]

PRIORITIES: tuple[Priority, ...] = ("format", "structure", "position", "content", "style")
"""Of two attributes that exclude each other the one further left stays."""

SOFT = "soft"

Places = tuple[Span, ...]


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """A requirement: its kind, the kind's parameters, and the sentence that states it. Equal wherever it came from."""

    kind: str
    params: Params
    text: str
    hard: bool = True
    source: Source = field(default="derived", compare=False)

    def __post_init__(self) -> None:
        if self.hard == (self.kind.partition("/")[0] == SOFT):
            raise UsageError(
                f"an attribute of kind {self.kind!r} can't have hard={self.hard}: only soft ones are not."
            )
        low, high = self.params.get("lo"), self.params.get("hi")
        if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
            raise UsageError(f"{self.kind}: lo={low} is above hi={high}; lo must not exceed hi.")

    def __hash__(self) -> int:
        return hash((self.kind, self.text))

    def to_json(self) -> dict[str, object]:
        """What ``from_json`` reads again; tuples become lists."""
        params = {name: list(value) if isinstance(value, tuple) else value for name, value in self.params.items()}
        return {
            "kind": self.kind, "params": params, "text": self.text, "hard": self.hard, "source": self.source,
        }  # fmt: skip

    @classmethod
    def from_json(cls, row: Mapping[str, object]) -> "Attribute":
        """The attribute that ``to_json`` wrote; UsageError where a field is missing or of another type."""
        if not isinstance(row, Mapping):
            raise UsageError(f"an attribute is an object with kind, params and text, not {row!r:.200}.")
        kind, params, text = row.get("kind"), row.get("params", {}), row.get("text")
        if not isinstance(kind, str) or not isinstance(text, str) or not isinstance(params, Mapping):
            raise UsageError(f"an attribute is an object with kind, params and text, not {dict(row)!r:.200}.")
        values: dict[str, Value] = {}
        for name, value in params.items():
            if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
                values[str(name)] = tuple(value)
            elif isinstance(value, str | int | float | bool):
                values[str(name)] = value
            elif value is not None:  # what a table with a column for every parameter has where there is none
                raise UsageError(f"{kind}: {name} is {value!r:.80}; accepted are texts, numbers and lists of texts.")
        source: Source = "imported" if row.get("source") == "imported" else "derived"
        return cls(
            kind=kind,
            params=values,
            text=text,
            hard=bool(row.get("hard", kind.partition("/")[0] != SOFT)),
            source=source,
        )


def soft(text: str, slot: str = "", source: Source = "derived") -> Attribute:
    """A soft attribute: a sentence that only a judge can check, with the slot it fills, if any."""
    return Attribute(kind=f"{SOFT}/{slot}" if slot else SOFT, params={}, text=text, hard=False, source=source)


class Verdict:
    """Whether a text has an attribute, and what was seen there.

    Words and places may be given as functions, which are called when they are first asked for: most verdicts are only
    counted, and for those they would be most of the time of a check. Immutable; equal where all three are.
    """

    __slots__ = ("_measured", "_satisfied", "_spans")

    def __init__(
        self, satisfied: bool | None, measured: str | Callable[[], str], spans: Places | Callable[[], Places] = ()
    ) -> None:
        self._satisfied, self._measured, self._spans = satisfied, measured, spans

    @property
    def satisfied(self) -> bool | None:
        """None where it was not judged: a soft attribute without a judge, or a text of which the kind can say
        nothing."""
        return self._satisfied

    @property
    def measured(self) -> str:
        """One short phrase: "3 words"."""
        if not isinstance(self._measured, str):
            self._measured = self._measured()
        return self._measured

    @property
    def spans(self) -> Places:
        """Where it fails, or where what was counted stands; at most ``text_stats.MOST_SPANS``."""
        if not isinstance(self._spans, tuple):
            self._spans = self._spans()
        return self._spans

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Verdict) and self._all == other._all

    def __hash__(self) -> int:
        return hash(self._all)

    def __repr__(self) -> str:
        return "Verdict(satisfied={!r}, measured={!r}, spans={!r})".format(*self._all)

    def __reduce__(self) -> tuple[type["Verdict"], tuple[bool | None, str, Places]]:
        return Verdict, self._all

    @property
    def _all(self) -> tuple[bool | None, str, Places]:
        return self.satisfied, self.measured, self.spans


def nothing_derived(stats: TextStats, draw: random.Random) -> Iterable[Params]:
    """Of kinds that only make sense in an imported prompt."""
    return ()


@dataclass(frozen=True, kw_only=True, eq=False)
class AttributeKind:
    """One kind of hard attribute: how it is read off a text, said, understood and checked."""

    id: str
    family: Family
    priority: Priority
    wording: Wording
    checked: Callable[[Params, TextStats], Verdict]
    derived: Callable[[TextStats, random.Random], Iterable[Params]] = nothing_derived
    negative: Callable[[Params], bool] = lambda params: False
    """Whether it forbids: such a one holds of an empty text, and at most a fifth of a set are such."""

    keyword: bool = False
    """Whether it asks for a word of the text: at most three fifths of a set are such."""

    needs_language: bool = False
    """It reads words as those of one language: texts in another are refused unless the language is given."""

    needs_words: bool = False
    """It reads words, which in scripts without spaces only a tokenizer finds."""

    missing: str | None = None
    """The sentence that says which plug-in this kind lacks; None where it lacks none."""

    def attribute(self, params: Params, source: Source = "derived") -> Attribute:
        """The attribute of this kind with these parameters; UsageError where one is not of its form."""
        checked = self.wording.validated(self.id, params)
        return Attribute(kind=self.id, params=checked, text=self.wording.render(checked), source=source)

    def derive(self, stats: TextStats, draw: random.Random) -> list[Attribute]:
        """Attributes of this kind that the text has; ``draw`` chooses where there is more than one to choose."""
        if stats.is_empty or self.missing is not None or self._unread(stats) is not None:
            return []
        return [self.attribute(params) for params in self.derived(stats, draw)]

    def render(self, attribute: Attribute) -> str:
        """The sentence that states it, the same for the same parameters."""
        return self.wording.render(self.validated(attribute))

    def parse(self, text: str) -> Attribute | None:
        """The attribute that ``render`` states in these words; None where it is no sentence of this kind."""
        params = self.wording.parse(text)
        return None if params is None else self.attribute(params, "imported")

    def check(self, attribute: Attribute, stats: TextStats) -> Verdict:
        """Whether the text has the attribute. UsageError where the kind lacks its plug-in, or a parameter is not of
        its form."""
        if self.missing is not None:
            raise UsageError(self.missing)
        params = self.validated(attribute)
        if stats.is_empty:
            return Verdict(self.negative(params), "the text is empty")
        if (self.needs_words or self.needs_language) and (why := self._unread(stats)) is not None:
            return Verdict(None, why)
        return self.checked(params, stats)

    def validated(self, attribute: Attribute) -> Params:
        """Its parameters, lists as tuples; UsageError naming the first that is not of its form."""
        # One attribute is checked of many texts: its parameters are looked at the first time, and kept with it.
        params: Params | None = attribute.__dict__.get("_validated")
        if params is None:
            params = self.wording.validated(self.id, attribute.params)
            attribute.__dict__["_validated"] = params
        return params

    def _unread(self, stats: TextStats) -> str | None:
        if (self.needs_words or self.needs_language) and stats.words_unknown:
            return "not judged: words of this script need tokenizer="
        if self.needs_language and stats.foreign is not None:
            return f"not judged: the text is in {stats.foreign}, which needs language="
        return None
