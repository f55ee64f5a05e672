"""What a fixed rule sees in one text: a list, a code block, an apology, words that go round in circles.

Each rule takes the text as it is and says yes or no; those that look for words know them in English, German, French
and Spanish.
"""

import re
from collections import Counter

_ITEM = re.compile(r"^\s*(?:[-*•+]|\d{1,2}[.)])\s+\S", re.MULTILINE)
_MARKDOWN = re.compile(r"^#{1,6} \S|\*\*[^*\n]+\*\*|^\s*\|.+\|\s*$|\[[^\]\n]+\]\([^)\n]+\)|`[^`\n]+`", re.MULTILINE)
_APOLOGY = re.compile(
    r"\b(?:sorry|apolog\w+|my mistake|entschuldig\w+|verzeihung|tut mir leid|pardon|désolée?s?|navrée?s?|excuse\w*|"
    r"lo siento|lamento|disculp\w+|perdón|perdona)\b"
)
_FIRST_PERSON = re.compile(
    r"\b(?:i|i'm|i've|i'd|i'll|myself|my|mine|ich|mich|mir|mein\w*|je|moi|mon|mes|yo|mí|mis)\b|\bj'"
)
_END = re.compile("[.!?…:;)\\]}\"'»”\u2019`*|。\uff01\uff1f]\\Z")
RUN, TIMES = 4, 3
"""A text goes round in circles where a run of so many words stands in it so often."""


def has_list(text: str) -> bool:
    """At least two lines are items of a list, with a sign or a number in front."""
    return len(_ITEM.findall(text)) >= 2


def has_code_block(text: str) -> bool:
    """A fence of three backticks stands in it."""
    return "```" in text


def has_markdown(text: str) -> bool:
    """A heading, bold words, a row of a table, a link or code between backticks."""
    return bool(_MARKDOWN.search(text))


def ends_with_question(text: str) -> bool:
    """The last sign, closing quotes and stars left out, is a question mark."""
    return text.rstrip(" \n\t\"'»”*").endswith(("?", "\uff1f"))


def ends_whole(text: str) -> bool:
    """It ends with a mark as a sentence, a quotation or a block does."""
    return bool(_END.search(text.rstrip()))


def apologises(text: str) -> bool:
    """A word of apology stands in it."""
    return bool(_APOLOGY.search(_small(text)))


def speaks_of_itself(text: str) -> bool:
    """The first person singular is used."""
    return bool(_FIRST_PERSON.search(_small(text)))


def goes_in_circles(text: str) -> bool:
    """A run of ``RUN`` words stands in it ``TIMES`` times or more."""
    words = re.findall(r"\w+", text.casefold())
    runs = Counter(tuple(words[at : at + RUN]) for at in range(len(words) - RUN + 1))
    return max(runs.values(), default=0) >= TIMES


def _small(text: str) -> str:
    return text.casefold().replace("\u2019", "'")
