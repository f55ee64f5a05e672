"""Coq's text as sentences: comments and strings set aside, bullets and braces apart, the names that each binds.

The Coq Reference Manual (8.16): a sentence ends with a full stop before a blank; ``-``, ``+``, ``*`` and braces at the
beginning of one focus a goal. What a notation or a plugin binds is not seen.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

IDENT = re.compile(r"(?<![\w'.])[^\W\d][\w']*(?:\.[^\W\d][\w']*)*")
"""A name with the modules before it, as ``Nat.add_comm``."""

DECLARATION = re.compile(
    r"^(?:#\[[^\]]*\]\s*)*(?:(?:Local|Global|Program|Polymorphic|Monomorphic|Private|NonCumulative|Cumulative|Time)\s+)*"
    r"(Lemma|Theorem|Corollary|Remark|Fact|Proposition|Property|Example|Definition|Let|Fixpoint|CoFixpoint|Inductive"
    r"|CoInductive|Variant|Record|Structure|Class|Instance|Axioms?|Conjecture|Parameters?|Variables?|Hypothes[ie]s"
    r"|Context|Function|Canonical|Coercion|Ltac|Notation|Scheme|Goal)\b\s*"
)
NAMED = ("Lemma", "Theorem", "Corollary", "Remark", "Fact", "Proposition", "Property", "Example", "Instance", "Goal")
"""Declarations that may stand before a proof whatever follows their name."""

MUTUAL = ("Fixpoint", "CoFixpoint", "Inductive", "CoInductive", "Variant", "Function", "Ltac")
"""Declarations that may declare several things, joined by ``with``."""

MODULE = re.compile(r"^Module\s+(?:Type\s+)?(?:Import\s+|Export\s+)?(\w[\w']*)")
END_OF_PROOF = re.compile(r"^(?:Qed|Defined|Save|Admitted|Abort)\b")
FOCUS = re.compile(r"\s*(-+|\++|\*+|\{|\}|\d+\s*:\s*\{)")

_PLAIN = r"(?!_(?![\w']))[^\W\d][\w']*"
_GROUP = re.compile(rf"[({{\[]\s*(?:!|`)?\s*({_PLAIN}(?:\s+{_PLAIN})*)\s*:(?!=)")
_BINDERS = re.compile(r"\b(?:forall|fun|exists2?|fix|cofix)\b((?:[^,:=]|:(?=[^=])(?=[^,]*\)))*?)(?:,|=>|:)")
_INTROS = re.compile(r"\bintros?\b([^.;)|]*)|\bas\s+((?:\[[^.;]*\]|\([^.;]*\)|[^\s.;,)]+))|\beqn:\s*(\S+)")
_LET = re.compile(
    rf"\b(?:let|set|pose|assert|enough|remember|specialize|cut|epose|eset)\s*\(?\s*({_PLAIN})\s*(?::|\b(?=\s*:))"
)
_LET_PAIR = re.compile(r"\blet\s+'?\(([^)]*)\)\s*:=")
_BRANCH = re.compile(r"(?:\||\bwith)([^|=]*?)=>")
_RENAME = re.compile(rf"\b(?:into|as|in)\s+({_PLAIN})")


@dataclass(frozen=True)
class Sentence:
    """One sentence, or one bullet or brace, of a text."""

    start: int
    end: int
    """Where it stands in the text, its full stop included."""
    bare: str
    """Without comments and strings, which are blanks here, and without blanks at its ends."""
    focus: bool = False
    """A bullet or a brace."""


def bare(text: str) -> str:
    """The text with blanks in place of comments and strings, so that positions stay."""
    out, depth, at, last = list[str](), 0, 0, 0
    for match in re.finditer(r'\(\*(?!\))|\*\)|"(?:[^"]|"")*"', text):
        mark = match.group()
        if mark == "(*":
            if depth == 0:
                out.append(text[last : match.start()])
                at = match.start()
            depth += 1
        elif mark == "*)" and depth:
            depth -= 1
            if depth == 0:
                out.append(re.sub(r"[^\n]", " ", text[at : match.end()]))
                last = match.end()
        elif depth == 0 and mark != "*)":
            out.append(text[last : match.start()])
            out.append(re.sub(r"[^\n]", " ", mark))
            last = match.end()
    out.append(text[last:] if depth == 0 else re.sub(r"[^\n]", " ", text[at:]))
    return "".join(out)


def sentences(text: str) -> Iterator[Sentence]:
    """The sentences of a text in their order."""
    plain = bare(text)
    at = 0
    for stop in re.finditer(r"(?<!\.)\.(?=\s|$)|\.\.\.(?=\s|$)", plain):
        while at < stop.start() and (mark := FOCUS.match(plain, at, stop.start())) is not None:
            yield Sentence(mark.start(1), mark.end(1), mark[1], focus=True)
            at = mark.end()
        body = plain[at : stop.end()]
        begins = at + len(body) - len(body.lstrip())
        yield Sentence(begins, stop.end(), body.strip())
        at = stop.end()
    while (mark := FOCUS.match(plain, at)) is not None:
        yield Sentence(mark.start(1), mark.end(1), mark[1], focus=True)
        at = mark.end()


def declared(sentence: str) -> tuple[str, tuple[str, ...]] | None:
    """The word and the names of a declaration, constructors and fields included; None for another sentence."""
    match = DECLARATION.match(sentence)
    if match is None:
        return None
    word, rest = match[1], sentence[match.end() :]
    if word in (*NAMED, "Definition", "Let") and word != "Goal" and ":" not in rest:
        return None  # prose: "Let b = 4.", "Theorem of Gauss."
    if word in ("Notation", "Scheme", "Context", "Goal", "Coercion", "Canonical"):
        return word, ()
    names = list[str]()
    if re.fullmatch(r"Axioms?|Conjecture|Parameters?|Variables?|Hypothes[ie]s", word):
        head = rest if rest.startswith("(") else "(" + rest
        for group in _GROUP.finditer(head):
            names += group[1].split()
        return word, (*dict.fromkeys(names),)
    for part in re.split(r"\n\s*with\s+|\bwith\s+(?=[^\W\d][\w']*[^|]*:)", rest) if word in MUTUAL else [rest]:
        name = re.match(rf"\s*({_PLAIN})", part)
        if name:
            names.append(name[1])
        body = part.partition(":=")[2]
        if word in ("Inductive", "CoInductive", "Variant"):
            names += re.findall(rf"(?:^|\|)\s*({_PLAIN})", body)
        elif word in ("Record", "Structure", "Class") and "{" in body:
            maker = re.match(rf"\s*({_PLAIN})\s*{{", body)
            names += [maker[1]] if maker else []
            names += re.findall(rf"[{{;]\s*({_PLAIN})(?:\s*[^;:}}]*)?:", body)
    return word, (*dict.fromkeys(names),)


def bound(sentence: str) -> Iterator[str]:
    """Names that a sentence binds for itself or for what follows in its proof: binders, patterns, hypotheses."""
    for pattern in (_GROUP, _BINDERS, _INTROS, _LET, _LET_PAIR, _BRANCH):
        for match in pattern.finditer(sentence):
            for part in match.groups():
                yield from re.findall(rf"(?<![\w'.]){_PLAIN}", part or "")
    if sentence.startswith("rename"):
        yield from _RENAME.findall(sentence)


def parameters(statement: str) -> Iterator[str]:
    """Names that a declaration binds: those between its own name and the colon, and its quantifiers'."""
    head = re.match(rf"[^:]*?\b(?:{'|'.join(NAMED)}|Definition|Let|Fixpoint)\s+{_PLAIN}([^:]*):", statement)
    yield from re.findall(rf"(?<![\w'.]){_PLAIN}", head[1] if head else "")
    yield from bound(statement)


def introduced(sentence: str) -> dict[str, int]:
    """Names that a tactic leaves as hypotheses for the sentences behind it, each with where it stands first."""
    names = dict[str, int]()
    for match in _INTROS.finditer(sentence):
        for group, part in enumerate(match.groups(), 1):
            for name in re.finditer(rf"(?<![\w'.]){_PLAIN}", part or ""):
                names.setdefault(name.group(), match.start(group) + name.start())
    for match in _LET.finditer(sentence):
        if not match.group().startswith("let"):
            names.setdefault(match[1], match.start(1))
    if sentence.startswith("rename"):
        names.update((match[1], match.start(1)) for match in _RENAME.finditer(sentence))
    return names


def named(sentence: str) -> set[str]:
    """Names that a tactic needs: those that stand in it before it introduces them itself, and are not its binders'."""
    new = introduced(sentence)
    local = {*bound(sentence)} - {*new}
    return {
        match.group()
        for match in IDENT.finditer(sentence)
        if match.group() not in local and match.start() < new.get(match.group(), len(sentence))
    }
