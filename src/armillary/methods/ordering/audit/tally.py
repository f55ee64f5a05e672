"""What is counted over audited samples: as much memory for a thousand as for a billion, and the counts add up.

A sample counts once in every interval, whatever the number of its steps: they stand or fall together.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

from armillary.numerics.ratios import RatioSums
from armillary.records.sections import PlacedStep

BINS = ((1, 1), (2, 2), (3, 4), (5, 8), (9, 16), (17, 32), (33, None))
"""Distances that are taken together: each bin is twice as wide as the one before, as long distances are rare."""

SENTENCES = 5
"""Refused records whose sentence is kept: one mistake usually makes them all."""

KINDS = 40
"""Kinds of step that are counted each by itself: more are names and not kinds, and they would fill memory."""

OTHERS = "others"
"""What the kinds beyond these are counted as."""


def limited(counted: Collection[str], name: str) -> str:
    """The name under which one is counted, beside those that are."""
    return name if name in counted or len(counted) < KINDS else OTHERS


def bin_name(low: int, high: int | None) -> str:
    """ "5 to 8", "33+"."""
    return f"{low}+" if high is None else str(low) if low == high else f"{low} to {high}"


@dataclass(frozen=True, kw_only=True)
class OrderExample:
    """A sample as it is written and as it would be in the proposed order."""

    where: str
    prompt: str
    late: int
    """Edges whose support stands to the right, of ``edges``."""

    edges: int
    farthest: int
    """The largest distance, in steps, from a step to its support on the right."""

    rank: tuple[int, int, int, int]
    """What examples are sorted by, the least first: those that are shown whole, then those that reach farthest."""

    before: list[PlacedStep]
    after: list[PlacedStep]


@dataclass(kw_only=True)
class OrderTally:
    """Counts over samples. What ``merge`` adds must come after what is counted here."""

    samples: int = 0
    """Records that have steps."""

    free: int = 0
    """Samples without an edge: every order of them is sequential."""

    late: int = 0
    """Samples in which the support of a step stands to its right."""

    unread: int = 0
    """Records that hold no steps of the format."""

    refused: int = 0
    """Records whose steps are no sample (a circle, an unknown id ...)."""

    refusals: list[str] = field(default_factory=list)
    steps: int = 0
    edges: int = 0
    inferred: int = 0
    """Edges into steps whose edges a reader guessed."""

    late_edges: int = 0
    longest: int = 0
    """The largest distance, in steps, from a step to its support on the right."""

    unwritten: int = 0
    """Samples out of order whose record can't be written in another order."""

    vf: RatioSums = field(default_factory=RatioSums)
    """Over samples with an edge, as the three below."""

    wvf: RatioSums = field(default_factory=RatioSums)
    lag: RatioSums = field(default_factory=RatioSums)
    tau: RatioSums = field(default_factory=RatioSums)
    kinds: dict[str, RatioSums] = field(default_factory=dict)
    """For each kind: of a sample's steps with a support, those with one on the right."""

    distances: dict[str, RatioSums] = field(default_factory=dict)
    """For each bin of distances: of a late sample's late edges, those of this length."""

    pairs: dict[str, int] = field(default_factory=dict)
    """Late edges by the kinds of step and support, parted by a tab."""

    examples: list[OrderExample] = field(default_factory=list)
    changed: dict[str, str] = field(default_factory=dict)
    """Of a piece that is written anew: what changes in its records (``writing.change``), by their number in it."""

    def merge(self, other: "OrderTally", keep: int) -> None:
        """Add the counts of what comes next, with at most ``keep`` examples; what is to be written is not kept."""
        for name in ("samples", "free", "late", "unread", "refused", "steps", "edges", "inferred", "late_edges",
                     "unwritten"):  # fmt: skip
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.longest = max(self.longest, other.longest)
        self.refusals = [*self.refusals, *other.refusals][:SENTENCES]
        for name in ("vf", "wvf", "lag", "tau"):
            getattr(self, name).merge(getattr(other, name))
        for mine, theirs in ((self.kinds, other.kinds), (self.distances, other.distances)):
            for key, sums in theirs.items():
                mine.setdefault(limited(mine, key), RatioSums()).merge(sums)
        for key, count in other.pairs.items():
            name = limited(self.pairs, key)
            self.pairs[name] = self.pairs.get(name, 0) + count
        # Sorting is stable: of equal ranks the earlier sample stays.
        self.examples = sorted([*self.examples, *other.examples], key=lambda example: example.rank)[:keep]
