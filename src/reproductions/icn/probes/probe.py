"""A class of things and its restrictions as probes, built from one table, and which of its answers a text means."""

import re
import unicodedata
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Literal, TypeVar, get_args

from armillary.data.sources import DataSource
from armillary.errors import UsageError

# Normal forms, in which two spellings of one name are equal: case, accents, punctuation, articles and plurals.

ARTICLES = frozenset({"the", "a", "an"})

LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "\u0131": "i", "ħ": "h"}
    | dict.fromkeys("'`\u00b4\u2018\u2019\u02bb\u02bc\u02be\u02bf\u2032", "")
    | {"&": " and "}
)
"""Letters that Unicode doesn't take apart into base and accent, apostrophes of all shapes, which join, and "and"."""

INITIAL = re.compile(r"(?<!\w)(\w)\.")
"""One letter and a dot, which is dropped so that "U.S." and "US" are equal."""

WORD = re.compile(r"[^\W_]+")

IRREGULAR = {
    **{"children": "child", "feet": "foot", "geese": "goose", "lice": "louse", "mice": "mouse", "oxen": "ox"},
    **{"teeth": "tooth", "cacti": "cactus", "fungi": "fungus", "octopi": "octopus"},
    **{"calves": "calf", "dwarves": "dwarf", "elves": "elf", "halves": "half", "hooves": "hoof", "knives": "knife"},
    **{"leaves": "leaf", "loaves": "loaf", "scarves": "scarf", "shelves": "shelf", "thieves": "thief"},
    **{"wharves": "wharf", "wives": "wife", "wolves": "wolf"},
    **{"emus": "emu", "gnus": "gnu", "kiwis": "kiwi", "okapis": "okapi", "skis": "ski", "taxis": "taxi"},
    **{"tutus": "tutu", "wapitis": "wapiti", "zebus": "zebu"},
    "saint": "st",
}
"""Plurals that no rule below finds, and the one word that is abbreviated in most names of places."""


def normalised(text: str) -> str:
    """Text in lower case without accents, punctuation, articles and plurals, words joined by one space; "" for none.

    Two names are meant to be the same when their normal forms are equal. The form itself is no English ("buses" and
    "bus" both give "buse"): it is for comparison, never for showing. ``normalised(normalised(x)) == normalised(x)``.
    """
    for _ in range(2):  # taking a letter apart can leave one that still has a lower case
        text = unicodedata.normalize("NFKD", text.casefold())
    text = "".join(letter for letter in text if not unicodedata.combining(letter)).translate(LETTERS)
    folded = (_without_plural(word) for word in WORD.findall(INITIAL.sub(r"\1", text)))
    return " ".join(word for word in folded if word not in ARTICLES)


@cache
def _without_plural(word: str) -> str:
    """The form that a word shares with its plural; repeated until nothing changes, so that the form is its own.

    Each rule is applied to singular and plural alike, since nothing says which of the two a word is.
    """
    if word in IRREGULAR:
        folded = IRREGULAR[word]
    elif word.endswith("men"):
        folded = f"{word[:-3]}man"  # firemen
    else:
        plural = len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is"))  # glass, cactus, iris
        folded = word[:-1] if plural else word
        if folded.endswith(("s", "x", "z", "ch", "sh")):
            folded = f"{folded}e"  # bus like buses, which has lost its s; so does horse, like horses
        elif len(folded) > 3 and folded.endswith("ie"):
            folded = f"{folded[:-2]}y"  # berries and berry; collies and collie
        elif len(folded) > 4 and folded.endswith("oe"):
            folded = folded[:-1]  # potatoes and potato; canoes and canoe
    return word if folded == word else _without_plural(folded)


@dataclass(frozen=True, kw_only=True)
class KnowledgeProbe:
    """One instruction and everything that is right for it; a wrong one raises UsageError in one sentence."""

    id: str
    """Lower-case words joined by dashes: "european-countries"."""

    instruction: str
    """One sentence that asks for members of the class."""

    answers: tuple[tuple[str, ...], ...]
    """Each correct answer as its spellings, the common one first; no spelling, normalised, means two answers."""

    base: str
    """Id of the class that this one restricts; its own id for a class that restricts none."""

    source: tuple[DataSource, ...]
    note: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", self.id):
            raise UsageError(f"a probe's id is lower-case words and dashes, such as us-states; got {self.id!r}.")
        if not self.instruction.strip():
            raise UsageError(f"probe {self.id}: the instruction is empty.")
        _check_answers(self.id, self.answers)


