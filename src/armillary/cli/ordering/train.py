"""``armillary ordering train [MODEL]``: models that differ in nothing but the order of the steps they learned."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

import tyro

from armillary.cli.command import run_job
from armillary.errors import UsageError
from armillary.methods.ordering.training.config import DecoderShape, LearningConfig
from armillary.runs.run import Job, Outcome, Run
from armillary.runs.settings import DRY_MODEL, File, ModelSettings, at_least

if TYPE_CHECKING:
    from armillary.methods.ordering.steps import Sample
    from armillary.methods.ordering.training.comparison import OrderTask
    from armillary.methods.ordering.worlds import World
    from armillary.models.loaded import LoadedModel

    Prepared = tuple[OrderTask, Callable[[int], LoadedModel], list[Sample], str]

FROM_SCRATCH, GIVEN = 3e-3, 2e-5
"""Learning rates by default: of a small model from random weights, and of one that has learned before."""

Position = Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]


@dataclass(frozen=True, kw_only=True)
class OrderingTrainSettings(ModelSettings):
    """Train one model an order and seed on the same samples, and compare what they make of held-out ones.

    All begin with the same weights, take the same steps and learn the same tokens: what differs is where each step
    stands. Samples are your own (--data) or those of a task with an exact judge (--world). Without MODEL a small
    decoder learns from random weights.
    """

    command: ClassVar[str] = "ordering train"

    model: Position = None
    """Packaged name, folder or hub id of a model to go on from; by default a small one from scratch."""

    data: File = None
    """Step data as `armillary ordering audit` reads them."""

    format: str = "auto"
    """How steps and their dependencies are read; auto tells it by their marks."""

    world: Literal["logic", "multiplication"] | None = None
    """In place of data: proofs of propositional theorems, or multiplications by digits."""

    orders: tuple[str, ...] = ()
    """Orders, the first of which the others are compared with; of data seq, bfs, logical, reversed, random, swap:P."""

    seeds: int = 3
    """Models of each order; seeds differ in weights, batches and drawn orders."""

    steps: int = 600
    batch_size: int = 32
    learning_rate: float | None = None
    """By default 3e-3 from scratch and 2e-5 for a given model."""

    held_out: float = 0.1
    """Share of the samples that is not learned, a thousand of them at most."""

    most_tokens: int = 512
    """Longer samples are left out, in every order."""

    problems: tuple[int, int] | None = None
    """Of a world: to learn, and held out; by default 20,000 and 500, of factors of two digits nearly all there are."""

    digits: int = 2
    """Of a factor in the world multiplication."""

    width: int = 96
    layers: int = 3
    """Of the small model."""

    def __post_init__(self) -> None:
        at_least(self, seeds=1, most_tokens=8, digits=1)
        if (self.data is None) == (self.world is None):
            raise UsageError("Give either --data FILE or --world logic|multiplication, and not both.")
        if self.world is not None and self.model is not None:
            raise UsageError("A world has tokens of its own, which MODEL does not have; leave MODEL or --world out.")
        if not 0 < self.held_out < 1:
            raise UsageError(f"held_out must be between 0 and 1, got {self.held_out}.")
        if self.problems is not None and min(self.problems) < 1:
            raise UsageError(f"problems must be 1 or more of each, got {self.problems}.")
        if len(set(self.chosen())) < len(self.chosen()):
            raise UsageError(f"an order is named twice among {', '.join(self.chosen())}.")
        self.learning()
        self.shape()

    def chosen(self) -> tuple[str, ...]:
        """The orders, or what is usual."""
        usual: dict[str | None, tuple[str, ...]] = {
            None: ("seq", "logical", "random"),
            "logic": ("seq", "action_first", "logical"),
            "multiplication": ("seq", "msb", "sumfirst"),
        }
        return self.orders or usual[self.world]

    def learning(self) -> LearningConfig:
        """Of every training. UsageError for a setting out of range."""
        usual = FROM_SCRATCH if self.model is None else GIVEN
        return LearningConfig(
            steps=self.steps, batch_size=self.batch_size, seed=self.seed,
            learning_rate=usual if self.learning_rate is None else self.learning_rate,
            warmup_steps=max(1, min(100, self.steps // 5)),
        )  # fmt: skip

    def shape(self) -> DecoderShape:
        """Of the small model. UsageError for a width that its four heads do not share."""
        return DecoderShape(width=self.width, layers=self.layers, positions=max(512, self.most_tokens))

    def models(self) -> dict[str, str]:
        """The given one, if there is one."""
        return {} if self.model is None else {"model": self.model}

    def files(self) -> dict[str, str]:
        """The data."""
        return {} if self.data is None else {"data": self.data}

    def names(self) -> tuple[str, ...]:
        """What is learned."""
        return (self.world or Path(str(self.data)).stem,)

    def dry(self) -> Self:
        """Two steps of a tiny model, one seed."""
        return replace(
            self, model=None if self.model is None else DRY_MODEL, steps=2, seeds=1, batch_size=4, problems=(30, 6),
            digits=1, width=16, layers=1,
        )  # fmt: skip

    def opened_world(self) -> "World":
        """The world of the settings."""
        from armillary.methods.ordering.logic.world import LogicWorld
        from armillary.methods.ordering.multiplication.world import MultiplicationWorld

        return LogicWorld() if self.world == "logic" else MultiplicationWorld(self.digits)

    def check(self) -> None:
        """Refuse orders that there are not, and packed weights."""
        from armillary.methods.ordering.orders import permutation
        from armillary.methods.ordering.steps import Sample

        if self.quantize is not None:
            raise UsageError(f"packed weights ({self.quantize}) can't be trained; leave --quantize out.")
        if self.data is not None:
            for order in self.chosen():
                permutation(Sample("", ()), order)
            return
        world = self.opened_world()
        for order in self.chosen():
            if order not in world.orders:
                raise UsageError(f"{world.name} has no order {order!r}; it has {', '.join(world.orders)}.")
        if len({order in world.addressed for order in self.chosen()}) > 1:
            marked = ", ".join(order for order in world.orders if order in world.addressed)
            raise UsageError(f"orders with addresses ({marked}) are compared among themselves: they have more tokens.")


def train_orders(run: Run[OrderingTrainSettings]) -> Outcome:
    """Every order and seed trained, and the page of their comparison."""
    from armillary.methods.ordering.training.comparison import compare
    from armillary.methods.ordering.training.page import training_page

    settings = run.settings
    task, start, samples, title = _of_world(settings) if settings.world else _of_data(run)
    trained = compare(task, settings.chosen(), start, settings.learning(), run.parts, seeds=settings.seeds)
    page = training_page(trained, samples, title)
    return Outcome(
        title=f"{len(trained)} orders of {title}",
        measures=page.measures,
        findings=page.findings,
        sections=page.sections,
    )


def _of_world(settings: OrderingTrainSettings) -> "Prepared":
    from armillary.methods.ordering.training.comparison import WorldTask
    from armillary.methods.ordering.training.rows import WorldTokens
    from armillary.methods.ordering.training.start import small_decoder, world_tokenizer

    world = settings.opened_world()
    few = settings.world == "multiplication" and settings.digits < 3
    count, held_out = settings.problems or ((3_700, 350) if few else (20_000, 500))
    tests = world.problems(held_out, seed=2 * settings.seed)
    train = world.problems(count, seed=2 * settings.seed + 1, exclude={problem.key for problem in tests})
    tokenizer = world_tokenizer(WorldTokens.of(world))

    def start(seed: int) -> "LoadedModel":
        return small_decoder(tokenizer, settings.shape(), seed=seed, device=settings.device)

    return WorldTask(world, train, tests), start, [], f"{len(train):,} problems of {world.name}"


def _of_data(run: Run[OrderingTrainSettings]) -> "Prepared":
    from armillary.methods.ordering.training.comparison import SampleTask
    from armillary.methods.ordering.training.samples import several_steps, split_samples, step_tokens
    from armillary.methods.ordering.training.start import restarted, small_decoder, text_tokenizer

    settings = run.settings
    begin: Callable[[int], LoadedModel]
    read = several_steps(str(settings.data), settings.format)
    learned, held_out = split_samples(read, settings.held_out, seed=settings.seed)
    if settings.model is None:
        # Of what is learned alone: held-out samples must not decide what is a token.
        texts = [text for sample in learned for text in (sample.prompt, *(step.text for step in sample.steps))]
        tokenizer = text_tokenizer(texts)

        def start(seed: int) -> "LoadedModel":
            return small_decoder(tokenizer, settings.shape(), seed=seed, device=settings.device)

        begin = start
        loaded = begin(settings.seed)
    else:
        loaded, begin = run.model, restarted(run.model)
    train, test = (step_tokens(loaded, samples, settings.most_tokens) for samples in (learned, held_out))
    samples = [tokens.sample for tokens in test]
    long = len(learned) + len(held_out) - len(train) - len(test)
    what = f"{len(train):,} samples of {Path(str(settings.data)).name}"
    what += f" ({long:,} longer than {settings.most_tokens:,} tokens left out)" if long else ""
    return SampleTask(train, test, len(loaded.tokenizer)), begin, samples, what


JOBS = {"ordering train": Job(settings=OrderingTrainSettings, work=train_orders)}


def run(arguments: Sequence[str]) -> int:
    """The command."""
    return run_job(JOBS["ordering train"], arguments)
