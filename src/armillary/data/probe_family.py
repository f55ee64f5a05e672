"""A class of things and its restrictions as probes, built from one table of members."""

import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import partial
from typing import TypeVar

from armillary.data.probes import Probe
from armillary.data.sources import Source
from armillary.data.spelling import normalised

Key = TypeVar("Key", bound=Hashable)


def family(
    words: str,
    members: Callable[[], Mapping[Key, tuple[str, ...]]],
    restrictions: Mapping[str, Callable[[Key], bool]],
    *,
    source: Callable[[], tuple[Source, ...]],
    note: str,
) -> dict[str, Callable[[], Probe]]:
    """Id -> builder, the base class first.

    ``words`` says the class in the plural ("countries"), and each restriction likewise ("European countries"), with a
    test of a member's key; ``members`` gives key -> spellings and isn't called before a probe is built.
    """
    base = _id(words)

    def build(words: str, wanted: Callable[[Key], bool]) -> Probe:
        return Probe(
            id=_id(words),
            instruction=f"Please show me some {words}.",
            answers=tuple(spellings for key, spellings in members().items() if wanted(key)),
            base=base,
            source=source(),
            note=note,
        )

    everything: dict[str, Callable[[Key], bool]] = {words: lambda key: True}
    return {_id(one): partial(build, one, wanted) for one, wanted in (everything | dict(restrictions)).items()}


def begins_with(letter: str) -> Callable[[str], bool]:
    """A test of a name."""
    return lambda name: normalised(name).startswith(letter.lower())


def distinct(answers: Mapping[Key, Iterable[str]]) -> dict[Key, tuple[str, ...]]:
    """The same answers, each spelling under one of them only, as a probe needs it.

    A spelling of several answers stays with the first whose common name it is, otherwise with the first that has it:
    two countries are called Congo for short, and they are still two. An answer left without a spelling goes, and so
    does a spelling that its answer has already in another form ("Cote d'Ivoire").
    """
    forms = {key: _by_form(spellings) for key, spellings in answers.items()}
    owner: dict[str, Key] = {}
    for key, spellings in forms.items():
        for form in list(spellings)[:1]:
            owner.setdefault(form, key)
    for key, spellings in forms.items():
        for form in spellings:
            owner.setdefault(form, key)
    own = {
        key: tuple(text for form, text in spellings.items() if owner[form] == key) for key, spellings in forms.items()
    }
    return {key: spellings for key, spellings in own.items() if spellings}


def _by_form(spellings: Iterable[str]) -> dict[str, str]:
    """Normal form -> the first spelling that has it."""
    found: dict[str, str] = {}
    for text in spellings:
        if form := normalised(text):
            found.setdefault(form, text)
    return found


def _id(words: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", words.lower())
