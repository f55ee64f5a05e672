"""Coq files: one step a declaration, with its proof.

An edge means that a declaration, in its statement or in its proof, names another one of the same file. Edges are
inferred from the names, with the modules in which they stand; a name that the declaration itself binds (a variable, a
hypothesis, a pattern) is not taken for the file's. Of several declarations of a name the nearest to the left counts,
otherwise the first to the right that can hardly be meant by chance. Coq accepts no name before its declaration, so
that in a file which it accepts an edge to the right is a mistake of this reader.
"""

import re
from dataclasses import dataclass

from armillary.methods.ordering.readers.coq.text import (
    DECLARATION,
    END_OF_PROOF,
    IDENT,
    MODULE,
    NAMED,
    Sentence,
    bound,
    declared,
    sentences,
)
from armillary.methods.ordering.readers.framing import framed
from armillary.methods.ordering.readers.graph import linked
from armillary.methods.ordering.readers.interface import Reader, Record
from armillary.methods.ordering.steps import Sample

Path = tuple[str, ...]

PROVED_OR_DEFINED = frozenset({*NAMED, "Definition", "Fixpoint", "Function", "Inductive"})


@dataclass
class Declaration:
    """One declaration of a file with the sentences of its proof."""

    word: str
    names: tuple[str, ...]
    module: Path
    """Modules in which it stands, outermost first."""
    sentences: list[Sentence]
    opened: frozenset[Path]
    """Modules of the file whose names need no module before them here."""
    proved: bool
    """Whether its proof has ended, or it has none."""


class CoqReader(Reader):
    """Files with two declarations at least."""

    name = "coq"
    about = "Coq files: from each declaration to those that name it, in statement or proof (inferred)"
    endings = (".v",)

    def __call__(self, record: Record) -> Sample | None:
        """The sample; None unless Coq's words declare two things at least."""
        frame = framed(record)
        if frame is None or not re.search(r"\.\s*$|\.\s", frame.body):
            return None
        parts = declarations(frame.body)
        if len(parts) < 2:  # one alone has no order
            return None
        texts = [frame.body[part.sentences[0].start : part.sentences[-1].end] for part in parts]
        ids = [f"{place}:{part.names[0]}" if part.names else str(place) for place, part in enumerate(parts)]
        kinds = [part.word.lower() for part in parts]
        return linked(texts, suppliers(parts), prompt=frame.prompt, key=frame.key, kinds=kinds, ids=ids)


def declarations(text: str) -> list[Declaration]:
    """The declarations of a file in their order, each with its proof."""
    module, sections = list[str](), list[tuple[str, bool]]()
    opened = set[Path]()
    parts = list[Declaration]()
    for sentence in sentences(text):
        word = declared(sentence.bare) if not sentence.focus else None
        if word is not None:
            parts.append(
                Declaration(*word, (*module,), [sentence], frozenset(opened), proved=_complete(sentence.bare))
            )
        elif parts and not parts[-1].proved:
            parts[-1].sentences.append(sentence)
            parts[-1].proved = bool(END_OF_PROOF.match(sentence.bare))
        elif (match := MODULE.match(sentence.bare)) is not None:
            if ":=" not in sentence.bare:
                sections.append((match[1], True))
                module.append(match[1])
        elif sentence.bare.startswith("Section"):
            sections.append(("", False))
        elif sentence.bare.startswith("End") and sections:
            if sections.pop()[1]:
                opened = {path for path in opened if path[: len(module)] != (*module,)}
                module.pop()
        elif re.match(r"(?:Import|Export|Include)\s", sentence.bare):
            opened.update((*name.split("."),) for name in IDENT.findall(sentence.bare)[1:])
    return parts


def _complete(sentence: str) -> bool:
    """Whether no proof follows: a body is given, or nothing has to be proved."""
    match = DECLARATION.match(sentence)
    assert match is not None
    if match[1] in NAMED:
        return match[1] != "Goal" and bool(re.search(r":=(?![^(]*\))", sentence))
    return match[1] not in ("Definition", "Let", "Fixpoint", "CoFixpoint") or ":=" in sentence


def suppliers(parts: list[Declaration]) -> list[set[int]]:
    """Positions, from 0, of the declarations that each one names."""
    givers: dict[str, list[int]] = {}
    for place, part in enumerate(parts):
        for name in part.names:
            givers.setdefault(name, []).append(place)
    supports = []
    for place, part in enumerate(parts):
        own = {name for sentence in part.sentences for name in bound(sentence.bare)}
        sources = set[int]()
        for name in {name for sentence in part.sentences for name in IDENT.findall(sentence.bare)}:
            *modules, last = name.split(".")
            places = givers.get(last)
            if places is None or (not modules and (last in own or last in part.names)):
                continue
            seen = [giver for giver in places if giver != place and _visible(parts[giver], part, (*modules,))]
            left = [giver for giver in seen if giver < place]
            # Words of tactics, variables and fields are names of many things, and what other files declare is not seen
            # here: what is proved or defined under a name of several parts is less often meant by chance.
            right = [
                giver
                for giver in seen
                if "_" in last and last == parts[giver].names[0] and parts[giver].word in PROVED_OR_DEFINED
            ]
            sources.update(left[-1:] or right[:1])
        supports.append(sources)
    return supports


def _visible(giver: Declaration, user: Declaration, modules: Path) -> bool:
    """Whether the user, naming these modules, can mean the giver's name."""
    if not modules:
        return giver.module == user.module[: len(giver.module)] or any(
            giver.module[len(giver.module) - len(path) :] == path for path in user.opened
        )
    return giver.module[len(giver.module) - len(modules) :] == modules
