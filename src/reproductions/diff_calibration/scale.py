"""How large each preset of the calibration is; importable without torch."""

from dataclasses import dataclass, field, replace

from armillary.cli.reproduce import Preset
from armillary.diff.config import Budget


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How rows are learned."""

    rank: int | None = 4
    """Of the adapter; None trains every weight."""

    modules: tuple[str, ...] = ("v_proj", "o_proj", "down_proj")
    """What the adapter stands beside, in the upper half of the layers: the gradient then ends half way up."""

    steps: int = 120
    batch: int = 4
    rate: float = 2e-3
    """The highest; it rises over the first tenth of the steps and falls to zero in a straight line."""

    most_tokens: int = 80
    """Of a row; what follows is cut."""

    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class NullSizes:
    """How many pages of a model beside itself in another order, and how large each is: small, since there are many."""

    pages: int = 72
    """As many without a line as the exact interval of their share needs to end at 0.05."""

    tags: int = 2
    """Kinds of questions, and of texts, drawn for each page."""

    questions: int = 8
    """Of each kind; the same test as on a large page, over fewer of them."""

    prompts: int = 6
    """Of the questions, that are answered."""

    answer_tokens: int = 6
    texts: int = 8
    """Of each kind."""

    dtype: str = "bfloat16"
    """Of the computation: eight bits of each number, so that another order of the same sums shows. In float32 it
    moves no comparison by a hundredth of its noise floor, which would test nothing."""

    exchanges: int = 10
    """Pages of exchanged numbers from each page of a real change; they need no model."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Sizes of one preset."""

    noise: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1)
    """Standard deviation of the noise, as a share of each matrix's own."""

    factors: tuple[float, ...] = (0.25, 1.0)
    """By which the adapter of each tune is multiplied: one training gives several sizes."""

    nulls: NullSizes = field(default_factory=NullSizes)
    """Pages without a change: what the rate of false alarms rests on."""

    budget: Budget = "2m"
    """Of each page; the sizes below go before it."""

    tags: tuple[str, ...] = ("arithmetic", "German", "everyday")
    """Of the packaged prompts, beside the messages that one tune learns to sort: enough of few kinds, so that each
    can be told."""

    prompts: int = 24
    """That are answered, of all tags together, evenly; seven times as many may be scored."""

    texts: int = 96
    """Packaged texts: a dozen of each group, as a text counts once and of fewer hardly any change could be told."""

    answer_tokens: int = 16

    recipe: Recipe = field(default_factory=Recipe)


LAPTOP = Scale()

SCALES: dict[Preset, Scale] = {
    "quick": replace(
        LAPTOP,
        noise=(0.1,),
        factors=(1.0,),
        nulls=NullSizes(pages=2, tags=2, questions=4, prompts=4, answer_tokens=2, texts=6, exchanges=1),
        prompts=8,
        texts=48,
        answer_tokens=4,
        recipe=Recipe(steps=2, batch=2),
    ),
    "laptop": LAPTOP,
    "gpu": replace(
        LAPTOP,
        nulls=NullSizes(pages=150),
        factors=(0.125, 0.25, 0.5, 1.0),
        budget="10m",
        prompts=200,
        recipe=Recipe(steps=400),
    ),
}
