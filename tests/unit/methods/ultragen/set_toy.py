"""Texts, and sets of attributes with soft ones, that the tests of data and space share."""

from collections.abc import Sequence

from armillary.attributes.attribute import Attribute, soft
from armillary.attributes.attribute_set import AttributeSet

KITCHEN = ["oven", "bread", "flour", "yeast", "butter", "knife"]
GARDEN = ["spade", "tulip", "soil", "hedge", "beetle", "rain"]

TEXT = """The old mill stands by the river. Its wheel turns slowly, and the miller grinds wheat for the village.

- flour for bread
- bran for the horses

In winter the river freezes. Then the wheel rests, and the miller tells stories of three hundred years ago."""


def include(word: str) -> Attribute:
    return Attribute(kind="keyword_include", params={"w": word}, text=f'Include "{word}".')


def themed(count: int) -> list[AttributeSet]:
    """Documents of two themes by turns, each with three keywords and two soft sentences of its theme."""
    sets = []
    for number in range(count):
        theme, words = (("kitchens", KITCHEN), ("gardens", GARDEN))[number % 2]
        chosen = [words[(number // 2 + step) % len(words)] for step in range(3)]
        softs = [soft(f"Write about {theme}, first of all a {chosen[0]}."), soft(f"Sound like someone from {theme}.")]
        sets.append(AttributeSet(attributes=(*softs, *map(include, chosen)), id=f"document-{number}"))
    return sets


def theme_of(attributes: Sequence[Attribute]) -> tuple[int, int]:
    """How many of them are of the kitchen and how many of the garden."""
    kitchen = sum("kitchens" in each.text or each.params.get("w") in KITCHEN for each in attributes)
    return kitchen, len(attributes) - kitchen
