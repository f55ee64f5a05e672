"""The stages on small models: start, arms of reconstruction, preferences, and what each answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch

from armillary.runs.parts import Parts
from reproductions.ultragen import decoder
from reproductions.ultragen.decoder import Batch, Decoder, Pair, Row, Shape
from reproductions.ultragen.global_sets import Pool, Strategy, drawn_sets
from reproductions.ultragen.noise import Detection, Noisy, Planted, corrected, impossible, noisy, planted
from reproductions.ultragen.scale import BEST_OF, BETA, COUNTS, DENSE, FEW, GLOBAL_COUNT, MARGIN, MOST, Scale
from reproductions.ultragen.world import FIRST_WORD, Attribute, Text, derive, draw_text, overlap, prompt, rates

Verdicts = list[list[bool]]
"""A row a set, a verdict an attribute."""

JUDGED_TEMPERATURE, DRAWN_TEMPERATURE = 0.7, 1.0
"""Of answers that are scored (the published benchmark's), and of those that preferences are made from (the note's)."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a model wrote to some sets, and how it was judged."""

    verdicts: Verdicts
    overlap: list[float]
    """Word F1 with the source text; empty for sets without one."""

    repeated: list[float]
    """Share of the 4-grams of each answer that stood in it before."""


@dataclass(frozen=True, kw_only=True)
class Selectivity:
    """Attention on an attribute where it is realised and elsewhere, a value a text."""

    realising: list[float]
    elsewhere: list[float]
    mean: list[float]
    """Mean weight of an attribute's position over the whole answer, a value a text."""


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """What one arm answers."""

    local: dict[str, Answers]
    """By number of attributes, on nested sets of held-out texts."""

    best: dict[str, list[float]]
    """At the dense counts, satisfaction of the best of ``BEST_OF`` answers, a value a set; of ``SAMPLED`` arms."""

    attention: Selectivity
    wide: dict[str, Answers]
    """By strategy, on global sets of held-out texts."""

    wide_best: dict[str, list[float]]
    losses: list[float]
    """Of the training, mean of each tenth."""


@dataclass(frozen=True, kw_only=True)
class PairCounts:
    """How many preferences a way of drawing gave."""

    all_pairs: int
    kept: int
    margin: float
    """Mean of those kept."""


@dataclass(frozen=True, kw_only=True)
class SeedResult:
    """All of one seed."""

    kinds: list[list[str]]
    """Of the held-out sets, in the order of the prompt, for the largest count."""

    wide_kinds: dict[str, list[list[str]]]
    arms: dict[str, ArmResult]
    shuffled: dict[str, list[float]]
    """By number of attributes, satisfaction of each set by the answer to another: the null."""

    untrained: Selectivity
    """Of random weights: the null of attention."""

    detection: Detection
    planted: Planted
    pairs: dict[str, PairCounts]


ARMS = {
    "few": "at most five attributes (the reference model)",
    "ar": "AR",
    "noisy": "AR on sets with false attributes",
    "corrected": "AR on those sets after correction",
    "gpo": "AR, then GPO",
    "gpo_random": "AR, then GPO on random sets",
    "any_pairs": "AR, then GPO on any two answers",
    "wide_pairs": "AR, then GPO on those of them that differ by the margin",
    "chosen": "AR, then reconstruction of the chosen answers",
}

SAMPLED = ("few", "ar", "gpo")
"""Arms of which the best of several answers is read too."""

ANY = ("any_pairs", "wide_pairs")
"""Arms on two answers as they come: best and worst of eight differ by the margin nearly always."""


