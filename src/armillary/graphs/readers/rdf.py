"""Triples of RDF in the form N-Triples, each line parsed by rdflib."""

from collections.abc import Iterator
from pathlib import Path

from armillary.errors import UsageError
from armillary.extras import optional
from armillary.graphs.columns import Triple
from armillary.graphs.readers.lines import streamed_lines


def ntriples(path: str | Path) -> Iterator[Triple]:
    """The statements of an N-Triples file, line by line: a graph larger than memory is read.

    A resource is named by its IRI, a literal by its text (language and type are left out), a blank node by its label
    with "_:" before. Names for texts stand in the statements of rdfs:label, which come like all others.

    Raises:
        UsageError: the extra ``graphs`` (rdflib) is missing, there is no such file, or a line is no statement.
        StorageError: the file can't be read.
    """
    module = optional("rdflib.plugins.parsers.ntriples", "graphs", "rdflib")
    terms = optional("rdflib.term", "graphs", "rdflib")
    statements: list[Triple] = []

    class Sink:
        """What rdflib hands each statement to."""

        def triple(self, subject: object, predicate: object, object_: object) -> None:
            head, tail = (f"_:{term}" if isinstance(term, terms.BNode) else str(term) for term in (subject, object_))
            statements.append((head, str(predicate), tail))

    class Labels(dict[str, object]):
        """Blank nodes under the labels that they have in the file; rdflib would make new ones up in each run."""

        def get(self, key: str, default: object = None) -> object:
            return terms.BNode(key)

    parser = module.W3CNTriplesParser(sink=Sink(), bnode_context=Labels({"": None}))
    for number, line in streamed_lines(path):
        try:
            parser.parsestring(line)
        except (module.ParseError, ValueError) as error:
            raise UsageError(
                f"line {number} of {path} is no statement of N-Triples ({str(error).splitlines()[0]:.120})."
            ) from None
        for statement in statements:
            if "" in statement:
                raise UsageError(f"line {number} of {path} has an empty text, which names nothing; leave it out.")
            yield statement
        statements.clear()
