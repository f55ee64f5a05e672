"""Writes src/armillary/data/written/wordnet_glosses.tsv from a copy of WordNet 3.0.

    python tools/wordnet_glosses.py FOLDER

FOLDER holds ``data.noun``, ``data.verb``, ``data.adj`` and ``data.adv`` (Debian's package wordnet-base has them in
/usr/share/wordnet). The same FOLDER gives the same bytes. A line is a word, a tab, and its definition: the gloss up to
the first example. The synsets are those with the lowest hashes, until there are ``ENOUGH`` words.
"""

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

WRITTEN = Path(__file__).parents[1] / "src" / "armillary" / "data" / "written" / "wordnet_glosses.tsv"
ENOUGH = 56_000
SHORTEST = 8


def definitions(folder: Path) -> Iterator[tuple[str, str]]:
    """Word and definition of every synset, in WordNet's order."""
    for part in ("noun", "verb", "adj", "adv"):
        for line in (folder / f"data.{part}").read_text("latin-1").splitlines():
            if not line.startswith("  "):
                fields, _, gloss = line.partition("|")
                word = fields.split()[4].partition("(")[0].replace("_", " ")
                yield word, " ".join(gloss.split(';"')[0].split('; "')[0].split()).strip("; ")


def main(folder: str) -> None:
    """Write the file."""
    ordered = sorted(
        {pair for pair in definitions(Path(folder)) if len(pair[1].split()) >= SHORTEST and '"' not in pair[1]},
        key=lambda pair: hashlib.sha256("\t".join(pair).encode()).digest(),
    )
    lines, words = [], 0
    for word, definition in ordered:
        if words >= ENOUGH:
            break
        lines.append(f"{word}\t{definition}")
        words += len(lines[-1].split())
    WRITTEN.write_text("\n".join(sorted(lines)) + "\n", "utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