class World:
    """The texts of a seed, their attributes, and the sets that are asked for."""

    def __init__(self, scale: Scale, seed: int) -> None:
        draw = np.random.default_rng([seed, 1])
        self.scale, self.seed = scale, seed
        self.texts = [draw_text(draw) for _ in range(scale.texts)]
        self.attributes = [derive(text, draw) for text in self.texts]
        self.held_out: list[Text] = []
        self.asked: list[list[Attribute]] = []
        while len(self.held_out) < scale.held_out:
            text = draw_text(draw)
            attributes = derive(text, draw)
            if len(attributes) >= MOST:
                self.held_out.append(text)
                self.asked.append(attributes[:MOST])

    @cached_property
    def pool(self) -> Pool:
        """Of the training texts."""
        return Pool(self.attributes, self.scale, self.seed)

    @cached_property
    def wide(self) -> dict[Strategy, list[list[Attribute]]]:
        """Held-out global sets: their attributes are of other texts than the pool's."""
        draw = np.random.default_rng([self.seed, 2])
        texts = [draw_text(draw) for _ in range(max(40, self.scale.texts // 4))]
        pool = Pool([derive(text, draw) for text in texts], self.scale, self.seed + 1)
        sizes = [GLOBAL_COUNT] * self.scale.held_out
        return {"hclr": drawn_sets(pool, "hclr", sizes, draw), "random": drawn_sets(pool, "random", sizes, draw)}

    def batches(self, sets: Sequence[Sequence[Attribute]], steps: int, most: int, stream: int) -> list[list[Row]]:
        """Rows of ``steps`` batches: a text, and 3 to ``most`` of its attributes in drawn order."""
        draw = np.random.default_rng([self.seed, stream])
        batches: list[list[Row]] = []
        for _ in range(steps):
            rows: list[Row] = []
            for index in draw.integers(len(self.texts), size=self.scale.batch):
                attributes = sets[index]
                size = min(int(draw.integers(3, most + 1)), len(attributes))
                order = draw.permutation(len(attributes))[:size]
                rows.append((prompt([attributes[i] for i in order]), self.texts[index]))
            batches.append(rows)
        return batches


@dataclass(frozen=True)
class Context:
    """What every stage of a seed shares."""

    scale: Scale
    seed: int
    parts: Parts

    @cached_property
    def _global_sets(self) -> dict[Strategy, list[list[Attribute]]]:
        return {}

    @cached_property
    def world(self) -> World:
        """The texts and sets of this seed."""
        return World(self.scale, self.seed)

    def untrained(self) -> Decoder:
        """Random weights, with which every training of the seed begins."""
        torch.manual_seed(self.seed)
        scale = self.scale
        return Decoder(Shape(layers=scale.layers, width=scale.width, heads=scale.heads, inner=scale.inner))

    def model(self, name: str) -> Decoder:
        """The arm's weights, trained once and kept."""
        made = self.untrained()
        arrays = self.parts.arrays(f"weights {name} {self.seed}", lambda: self._trained(name))
        made.load_state_dict({key: torch.from_numpy(value) for key, value in arrays.items() if key != "losses"})
        return made

    def losses(self, name: str) -> list[float]:
        """Mean loss of each tenth of the arm's training; empty for one on preferences."""
        arrays = self.parts.arrays(f"weights {name} {self.seed}", lambda: self._trained(name))
        return [float(np.mean(part)) for part in np.array_split(arrays["losses"], 10) if len(part)]

    def _trained(self, name: str) -> dict[str, np.ndarray]:
        scale, world = self.scale, self.world
        losses: list[float] = []
        if name == "start":
            model = self.untrained()
            losses = decoder.fit(model, world.batches(world.attributes, scale.start_steps, FEW, 10), scale.start_rate)
        elif name in ("few", "ar", "noisy", "corrected"):
            model = self.model("start")
            sets = (
                self.noise.sets if name == "noisy" else self.corrected[0] if name == "corrected" else world.attributes
            )
            most = FEW if name == "few" else MOST
            losses = decoder.fit(model, world.batches(sets, scale.steps, most, 11), scale.rate)
        else:
            model = self.model("ar")
            pairs = self.pairs("random" if name == "gpo_random" else "hclr", "any" if name in ANY else "best")
            if name != "any_pairs":
                pairs = [pair for pair in pairs if pair.margin >= MARGIN]
            if name == "chosen":
                draw = np.random.default_rng(self.seed)
                steps = [
                    order
                    for _ in range(scale.epochs)
                    for order in np.array_split(
                        draw.permutation(len(pairs)), max(1, len(pairs) // scale.preference_batch)
                    )
                ]
                losses = decoder.fit(
                    model,
                    [[(pairs[i].prompt, pairs[i].chosen) for i in order] for order in steps],
                    scale.preference_rate,
                )
            else:
                decoder.prefer(
                    model,
                    pairs,
                    rate=scale.preference_rate,
                    beta=BETA,
                    epochs=scale.epochs,
                    batch=scale.preference_batch,
                    seed=self.seed,
                )
        return {**{key: value.numpy() for key, value in model.state_dict().items()}, "losses": np.array(losses)}

    @cached_property
    def noise(self) -> Noisy:
        """The training sets with false attributes among them."""
        return noisy(self.world.attributes, self.world.texts, np.random.default_rng([self.seed, 3]))

    @cached_property
    def corrected(self) -> tuple[list[list[Attribute]], Detection]:
        """Those sets after correction, and what was flagged."""
        return corrected(self.noise, self.world.texts, self.seed)

    def global_sets(self, strategy: Strategy) -> list[list[Attribute]]:
        """Training sets of 10 to ``MOST`` attributes; both strategies have the same sizes."""
        if strategy not in self._global_sets:
            sizes = np.random.default_rng([self.seed, 4]).integers(10, MOST + 1, size=self.scale.sets).tolist()
            draw = np.random.default_rng([self.seed, 5])
            self._global_sets[strategy] = drawn_sets(self.world.pool, strategy, sizes, draw)
        return self._global_sets[strategy]

    def pairs(self, strategy: Strategy, how: Literal["best", "any"] = "best") -> list[Pair]:
        """Of each set's samples the best against the worst, or the first four two by two; wherever scores differ."""
        made = []
        for attributes, samples in zip(self.global_sets(strategy), self._samples(strategy), strict=True):
            ranked = sorted(samples, key=lambda sample: sample[0])
            for worse, better in (
                [(ranked[0], ranked[-1])] if how == "best" else [sorted(samples[i : i + 2]) for i in (0, 2)]
            ):
                if better[0] > worse[0] and worse[1]:
                    made.append(Pair(prompt(attributes), better[1], worse[1], better[0] - worse[0]))
        return made

    def _samples(self, strategy: Strategy) -> list[list[tuple[float, list[int]]]]:
        """Answers of AR to each set, with the share of attributes that they meet."""
        sets, k = self.global_sets(strategy), self.scale.samples

        def drawn() -> list[list[tuple[float, list[int]]]]:
            prompts = [prompt(attributes) for attributes in sets for _ in range(k)]
            answers = decoder.sample(self.model("ar"), prompts, temperature=DRAWN_TEMPERATURE, seed=self.seed)
            scored = [(float(np.mean(rates(sets[i // k], answer))), answer) for i, answer in enumerate(answers)]
            return [scored[start : start + k] for start in range(0, len(scored), k)]

        rows = self.parts.json(f"samples {strategy} {self.seed}", drawn)
        return [[(score, answer) for score, answer in row] for row in rows]


def arm(context: Context, name: str) -> ArmResult:
    """What an arm's model answers to every held-out set."""
    world, model, seed = context.world, context.model(name), context.seed
    local, best = {}, {}
    for count in COUNTS:
        sets = [attributes[:count] for attributes in world.asked]
        local[str(count)] = answered(model, sets, seed, world.held_out)
        if count >= DENSE and name in SAMPLED:
            best[str(count)] = best_of(model, sets, seed)
    wide: dict[str, Answers] = {}
    wide_best: dict[str, list[float]] = {}
    for strategy, sets in world.wide.items():
        wide[strategy] = answered(model, sets, seed)
        if strategy == "hclr" and name in SAMPLED:
            wide_best[strategy] = best_of(model, sets, seed)
    return ArmResult(
        local=local,
        best=best,
        attention=selectivity(model, world, context.scale.attended),
        wide=wide,
        wide_best=wide_best,
        losses=context.losses(name),
    )


def answered(model: Decoder, sets: Sequence[Sequence[Attribute]], seed: int, sources: Sequence[Text] = ()) -> Answers:
    """One answer to each set, judged by the oracles."""
    answers = decoder.sample(
        model, [prompt(attributes) for attributes in sets], temperature=JUDGED_TEMPERATURE, seed=seed
    )
    grams = [[tuple(answer[i : i + 4]) for i in range(len(answer) - 3)] for answer in answers]
    return Answers(
        verdicts=[rates(attributes, answer) for attributes, answer in zip(sets, answers, strict=True)],
        overlap=[overlap(answer, source) for answer, source in zip(answers, sources, strict=True)] if sources else [],
        repeated=[1 - len(set(row)) / len(row) if row else 0.0 for row in grams],
    )


def best_of(model: Decoder, sets: Sequence[Sequence[Attribute]], seed: int) -> list[float]:
    """Satisfaction of the best of ``BEST_OF`` answers to each set: what sampling alone reaches."""
    prompts = [prompt(attributes) for attributes in sets for _ in range(BEST_OF)]
    answers = decoder.sample(model, prompts, temperature=DRAWN_TEMPERATURE, seed=seed)
    scores = [np.mean(rates(sets[i // BEST_OF], answer)) for i, answer in enumerate(answers)]
    return [float(best) for best in np.reshape(scores, (-1, BEST_OF)).max(1)]


def shuffled(world: World, answers_of: Sequence[Text]) -> dict[str, list[float]]:
    """The null: each set against the next set's own text, which satisfies its own set wholly."""
    moved = [*answers_of[1:], answers_of[0]]
    return {
        str(count): [float(np.mean(rates(a[:count], text))) for a, text in zip(world.asked, moved, strict=True)]
        for count in COUNTS
    }


def selectivity(model: Decoder, world: World, texts: int) -> Selectivity:
    """Attention on each word to include, where it is said and elsewhere in the answer, with the source as the answer.

    The same prompts and answers for every arm. The states that look are those from which a token is foretold: of the
    word itself and of the three before it. Mean over layers and heads.
    """
    realising, elsewhere, mean = [], [], []
    for text, attributes in list(zip(world.held_out, world.asked, strict=True))[:texts]:
        request = prompt(attributes)
        weights = decoder.attention(model, Batch.of([(request, text)]))[0].numpy()
        looks = weights[len(request) - 1 : len(request) - 1 + len(text), : len(attributes)]  # row t foretells text[t]
        on, off = [], []
        for place, attribute in enumerate(attributes):
            if attribute.kind != "include":
                continue
            at = text.index(attribute.args[0] + FIRST_WORD)
            near = np.zeros(len(text), bool)
            near[max(0, at - 3) : at + 1] = True
            on.append(looks[near, place].mean())
            off.append(looks[~near, place].mean())
        if on:
            realising.append(float(np.mean(on)))
            elsewhere.append(float(np.mean(off)))
            mean.append(float(looks.mean()))
    return Selectivity(realising=realising, elsewhere=elsewhere, mean=mean)


def seed_result(context: Context, arms: Mapping[str, ArmResult]) -> SeedResult:
    """The arms of a seed with what stands beside them."""
    world = context.world
    return SeedResult(
        kinds=[[attribute.kind for attribute in attributes] for attributes in world.asked],
        wide_kinds={name: [[a.kind for a in attributes] for attributes in sets] for name, sets in world.wide.items()},
        arms=dict(arms),
        shuffled=shuffled(world, world.held_out),
        untrained=selectivity(context.untrained(), world, context.scale.attended),
        detection=context.corrected[1],
        planted=never_satisfied(context),
        pairs={
            "hclr": _counted(context.pairs("hclr")),
            "random": _counted(context.pairs("random")),
            "any": _counted(context.pairs("hclr", "any")),
        },
    )


def never_satisfied(context: Context) -> Planted:
    """Impossible attributes put into a share of the global sets, and what the test on K samples makes of it."""
    draw = np.random.default_rng([context.seed, 6])
    sets = impossible(context.global_sets("hclr"), draw)
    prompts = [prompt(attributes) for attributes, _ in sets for _ in range(context.scale.samples)]
    answers = decoder.sample(context.model("ar"), prompts, temperature=DRAWN_TEMPERATURE, seed=context.seed)
    k = context.scale.samples
    verdicts = [
        [rates(attributes, answer) for answer in answers[index * k : (index + 1) * k]]
        for index, (attributes, _) in enumerate(sets)
    ]
    return planted(sets, verdicts)


def _counted(pairs: Sequence[Pair]) -> PairCounts:
    kept = [pair.margin for pair in pairs if pair.margin >= MARGIN]
    return PairCounts(all_pairs=len(pairs), kept=len(kept), margin=float(np.mean(kept or [0.0])))
