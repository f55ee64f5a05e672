"""Names of entities found in a text: the longest at each place, at word boundaries, with every entity so called."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from armillary.graphs.triples import KnowledgeGraph


@dataclass(frozen=True)
class Mention:
    """Where a text names an entity: ``text[start:end]``, in characters of the text as it was given."""

    start: int
    end: int
    entities: tuple[str, ...]
    """Every entity that bears the name, sorted; more than one where the name is ambiguous."""


class Lexicon:
    """Names and aliases of entities, by which texts are linked."""

    def __init__(
        self,
        names: Iterable[tuple[str, str]],
        *,
        linked_anyway: Collection[str] = (),
        common_words: Collection[str] | None = None,
    ) -> None:
        """Of pairs (name, entity); several entities may share a name, and one may have several."""
        raise NotImplementedError

    @classmethod
    def of(
        cls,
        graph: KnowledgeGraph,
        aliases: Mapping[str, Iterable[str]] | Iterable[tuple[str, str]] = (),
        *,
        linked_anyway: Collection[str] = (),
        common_words: Collection[str] | None = None,
        own_names: bool = True,
    ) -> "Lexicon":
        """All entities of a graph under their own names, and further names (entity -> aliases)."""
        raise NotImplementedError

    @property
    def held_back(self) -> Mapping[str, str]:
        """Names that are not linked, each with the reason."""
        raise NotImplementedError

    def link(self, text: str) -> list[Mention]:
        """Mentions in the order of the text; none overlaps another."""
        raise NotImplementedError
