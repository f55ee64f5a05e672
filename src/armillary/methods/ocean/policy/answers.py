"""Which answers a path has, and whether a text gives one of them."""

import re
import unicodedata
from collections.abc import Sequence

from armillary.graphs.columns import Triple
from armillary.graphs.triples import KnowledgeGraph

MOST_ANSWERS = 10_000
"""Entities at one hop beyond which a path leads nearly anywhere, and an answer tells nothing."""


def right_answers(graph: KnowledgeGraph, facts: Sequence[Triple]) -> tuple[str, ...]:
    """Every entity that the path's relations lead to from its first entity, sorted: relations have many tails.

    Where these are more than ``MOST_ANSWERS`` the path's own end alone.
    """
    here = {facts[0][0]}
    for _, relation, _ in facts:
        here = {tail for head in here for tail in graph.tails(head, relation)}
        if len(here) > MOST_ANSWERS:
            return (facts[-1][2],)
    return tuple(sorted(here))


def is_right(answer: str, accepted: Sequence[str]) -> bool:
    """Whether an answer names one of the accepted entities as a whole word, whatever its case and marks."""
    words = f" {_plain(answer)} "
    return any(f" {_plain(name)} " in words for name in accepted if _plain(name))


def _plain(text: str) -> str:
    letters = unicodedata.normalize("NFKD", text.casefold())
    return " ".join(re.findall(r"\w+", "".join(letter for letter in letters if not unicodedata.combining(letter))))
