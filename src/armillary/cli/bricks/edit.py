"""``armillary bricks edit MODEL``: one fact changed in one FFN, or several facts at once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

import tyro

from armillary.cli.bricks.delivery import BrickOptions, has_brick, keep_new_brick, run_delivered
from armillary.cli.options import read_run
from armillary.data import capability_source, capability_texts
from armillary.data.texts.corpora import corpus_source, corpus_texts
from armillary.errors import UsageError
from armillary.files import read_toml
from armillary.methods.bricks.editing.facts import CAPITAL, Fact, Neighbour, capital_facts
from armillary.methods.bricks.editing.report import edit_measures, edit_section, facts_section
from armillary.records.plain import decode, plain
from armillary.records.sections import Finding
from armillary.runs.run import Job, Outcome, Run
from armillary.runs.settings import File, OneModelSettings, at_least

if TYPE_CHECKING:
    from armillary.methods.bricks.editing.key_value import KeyCovariance
    from armillary.methods.bricks.editing.memit import BatchEdit
    from armillary.methods.bricks.editing.rome import FactEdit, LayerSweep
    from armillary.models import LoadedModel

GENERAL, ELSEWHERE = "world-factbook", "writing"
"""Corpus whose keys stand for general text, and capability whose texts an edit should leave alone."""

CANDIDATES = 60
"""Countries among which facts to try layers on are looked for; a small model knows the capitals of some of them."""

Text = Annotated[str | None, tyro.conf.arg(metavar="TEXT")]


@dataclass(frozen=True, kw_only=True)
class WantedFact:
    """One fact as a user writes it: on the command line, or as a ``[[fact]]`` of a TOML file."""

    prompt: str
    subject: str
    answer: str
    new: str
    paraphrases: tuple[str, ...] = ()
    neighbours: tuple[str, ...] = ()

    def fact(self, seed: int) -> Fact:
        """The fact with what it is judged on; for a capital asked in our words these are given. Raises UsageError."""
        fact = Fact.from_prompt(self.prompt, self.subject, self.answer, self.new)
        pairs = [given.partition("=") for given in self.neighbours]
        for given, (name, _, answer) in zip(self.neighbours, pairs, strict=True):
            if not (name and answer):
                raise UsageError(f"a neighbour is given as SUBJECT=ANSWER; got {given!r}.")
        for text in self.paraphrases:
            if text.count(self.subject) != 1:
                raise UsageError(f"a paraphrase has the subject {self.subject!r} once; got {text!r}.")
        if fact.prompt == CAPITAL and not self.paraphrases and not pairs:
            try:
                drawn = capital_facts(countries=[self.subject], seed=seed)[0]
            except UsageError:  # no country of that name, or no list of them: it is judged on the prompt alone
                return fact
            # A neighbour that is rightly answered with the new answer can't show whether the edit spreads.
            around = tuple(neighbour for neighbour in drawn.neighbours if neighbour.answer != self.new)
            return replace(fact, paraphrases=drawn.paraphrases, neighbours=around)
        return replace(
            fact,
            paraphrases=tuple(text.replace(self.subject, "{}") for text in self.paraphrases),
            neighbours=tuple(Neighbour(subject=name, answer=answer) for name, _, answer in pairs),
        )


@dataclass(frozen=True, kw_only=True)
class FactsFile:
    """A file of several facts."""

    fact: tuple[WantedFact, ...]


@dataclass(frozen=True, kw_only=True)
class EditSettings(OneModelSettings):
    """Change one fact, as a brick of rank one, or several at once, and tell what else changed."""

    command: ClassVar[str] = "bricks edit"

    prompt: Text = None
    """Text that the fact completes, e.g. "The capital of France is"."""

    subject: Text = None
    """What the fact is about, as it stands in the prompt."""

    answer: Text = None
    """What the model answers now."""

    new: Text = None
    """What it shall answer."""

    paraphrases: Annotated[tuple[str, ...], tyro.conf.arg(metavar="TEXT ...")] = ()
    """Other ways to ask, with the subject; capitals asked as above have some of their own."""

    neighbours: Annotated[tuple[str, ...], tyro.conf.arg(metavar="SUBJECT=ANSWER ...")] = ()
    """Other subjects of the same question, to be left alone."""

    facts: File = None
    """Instead of one fact: several in a TOML file, each a [[fact]] with prompt, subject, answer and new (MEMIT)."""

    layer: int | None = None
    """Layer to edit; by default three are tried on other facts."""

    layers: Annotated[tuple[int, ...], tyro.conf.arg(metavar="LAYER ...")] = ()
    """With --facts: layers over which the change is spread, rising; by default the one layer as above."""

    weight: float | None = None
    """With --facts: how much general keys count against edited ones; by default the neurons of a layer."""

    protected: float | None = None
    """With --facts: write nothing into the directions that hold this share of general keys' energy (AlphaEdit)."""

    trials: int = 2
    """Facts that layers are tried on; without one that the model knows a layer at a quarter of the depth is taken."""

    identity: bool = False
    """Do without the second moment of general text: faster, and less local."""

    general_texts: int = 200
    """Texts of general prose from which the second moment of keys is read."""

    texts: int = 8
    """Unrelated texts on which side effects are measured."""

    tokens: int = 128
    """Tokens of a text that are read."""

    subjects: int = 400
    """Words on which LinCorr's map is fitted, where the prompt is a relation's; 0 for no forecast of spill-over."""

    known: bool = True
    """Refuse a fact that the model does not answer rightly: nothing could be seen to change."""

    def __post_init__(self) -> None:
        at_least(self, general_texts=1, texts=1, trials=0, tokens=2, subjects=0)
        given = {"prompt": self.prompt, "subject": self.subject, "answer": self.answer, "new": self.new}
        missing = [f"--{name}" for name, value in given.items() if value is None]
        if self.facts is None and missing:
            raise UsageError(f"give {', '.join(missing)}, or several facts with --facts FILE.")
        if self.facts is None and (self.layers or self.weight is not None or self.protected is not None):
            raise UsageError("layers, weight and protected are for several facts, which come with --facts FILE.")
        if self.facts is not None and (len(missing) < len(given) or self.paraphrases or self.neighbours):
            raise UsageError("give either one fact or --facts FILE, which holds prompts and all else.")
        if self.facts is not None and self.identity:
            raise UsageError("several facts need the second moment of general text; leave --identity out.")
        if self.layers and self.layer is not None:
            raise UsageError("give either layer or layers, and not both.")

    def files(self) -> dict[str, str]:
        """The file of facts."""
        return {} if self.facts is None else {"facts": self.facts}

    def names(self) -> tuple[str, ...]:
        """Model, and the fact or the file of facts."""
        return (self.model, self.subject or "", self.new or "") if self.facts is None else (self.model, self.facts)

    def wanted(self) -> list[Fact]:
        """The facts with what they are judged on. UsageError names what is wrong in one of them."""
        if self.facts is not None:
            given = decode(FactsFile, read_toml(self.facts, "file of facts"), self.facts).fact
            return [fact.fact(self.seed) for fact in given]
        fact = WantedFact(
            prompt=str(self.prompt),
            subject=str(self.subject),
            answer=str(self.answer),
            new=str(self.new),
            paraphrases=self.paraphrases,
            neighbours=self.neighbours,
        )
        return [fact.fact(self.seed)]

    def check(self) -> None:
        """Refuse a wrong fact."""
        self.wanted()

    def dry(self) -> Self:
        """Few words and short texts; a random model knows no fact."""
        return replace(super().dry(), tokens=16, general_texts=8, texts=2, subjects=40, known=False)


