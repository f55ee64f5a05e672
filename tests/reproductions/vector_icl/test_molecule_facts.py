"""Facts of molecules that a chemist knows by heart."""

import sys
from typing import Any

import numpy as np
import pytest

from armillary.errors import UsageError
from reproductions.vector_icl.data.molecule_facts import (
    DESCRIPTORS,
    GROUPS,
    aromatic_hetero,
    captions,
    descriptors,
    graph_features,
    slots,
)

ETHANOL, BENZENE, PYRIDINE, PHENOL = "CCO", "C1=CC=CC=C1", "C1=CC=NC=C1", "C1=CC=C(C=C1)O"
PIPERIDINE, TYRAMINE, GLYCINE, ASPIRIN = "C1CCNCC1", "NCCC1=CC=C(O)C=C1", "NCC(=O)O", "CC(=O)OC1=CC=CC=C1C(=O)O"


@pytest.fixture
def rdkit() -> Any:
    return pytest.importorskip("rdkit")


@pytest.mark.usefixtures("rdkit")
def test_descriptors_are_in_the_order_named() -> None:
    rows = descriptors([ETHANOL, TYRAMINE])
    assert rows.shape == (2, 40) and rows.dtype == np.float32 and len(set(DESCRIPTORS)) == 40
    told = dict(zip(DESCRIPTORS, rows[1].tolist(), strict=True))
    assert told["MolWt"] == pytest.approx(137.18, abs=0.01)
    assert (told["HeavyAtomCount"], told["RingCount"], told["NumHDonors"], told["NOCount"]) == (10, 1, 2, 2)
    surfaces = [value for name, value in told.items() if name.startswith("SMR_VSA")]
    assert sum(surfaces) == pytest.approx(sum(v for n, v in told.items() if n.startswith("SlogP_VSA")), rel=1e-4)


@pytest.mark.usefixtures("rdkit")
@pytest.mark.parametrize(
    ("smiles", "caption"),
    [
        (ETHANOL, "a light molecule with no ring and an alcohol"),
        (BENZENE, "a light molecule with one ring"),
        (TYRAMINE, "a light molecule with one ring, a phenol and an amine"),
        (GLYCINE, "a light molecule with no ring, an acid and an amine"),
        (ASPIRIN, "a medium molecule with one ring, an acid and an ester"),
        ("BrC1=CC=C2C=CC=CC2=C1Br", "a heavy molecule with two rings and a halide"),
        ("O=CC1=CC=C([N+](=O)[O-])C(C#N)=C1Cl", "a medium molecule with one ring, an aldehyde, a nitrile and a nitro"),
        ("C1C2CC3CC1CC(C2)C3", "a light molecule with three rings"),
    ],
)
def test_captions_tell_weight_rings_and_the_first_three_groups(smiles: str, caption: str) -> None:
    told = captions([smiles])[0]
    assert told == (f"{caption} group" if caption.endswith("nitro") else caption)
    known = {"light", "medium", "heavy", "no ring", "one ring", "two rings", "three rings", "many rings", *GROUPS}
    assert len(slots(told)) == 2 + told.count(" a ") + told.count(" an ") and slots(told) <= known


@pytest.mark.usefixtures("rdkit")
@pytest.mark.parametrize(
    ("group", "holder", "other"),
    [
        ("amide", "CC(=O)NC", "CC(=O)CN"),
        ("ketone", "CC(=O)C", "CC(=O)N"),
        ("ether", "COC", "CC(=O)OC"),
        ("amine", "CNC", "CC(=O)NC"),
        ("amine", "NC1=CC=CC=C1", "CS(=O)(=O)NC"),
        ("nitro", "C[N+](=O)[O-]", "CON=O"),
        ("sulfonyl", "CS(=O)(=O)C", "CS(=O)C"),
        ("alcohol", "CO", "CC(=O)O"),
        ("aldehyde", "CC=O", "O=CN"),
        ("ester", "CC(=O)OC", "CC(=O)O"),
    ],
)
def test_groups_are_told_apart(group: str, holder: str, other: str) -> None:
    with_it, without = captions([holder, other])
    assert group in slots(with_it) and group not in slots(without)


def test_slots_of_any_text() -> None:
    assert slots("a light molecule with one ring, an alcohol and an amine") == {
        "light",
        "one ring",
        "alcohol",
        "amine",
    }
    assert slots(" A Heavy  molecule with TWO\nrings, amines, a nitro group.") == {
        "heavy",
        "two rings",
        "amine",
        "nitro",
    }
    assert slots("one rings, two ring") == {"one ring", "two rings"}
    assert slots("") == slots("lightning and alcoholic rings in an etherworld, one two three") == frozenset()


@pytest.mark.usefixtures("rdkit")
def test_aromatic_rings_with_another_atom() -> None:
    fused = "C1=CC=C2C(=C1)C=CN2"  # indole
    beside = "C1=CC=C2C(=C1)CCN2"  # indoline: its nitrogen is not in the aromatic ring
    asked = [PYRIDINE, BENZENE, PIPERIDINE, PHENOL, "C1=COC=C1", fused, beside]
    assert aromatic_hetero(asked).tolist() == [True, False, False, False, True, True, False]


@pytest.mark.usefixtures("rdkit")
def test_graph_features_count_refined_labels() -> None:
    rows = graph_features([ETHANOL, "OCC", BENZENE, "C1CCCCC1", PYRIDINE])
    assert rows.shape == (5, 128) and rows.dtype == np.float32
    assert np.array_equal(rows[0], rows[1])
    assert np.array_equal(rows[2], rows[3])  # neither hydrogens nor kinds of bonds nor aromaticity
    assert not np.array_equal(rows[2], rows[4])
    assert sorted(np.expm1(rows[2][rows[2] > 0]).round().tolist()) == [6, 6, 6]  # one label a round, six times
    assert np.expm1(rows).sum(1).round().tolist() == [9, 9, 18, 18, 18]


@pytest.mark.usefixtures("rdkit")
def test_no_molecules_give_no_rows() -> None:
    assert descriptors([]).shape == (0, 40)
    assert graph_features([]).shape == (0, 128) and aromatic_hetero([]).shape == (0,)
    assert captions([]) == []


@pytest.mark.usefixtures("rdkit")
def test_what_is_no_molecule_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    for bad in ("C1CC", "hello", "", "C(C)(C)(C)(C)C"):
        with pytest.raises(UsageError, match=r"\(at 1\) is no molecule in SMILES"):
            captions([ETHANOL, bad])
    with pytest.raises(UsageError, match="list of strings; got one string"):
        captions(ETHANOL)
    assert capfd.readouterr().err == ""


def test_without_rdkit_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.split(".")[0] == "rdkit"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "rdkit", None)
    with pytest.raises(UsageError, match=r"needs the package rdkit, .* pip install 'armillary\[chemistry\]'\.$"):
        captions([ETHANOL])
    assert slots("a light molecule") == {"light"}
