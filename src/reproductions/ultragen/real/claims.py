"""What UltraGen claims of untuned models, judged on the given one and real texts: rules written before the run.

[derived] Quantities, numbers, controls and nulls are ours.
"""

from armillary.records.claims import Claim, Control, Rule, above, at_most, settled
from reproductions.ultragen.scale import REAL_COUNTS

NO_SLOPE = 0.2
"""Log-odds from the first place to the last that count as nothing: five points of a share of one half."""

_SWAPPED = "The answer to another prompt of the same size, judged by this one's attributes: its share stands beside."

_SLOPE = "real/slope over the place"
BIASED = Rule(
    (_SLOPE,),
    lambda m: settled(
        holds=m[_SLOPE].lower > 0 or m[_SLOPE].upper < 0,
        fails=-NO_SLOPE <= m[_SLOPE].lower <= 0 <= m[_SLOPE].upper <= NO_SLOPE,
    ),
    {_SLOPE: (-NO_SLOPE, 0.0, NO_SLOPE)},
)


def real_claims(counts: tuple[int, ...]) -> tuple[Claim, ...]:
    """The claims where the model is asked for these numbers of attributes."""
    few, most = counts[0], counts[-1]
    follows = Control(
        what=f"the model follows: at {few} attributes its answers meet more than answers to other prompts do",
        rule=above("real/beyond another prompt's answer"),
        otherwise="model too small",
    )
    return (
        Claim(
            "real-witness",
            "Every attribute derived from a text holds of it, and its sentence is read back as the same attribute.",
            "Attributes that fail on their own text, conflict there, or are read back as others, over every kind.",
            "Holds when there is none, fails when there is one: each would be an error in the catalogue.",
            at_most("witness/failures"),
            paper="Released derivers hold of their texts but for casing, which is drawn at random (released code).",
            controls=(Control(what="at least 2,000 texts were read", rule=above("witness/texts", 1999)),),
            null="A deriver at random, as the released one of casing, is false of nearly every text.",
            needs=("witness/kinds",),
        ),
        Claim(
            "real-degrades",
            "An untuned model meets a smaller share of many attributes than of few.",
            f"Share of hard attributes met at {few} less that at {most}, nested sets of the same texts, one "
            "answer each.",
            "Holds when the interval is above 0, fails when it is at or below: any fall is one.",
            above("real/fall"),
            paper="Prior methods handle three to five attributes and degrade beyond (abstract).",
            controls=(follows,),
            null=_SWAPPED,
            needs=(
                "real/fall without what forbids",
                *(f"real/{count} attributes" for count in counts),
                *(f"real/{count} attributes, another prompt's answer" for count in counts),
                "real/best of 1",
                "real/best of 4",
            ),
        ),
        Claim(
            "real-order-of-difficulty",
            "Structure and format are harder than content.",
            "Share of content attributes met less that of format and structure, without what forbids, at the two "
            "largest numbers, a mean a prompt.",
            "Holds when the interval is above 0, fails when it is at or below: the order is the claim.",
            above("real/content beyond structure"),
            paper="Structural and format constraints are harder than content and style (abstract of the benchmark).",
            controls=(follows,),
            null="Kinds alike in difficulty differ by 0, drawn as the interval over prompts.",
            needs=tuple(f"real/{name}, share met" for name in ("format", "structure", "position", "content", "style")),
        ),
        Claim(
            "real-position",
            "Whether an attribute is met depends on its place in the prompt.",
            f"Slope of the log-odds from the first place to the last at {most} attributes, with an effect for each "
            "kind.",
            "Holds when the interval excludes 0, on either side; fails when it lies within 0.2 of 0: five points of a "
            "share of one half.",
            BIASED,
            paper="Models favour late attributes and neglect early ones (abstract of the benchmark).",
            controls=(follows,),
            null="Verdicts of an answer dealt to random places: the range of fifths that 95 % of them stay below.",
            needs=(
                "real/range of fifths",
                "real/range of fifths by chance",
                *(f"real/fifth {n}" for n in range(1, 6)),
            ),
        ),
    )


REAL_CLAIMS = real_claims(REAL_COUNTS)
"""Those of the committed results."""