def edit_model(run: Run[EditSettings]) -> Outcome:
    """The edit, kept as a brick, and what it changed; of one fact also the forecast of where it spills over."""
    from armillary.cli.bricks.edit_forecast import forecast_measures, forecast_section, forecasts
    from armillary.methods.bricks.editing.memit import BatchEdit
    from armillary.methods.bricks.editing.metrics import edit_outcome, score_edits, side_effects
    from armillary.methods.bricks.editing.rome import refuse_unknown

    settings, loaded, seed = run.settings, run.model, run.settings.seed
    facts = settings.wanted()
    if settings.known:
        refuse_unknown(loaded, facts)
    chosen = choose(loaded, facts, settings)
    edit = written(loaded, facts, chosen, settings)
    outcomes = edit_outcome(loaded, facts, edit.payload)
    scores = score_edits(outcomes, seed=seed)
    elsewhere = capability_texts(ELSEWHERE, split="test", limit=settings.texts, seed=seed)
    side = side_effects(loaded, edit.payload, elsewhere, max_tokens=settings.tokens, seed=seed)
    measures, notes = edit_measures(scores, side), {"edit": edit.to_dict()}
    keep = partial(keep_new_brick, run, edit.payload, kind="knowledge")
    if isinstance(edit, BatchEdit):
        name = f"{len(facts)} facts"
        keep(name=name, method="MEMIT", data=name, notes=notes)
        title = f"{name} edited in {loaded.name}"
        sections = [facts_section(edit, outcomes, scores, side, chosen.sweep)]
    else:
        name, sentence = (
            f"{settings.subject}: {settings.answer} to {settings.new}",
            f"{settings.prompt} {settings.new}",
        )
        brick = keep(name=name, method="ROME", data=sentence, notes={"fact": plain(facts[0]), **notes})
        title = f"{sentence} ({loaded.name})"
        sections = [edit_section(outcomes[0], scores, side, edit, chosen.sweep)]
        if settings.subjects and (spills := forecasts(loaded, facts[0], brick, subjects=settings.subjects, seed=seed)):
            sections.append(forecast_section(spills))
            measures |= forecast_measures(spills)
    return Outcome(
        title=title,
        sections=sections,
        findings=[Finding(text=sections[0].summary, interest=0.6, section="edit")],
        measures=measures,
        data=[corpus_source(GENERAL), capability_source(ELSEWHERE)],
    )