def _check_answers(id: str, answers: Sequence[object]) -> None:
    if not answers:
        raise UsageError(f"probe {id}: there are no answers.")
    owner: dict[str, int] = {}
    for index, answer in enumerate(answers):
        if not isinstance(answer, tuple) or not answer:
            raise UsageError(f"probe {id}: an answer is a tuple of one spelling or more; got {answer!r}.")
        for spelling in answer:
            form = normalised(spelling)
            if not form:
                raise UsageError(f"probe {id}: {spelling!r} is empty without punctuation and articles.")
            if owner.setdefault(form, index) != index:
                raise UsageError(f"probe {id}: {spelling!r} is a spelling of two answers; each may have one meaning.")


Variant = Literal["strict", "prefix"]


class Matcher:
    """Finds the answer of one probe that a text means, by rules that anyone can repeat instead of a judging model.

    ``strict``: the whole text is a spelling of the answer, once both are normalised. ``prefix``: the text may go on
    after a whole spelling ("France - Paris", "France (Europe)"), and the longest one counts. The first misses answers
    with a remark, the second lets some wrong ones through ("Niger River" as a country); the truth is in between.

    Both know only the probe's list (a closed world). A right answer that the list lacks, or has under other spellings,
    counts as wrong; a list drawn from a dictionary also holds rare senses and general terms, so that a few odd answers
    count as right. The list is the same for every method that is compared, but a method that proposes rarer answers
    meets its gaps more often: look at the answers that count as wrong before trusting a small difference.
    """

    def __init__(self, probe: KnowledgeProbe, variant: Variant = "strict") -> None:
        if variant not in get_args(Variant):
            raise UsageError(f"a matcher's variant is one of {', '.join(get_args(Variant))}; got {variant!r}.")
        self.probe = probe
        self.variant = variant
        self._meaning = {
            normalised(spelling): index for index, answer in enumerate(probe.answers) for spelling in answer
        }
        self._most_words = max(len(form.split()) for form in self._meaning)

    def match(self, answer: str) -> int | None:
        """Index in ``probe.answers`` of the answer meant; None for a wrong or empty text."""
        form = normalised(answer)
        if self.variant == "strict":
            return self._meaning.get(form)
        words = form.split()
        for length in range(min(len(words), self._most_words), 0, -1):
            answer_index = self._meaning.get(" ".join(words[:length]))
            if answer_index is not None:
                return answer_index
        return None


Key = TypeVar("Key", bound=Hashable)


def family(
    words: str,
    members: Callable[[], Mapping[Key, tuple[str, ...]]],
    restrictions: Mapping[str, Callable[[Key], bool]],
    *,
    source: Callable[[], tuple[DataSource, ...]],
    note: str,
) -> dict[str, Callable[[], KnowledgeProbe]]:
    """Id -> builder, the base class first.

    ``words`` says the class in the plural ("countries"), and each restriction likewise ("European countries"), with a
    test of a member's key; ``members`` gives key -> spellings and isn't called before a probe is built.
    """
    base = _id(words)

    def build(words: str, wanted: Callable[[Key], bool]) -> KnowledgeProbe:
        return KnowledgeProbe(
            id=_id(words),
            instruction=f"Please show me some {words}.",
            answers=tuple(spellings for key, spellings in members().items() if wanted(key)),
            base=base,
            source=source(),
            note=note,
        )

    everything: dict[str, Callable[[Key], bool]] = {words: lambda key: True}
    return {_id(words): partial(build, words, wanted) for words, wanted in (everything | dict(restrictions)).items()}


def begins_with(letter: str) -> Callable[[str], bool]:
    """A test of a name."""
    return lambda name: normalised(name).startswith(letter.lower())


def distinct(answers: Mapping[Key, Iterable[str]]) -> dict[Key, tuple[str, ...]]:
    """The same answers, each spelling under one of them only, as a probe needs it.

    A spelling of several answers stays with the first whose common name it is, otherwise with the first that has it:
    two countries are called Congo for short, and they are still two. An answer left without a spelling goes, and so
    does a spelling that its answer has already in another form ("Cote d'Ivoire").
    """
    forms: dict[Key, dict[str, str]] = {}
    for key, texts in answers.items():
        forms[key] = {}
        for text in texts:
            if form := normalised(text):
                forms[key].setdefault(form, text)
    owner: dict[str, Key] = {}
    for key, spellings in forms.items():
        for form in list(spellings)[:1]:
            owner.setdefault(form, key)
    # Common names first, all others after them.
    for key, spellings in forms.items():
        for form in spellings:
            owner.setdefault(form, key)
    own = {
        key: tuple(text for form, text in spellings.items() if owner[form] == key) for key, spellings in forms.items()
    }
    return {key: spellings for key, spellings in own.items() if spellings}


def _id(words: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", words.lower())
