"""What RDKit can tell of molecules that are given as SMILES: vectors, one-line captions, graphs as numbers.

RDKit is imported inside the functions; ``slots`` needs none. A string that is no molecule is refused by its index.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from armillary.errors import UsageError
from armillary.extras import optional

GRAPH_SIZE, _ROUNDS = 128, 2

_WEIGHT = "MolWt"
_SINGLE = (
    *(_WEIGHT, "HeavyAtomCount", "NumValenceElectrons", "NHOHCount", "NOCount", "NumHeteroatoms", "NumHAcceptors"),
    *("NumHDonors", "NumRotatableBonds", "RingCount", "NumAromaticRings", "NumAliphaticRings", "FractionCSP3"),
    *("TPSA", "MolLogP", "MolMR", "HallKierAlpha", "LabuteASA"),
)
_BINNED = {"SlogP_VSA": 12, "SMR_VSA": 10}
DESCRIPTORS = (*_SINGLE, *(f"{name}{number}" for name, bins in _BINNED.items() for number in range(1, bins + 1)))
"""The 40 columns of ``descriptors``, by RDKit's names: size, rings, polarity, and the surface in bins of solubility
and refractivity."""

_BANDS = (("light", 160.0), ("medium", 220.0), ("heavy", float("inf")))
"""Bands of weight and where each ends, in g/mol: near the terciles of the molecules of at most 40 characters."""

_RING_COUNTS = ("no ring", "one ring", "two rings", "three rings", "many rings")

GROUPS = {
    "acid": "[CX3](=O)[OX2H1]",
    "ester": "[CX3;!$(C(=O)[OX2H1])](=O)[OX2][#6]",
    "amide": "[CX3](=O)[NX3]",
    "aldehyde": "[CX3H1;!$(C(=O)[O,N])]=O",
    "ketone": "[#6][CX3](=O)[#6]",
    "nitrile": "[CX2]#[NX1]",
    "nitro": "[$([NX3](=O)=O),$([NX3+](=O)[O-])]",
    "sulfonyl": "[SX4](=O)(=O)",
    "phenol": "c[OX2H1]",
    "alcohol": "[CX4][OX2H1]",
    "ether": "[OX2;!$(O[C,S,P]=[O,S])]([#6])[#6]",
    "amine": "[NX3;!$(N[C,S,P]=[O,S,N]);!$(N-[!#6;!#1]);!$(N-C#N)]",
    "halide": "[#6][F,Cl,Br,I]",
}
"""Functional groups that a caption tells, in its order, as SMARTS patterns."""

_MOST_GROUPS = 3
_ADJECTIVES = ("nitro", "sulfonyl")
_GROUP = re.compile(rf"\b({'|'.join(GROUPS)})s?\b")
_RINGS = re.compile(r"\b(no|one|two|three|many) rings?\b")
_BAND = re.compile(rf"\b({'|'.join(name for name, _ in _BANDS)})\b")


def descriptors(smiles: Sequence[str]) -> Float32[np.ndarray, "n d"]:
    """The numbers named in ``DESCRIPTORS``, as RDKit gives them: not standardised.

    UsageError where RDKit is missing or a string is no molecule, as in all functions here but ``slots``.
    """
    with _molecules(smiles) as parsed:
        from rdkit.Chem import rdMolDescriptors

        single = [_descriptor(name) for name in _SINGLE]
        binned = [getattr(rdMolDescriptors, f"{name}_") for name in _BINNED]
        rows = [
            [*(of(molecule) for of in single), *(value for of in binned for value in of(molecule))]
            for molecule in parsed
        ]
    return np.array(rows, dtype=np.float32).reshape(len(rows), len(DESCRIPTORS))


def captions(smiles: Sequence[str]) -> list[str]:
    """A line for each: weight, rings and the first three groups it has, in the order of ``GROUPS``.

    "a light molecule with one ring, an alcohol and an amine"; about 9 words, at most 15.
    """
    with _molecules(smiles) as parsed:
        from rdkit.Chem import GetMolFrags, MolFromSmarts

        weight_of = _descriptor(_WEIGHT)
        patterns = {name: MolFromSmarts(pattern) for name, pattern in GROUPS.items()}
        return [
            _caption(
                weight_of(molecule),
                # Independent cycles: in cages RDKit adds equivalent rings (adamantane: 4 instead of 3).
                int(molecule.GetNumBonds() - molecule.GetNumAtoms() + len(GetMolFrags(molecule))),
                [name for name, pattern in patterns.items() if molecule.HasSubstructMatch(pattern)],
            )
            for molecule in parsed
        ]


def slots(caption: str) -> frozenset[str]:
    """What a caption tells: its bands of weight, counts of rings and groups, wherever they stand in any text.

    ``{"light", "one ring", "alcohol", "amine"}`` for the example of ``captions``; empty for a text that tells nothing.
    """
    text = " ".join(caption.lower().split())
    rings = {count: name for name in _RING_COUNTS for count in name.split()[:1]}
    return frozenset((*_BAND.findall(text), *_GROUP.findall(text), *(rings[count] for count in _RINGS.findall(text))))


def aromatic_hetero(smiles: Sequence[str]) -> Bool[np.ndarray, "n"]:
    """True where a molecule has an aromatic ring with an atom other than carbon."""
    with _molecules(smiles) as parsed:
        return np.array([any(map(_has_other_atom, _aromatic_rings(molecule))) for molecule in parsed], dtype=bool)


def graph_features(smiles: Sequence[str]) -> Float32[np.ndarray, "n 128"]:
    """``log(1 + count)`` of Weisfeiler-Lehman labels, hashed into 128 bins, of the graph of heavy atoms.

    Labels begin as element and number of neighbours and take in their neighbours' labels twice. Kinds of bonds,
    hydrogens and aromaticity are left out: the last would give ``aromatic_hetero`` away.
    Source: Shervashidze et al. 2011, Weisfeiler-Lehman Graph Kernels; the hashing is ours.
    """
    features = np.zeros((len(smiles), GRAPH_SIZE), dtype=np.float32)
    with _molecules(smiles) as parsed:
        for row, molecule in zip(features, parsed, strict=True):
            for bin_, count in Counter(map(_bin, _refined_labels(molecule))).items():
                row[bin_] = count
    return np.log1p(features)


@contextmanager
def _molecules(smiles: Sequence[str]) -> Iterator[list[Any]]:
    """The parsed molecules; inside the block RDKit's warnings are held back."""
    if isinstance(smiles, str):
        raise UsageError("smiles must be a list of strings; got one string.")
    chem = optional("rdkit.Chem", "chemistry")
    with optional("rdkit.rdBase", "chemistry").BlockLogs():
        parsed: list[Any] = [chem.MolFromSmiles(text) for text in smiles]
        for index, molecule in enumerate(parsed):
            if molecule is None or not molecule.GetNumAtoms():
                raise UsageError(f"{smiles[index]!r} (at {index}) is no molecule in SMILES that RDKit accepts.")
        yield parsed