def written(
    loaded: "LoadedModel", facts: list[Fact], chosen: "ChosenLayers", settings: EditSettings
) -> "FactEdit | BatchEdit":
    """One fact in a change of rank one (ROME), or all of a file in one whose rank is their number (MEMIT)."""
    from armillary.methods.bricks.editing.memit import edit_facts
    from armillary.methods.bricks.editing.rome import edit_fact

    layers, covariances = chosen.layers, chosen.covariances
    if settings.facts is None:
        covariance = None if covariances is None else covariances[layers[0]]
        return edit_fact(loaded, facts[0], layers[0], covariance, require_known=False)
    assert covariances is not None
    # The paper's 15,000 is about the number of neurons of the model that it edits (GPT-J: 16,384).
    weight = settings.weight if settings.weight is not None else float(loaded.anatomy.intermediate_size)
    protected = settings.protected
    return edit_facts(loaded, facts, layers, covariances, weight=weight, protected=protected, require_known=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class ChosenLayers:
    """Where to edit, and in which metric."""

    layers: list[int]
    covariances: "dict[int, KeyCovariance] | None"
    """Second moment of each layer's keys over general text; None takes the identity."""

    sweep: "LayerSweep | None"
    """Scores of the layers that were tried; None where none was."""


def choose(loaded: "LoadedModel", facts: list[Fact], settings: EditSettings) -> ChosenLayers:
    """The layers of the settings, or the best of three from an eighth to a half of the depth, tried on other facts."""
    from armillary.methods.bricks.editing.key_value import key_covariances
    from armillary.methods.bricks.editing.rome import choose_layer

    depth, seed = loaded.anatomy.num_layers, settings.seed
    layers = [*settings.layers, *([] if settings.layer is None else [settings.layer])]
    if wrong := [layer for layer in layers if not 0 <= layer < depth]:
        raise UsageError(f"layer must be 0 to {depth - 1}; got {wrong[0]}.")
    trial = [] if layers else trial_facts(loaded, facts, settings)
    if not layers:
        layers = sorted({depth // 8, depth // 4, depth // 2}) if trial else [depth // 4]
    covariances, label = None, "reading the keys of general text"
    if not settings.identity:
        general = corpus_texts(GENERAL, limit=settings.general_texts, seed=seed)
        covariances = key_covariances(loaded, general, layers, max_tokens=settings.tokens, label=label)
    if not trial:
        return ChosenLayers(layers=layers, covariances=covariances, sweep=None)
    sweep = choose_layer(loaded, trial, layers, covariances, meant_for=facts, require_known=False, seed=seed)
    return ChosenLayers(layers=[sweep.best], covariances=covariances, sweep=sweep)


def trial_facts(loaded: "LoadedModel", facts: list[Fact], settings: EditSettings) -> list[Fact]:
    """Capitals that the model knows, of countries that no fact is about."""
    from armillary.methods.bricks.editing.answers import base_answers_right

    subjects = {fact.subject for fact in facts}
    try:
        drawn = [fact for fact in capital_facts(CANDIDATES, seed=settings.seed) if fact.subject not in subjects]
    except UsageError:  # the list of countries is not installed
        return []
    right = base_answers_right(loaded, drawn)
    return [fact for fact, known in zip(drawn, right, strict=True) if known][: settings.trials]


JOBS = {"bricks edit": Job(settings=EditSettings, work=edit_model, is_complete=has_brick)}


def run(arguments: Sequence[str]) -> int:
    """The action."""
    settings, options = read_run(EditSettings, arguments, BrickOptions)
    return run_delivered(JOBS["bricks edit"], settings, options, to=options.to, library=options.library)
