"""The graph that a command names: a folder, a file of triples, the packaged geography, WordNet, or one of PyKEEN's."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from armillary.errors import UsageError
from armillary.files import numbered_lines
from armillary.graphs import KnowledgeGraph, Lexicon, read_triples
from armillary.methods.ocean.chains.phrases import BY_NAME, GEOGRAPHY, WORDNET, Phrases
from armillary.methods.ocean.chains.verdicts import ChainChecker

NAMED = ("geography", "wordnet", "nations", "kinships", "umls")


@dataclass(frozen=True, kw_only=True)
class ChosenGraph:
    """A graph with what is needed to link texts to it and to know its relations in them."""

    name: str
    graph: KnowledgeGraph
    aliases: tuple[tuple[str, str], ...] = ()
    """Pairs (entity, name)."""

    phrases: Phrases = BY_NAME
    own_names: bool = True
    """False where entities bear no names that a text would hold, as "dog.n.01"."""

    def lexicon(self) -> Lexicon:
        """Its names. UsageError where the extra ``graphs`` is missing."""
        return Lexicon.of(self.graph, self.aliases, own_names=self.own_names)

    def checker(self) -> ChainChecker:
        """Looks steps up in it. UsageError as ``lexicon``."""
        return ChainChecker(self.graph, self.lexicon(), self.phrases)


def chosen_graph(name: str, *, aliases: str | None = None, phrases: str | None = None) -> ChosenGraph:
    """The graph of a name of ``NAMED``, of a folder (of ``KnowledgeGraph.build``, or WordNet's) or a file of triples.

    ``aliases`` is a file of lines "entity<tab>name<tab>name ...", ``phrases`` one as ``Phrases.read`` takes; both go
    before what the name brings.

    Raises:
        UsageError: none of these, or a file that can't be read; the sentence says which.
        StorageError: a folder is damaged.
    """
    chosen = _named(name) if name in NAMED and not Path(name).exists() else _stored(name)
    own = chosen.phrases if phrases is None else Phrases.read(phrases)
    if unknown := sorted({*own.patterns, *own.complete} - {*chosen.graph.relations}) if phrases is not None else []:
        raise UsageError(
            f"{phrases} speaks of the relation {unknown[0]!r}, which the graph does not have; it has "
            f"{', '.join(list(chosen.graph.relations)[:8])}."
        )
    more = () if aliases is None else tuple(_aliases(aliases))
    return ChosenGraph(
        name=chosen.name,
        graph=chosen.graph,
        aliases=(*more, *chosen.aliases),
        phrases=own,
        own_names=chosen.own_names,
    )


def _named(name: str) -> ChosenGraph:
    if name == "geography":
        return _geography()
    if name == "wordnet":
        from armillary.data.texts.wordnet import database

        return _wordnet(database())
    from armillary.graphs.readers.objects import pykeen_triples

    return ChosenGraph(name=name, graph=KnowledgeGraph.of(pykeen_triples(name)))


def _geography() -> ChosenGraph:
    from armillary.data.relations.facts import CURRENCY, geography_facts, geography_names

    facts = list(geography_facts())
    # "pays in dollars": the table has currencies in the singular.
    plural = sorted({(tail, f"{tail}s") for _, relation, tail in facts if relation == CURRENCY})
    return ChosenGraph(
        name="geography",
        graph=KnowledgeGraph.of(facts),
        aliases=(*geography_names(), *plural),
        # The tables hold every official language, currency, neighbour and the one capital and continent of a country.
        phrases=Phrases(patterns=GEOGRAPHY, complete=frozenset(GEOGRAPHY)),
    )


def _wordnet(folder: Path) -> ChosenGraph:
    from armillary.graphs.readers.wordnet import wordnet_names, wordnet_triples

    return ChosenGraph(
        name="wordnet",
        graph=KnowledgeGraph.of(wordnet_triples(folder)),
        aliases=tuple(wordnet_names(folder)),
        phrases=Phrases(patterns=WORDNET),
        own_names=False,
    )


def _stored(name: str) -> ChosenGraph:
    path = Path(name)
    if path.is_dir():
        if (path / "data.noun").is_file():
            return _wordnet(path)
        return ChosenGraph(name=path.name, graph=KnowledgeGraph.open(path, verify=True))
    if not path.exists() and not path.suffix:
        raise UsageError(
            f"there is no graph {name!r}; give a folder, a file of triples, or one of {', '.join(NAMED)}."
        )
    return ChosenGraph(name=path.stem, graph=KnowledgeGraph.of(read_triples(path)))


def _aliases(path: str) -> Sequence[tuple[str, str]]:
    pairs = []
    for number, line in numbered_lines(path):
        entity, *names = (field.strip() for field in line.split("\t"))
        if not entity or not any(names):
            raise UsageError(f"line {number} of {path} is {line!r:.60}; give an entity and its names, parted by tabs.")
        pairs += [(entity, name) for name in names if name]
    return pairs