def _descriptor(name: str) -> Callable[[Any], float]:
    from rdkit.Chem import Descriptors

    descriptor: Callable[[Any], float] = getattr(Descriptors, name)
    return descriptor


def _caption(weight: float, rings: int, groups: Sequence[str]) -> str:
    band = next(name for name, end in _BANDS if weight < end)
    parts = [_RING_COUNTS[min(rings, len(_RING_COUNTS) - 1)], *map(_with_article, groups[:_MOST_GROUPS])]
    listed = " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))
    return f"a {band} molecule with {listed}"


def _with_article(group: str) -> str:
    noun = f"{group} group" if group in _ADJECTIVES else group
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _aromatic_rings(molecule: Any) -> Iterator[list[Any]]:
    """The atoms of each ring whose bonds are all aromatic."""
    info = molecule.GetRingInfo()
    for bonds, atoms in zip(info.BondRings(), info.AtomRings(), strict=True):
        if all(molecule.GetBondWithIdx(bond).GetIsAromatic() for bond in bonds):
            yield [molecule.GetAtomWithIdx(atom) for atom in atoms]


def _has_other_atom(ring: Sequence[Any]) -> bool:
    return any(atom.GetSymbol() != "C" for atom in ring)


def _refined_labels(molecule: Any) -> Iterator[str]:
    """The labels of all atoms in every round."""
    atoms = molecule.GetAtoms()
    neighbours = [[other.GetIdx() for other in atom.GetNeighbors()] for atom in atoms]
    labels = [f"{atom.GetSymbol()}{atom.GetDegree()}" for atom in atoms]
    yield from labels
    for _ in range(_ROUNDS):
        labels = [
            f"{labels[atom]}({','.join(sorted(labels[other] for other in others))})"
            for atom, others in enumerate(neighbours)
        ]
        yield from labels


def _bin(label: str) -> int:
    return int.from_bytes(hashlib.blake2b(label.encode(), digest_size=8).digest()) % GRAPH_SIZE
