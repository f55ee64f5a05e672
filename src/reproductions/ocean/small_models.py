"""The stages of a seed: the base policy, the graph's policy, the logs, and every arm of alignment with its results."""

import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaForCausalLM
from transformers.trainer_callback import PrinterCallback

from armillary.methods.ocean.estimate import Resampling, kg_ips
from armillary.methods.ocean.rows import ChainRow
from armillary.methods.ocean.scores import ChainBatch, score_chains
from armillary.methods.ocean.trainer import OceanConfig, OceanTrainer
from armillary.methods.ultragen.core import preference_loss
from armillary.runs.parts import Parts
from reproductions.ocean import language_model as lm
from reproductions.ocean.enumeration import Enumerated, enumerated
from reproductions.ocean.online import aligned_online, has_trl
from reproductions.ocean.scale import MIXES, RATES, Scale
from reproductions.ocean.text_measures import distinct, self_bleu
from reproductions.ocean.world import Question, World, unrelated

ARMS = {
    "base": "the base policy",
    "sft": "supervised tuning on true paths",
    "kg_ips": "KG-IPS, the paper's objective",
    "stable": "KG-IPS, stable",
    "stable_all": "stable, the graph's policy for all words",
    "no_graph": "stable, without the graph",
    "dpo": "DPO, true against false chains by lookup",
    "weighted": "tuning on logged chains, weighed by lookup",
    "rloo": "RLOO of TRL, rewarded by lookup",
    "grpo": "GRPO of TRL, rewarded by lookup",
}
ONLINE = ("rloo", "grpo")
"""Arms that need TRL; left out, and told so, where it is not installed."""

SPANS: dict[str, dict[str, bool]] = {
    "kg_ips": {}, "stable": {}, "stable_all": {"every": True}, "no_graph": {"none": True},
}  # fmt: skip
"""Arms of ``OceanTrainer``, and which words of their rows are entities."""


@dataclass(frozen=True)
class ArmResult:
    """What an arm says to the held-out questions, and what it cost elsewhere."""

    validity: list[float]
    """Of each held-out question, the share of true steps in the chains that were drawn for it."""

    right: list[float]
    """Of each held-out question, the share of right answers."""

    well_formed: float
    value: list[float]
    """Terms of the paper's value of each held-out log under the arm."""

    normalised: float
    """The self-normalised value of the same logs."""

    unrelated: list[float]
    """Nats a word of each unrelated answer."""

    unrelated_right: list[bool]
    distinct_2: float
    self_bleu: float
    never_logged: float
    """Probability at entity slots of the training logs on words that stand in no such slot of theirs."""

    divergence: float
    """From the base policy, exact, nats a word of the held-out logs."""

    ess: float
    """Effective sample size of the held-out logs, as a share of their words."""

    spread: float
    """Standard deviation over held-out logs of a term, with the denominators that the arm was aligned with."""


@dataclass(frozen=True)
class Family:
    """Policies whose faithfulness is known by sampling, and what estimates say of them."""

    names: list[str]
    validity: list[float]
    value: list[float]
    normalised: list[float]
    likelihood: list[float]
    """Of the logged chains, nats a word: the base policy's logs under each policy."""

    value_lambda: list[float]
    """On chains of lambda."""


@dataclass(frozen=True)
class SeedResult:
    """A seed's arms with what stands beside them."""

    arms: dict[str, ArmResult]
    graph_validity: float
    """Of the graph's policy on held-out questions."""

    logged_validity: float
    """Of the training logs."""

    rewards: list[float]
    """Of the paths that the graph's policy was trained on."""

    family: Family
    terms: list[float]
    """Of the paper's value, each training log under the stable arm."""

    hops: list[int]
    """Of each held-out question."""

    by_enumeration: Enumerated


@dataclass(frozen=True)
class Context:
    """What every stage of a seed shares."""

    scale: Scale
    seed: int
    parts: Parts

    @cached_property
    def world(self) -> World:
        """Facts and questions."""
        return World(self.scale, self.seed)

    def model(self, name: str) -> LlamaForCausalLM:
        """The weights of that name, trained once and kept."""
        model = lm.made(self.world, self.seed)
        arrays = self.parts.arrays(f"weights {name} {self.seed}", lambda: self._trained(name))
        model.load_state_dict({key: torch.from_numpy(value) for key, value in arrays.items()})
        model.eval()
        return model

    def _trained(self, name: str) -> dict[str, np.ndarray]:
        torch.manual_seed(self.seed)
        if name == "base":
            model = lm.made(self.world, self.seed)
            lm.fit(model, self._batches(self.scale.start_steps, 10, noisy=True), self.scale.rate)
        elif name == "graph":
            model = self.model("base")
            rows, rewards = self.verbalised
            draw = np.random.default_rng([self.seed, 11])
            picks = [draw.integers(len(rows), size=self.scale.batch // 2) for _ in range(self.scale.graph_steps)]
            lm.fit(model, [([rows[i] for i in pick], [rewards[i] for i in pick]) for pick in picks], self.scale.rate)
        elif name.startswith("rivals"):
            model = self.model("base")
            steps = int(name.split()[1])
            batches = self._batches(steps, 12, noisy=True, rivals_only=True)
            lm.fit(model, batches, RATES["rivals"])
        else:
            model = self._aligned(name)
        return {key: value.detach().numpy() for key, value in model.state_dict().items()}

    def _batches(
        self, steps: int, stream: int, *, noisy: bool, rivals_only: bool = False
    ) -> list[tuple[list[ChainRow], list[float]]]:
        """Half chains about the graph, half unrelated text."""
        world, draw = self.world, np.random.default_rng([self.seed, stream])
        batches = []
        for _ in range(steps):
            rows = []
            for _ in range(self.scale.batch // 2):
                question = world.questions[int(draw.integers(len(world.questions)))]
                facts = world.walk(question, draw, noisy=noisy, rivals_only=rivals_only)
                rows.append(lm.tokens_of(world, question.prompt, world.chain(facts, draw)))
                rows.append(lm.tokens_of(world, *unrelated(draw)))
            batches.append((rows, [1.0] * len(rows)))
        return batches

    @cached_property
    def verbalised(self) -> tuple[list[ChainRow], list[float]]:
        """Paths of all questions as text, of which a careless verbaliser gets a part wrong, and what each is worth
        to a reader who looks up the last entity of the chain."""
        world, draw = self.world, np.random.default_rng([self.seed, 13])
        rows, rewards = [], []
        for question in [q for q in world.questions for _ in range(3)]:  # so that most ways to say a fact occur
            facts = world.walk(question, draw, noisy=bool(draw.random() < 0.25))
            chain = world.chain(facts, draw)
            rows.append(lm.tokens_of(world, question.prompt, chain))
            rewards.append(float(world.judge(question, chain).right))
        return rows, rewards

    @cached_property
    def logs(self) -> tuple[list[Question], list[str]]:
        """Chains of the base policy on training questions."""
        questions = [q for q in self.world.split[0] for _ in range(self.scale.chains_each)]
        return questions, self._drawn("base", questions, 20)

    @cached_property
    def held_out_logs(self) -> list[str]:
        """Chains of the base policy on held-out questions."""
        return self._drawn("base", self.world.split[1], 21)

    def _drawn(self, name: str, questions: Sequence[Question], stream: int) -> list[str]:
        kept: list[str] = self.parts.json(
            f"chains {name} {stream} {self.seed}",
            lambda: lm.draw_chains(self.world, [self.model(name)], questions, self.seed * 100 + stream),
        )
        return kept

    # Alignment.

    def _aligned(self, name: str) -> LlamaForCausalLM:
        model, scale = self.model("base"), self.scale
        if name in SPANS:
            self._off_policy(model, name)
        elif name in ONLINE:
            aligned_online(model, self.world, name, self.seed)
        elif name == "dpo":
            self._preferences(model)
        else:
            draw = np.random.default_rng([self.seed, 30])
            rows, weights = self._true_paths() if name == "sft" else self._weighed_logs()
            picks = [draw.integers(len(rows), size=scale.align_batch) for _ in range(scale.steps)]
            lm.fit(model, [([rows[i] for i in p], [weights[i] for i in p]) for p in picks], RATES[name])
        model.eval()
        return model

    def _off_policy(self, model: LlamaForCausalLM, name: str) -> None:
        """By the package's own trainer."""
        scale = self.scale
        questions, chains = self.logs
        with tempfile.TemporaryDirectory() as folder:
            args = OceanConfig(
                output_dir=folder, objective="kg_ips" if name == "kg_ips" else "kg_ips_stable",
                beta_kl=scale.beta_kl, separator=" ", max_steps=scale.steps, seed=self.seed,
                per_device_train_batch_size=scale.align_batch, learning_rate=RATES[name], weight_decay=0.01,
                adam_beta2=0.98, warmup_steps=max(1, scale.steps // 20), save_strategy="no", report_to=[],
                disable_tqdm=True, use_cpu=True, dataloader_pin_memory=False, logging_steps=50,
            )  # fmt: skip
            trainer = OceanTrainer(
                model,
                kg_policy=self.model("graph"),
                args=args,
                train_dataset=[lm.row_of(q, c, **SPANS[name]) for q, c in zip(questions, chains, strict=True)],
                processing_class=self.world.tokenizer,
            )
            trainer.remove_callback(PrinterCallback)
            trainer.train()

    def _true_paths(self) -> tuple[list[ChainRow], list[float]]:
        draw, world = np.random.default_rng([self.seed, 31]), self.world
        questions = self.logs[0]
        rows = [lm.tokens_of(world, q.prompt, world.chain(world.walk(q, draw, noisy=False), draw)) for q in questions]
        return rows, [1.0] * len(rows)

    def _weighed_logs(self) -> tuple[list[ChainRow], list[float]]:
        world = self.world
        pairs = [(q, c) for q, c in zip(*self.logs, strict=True) if world.judge(q, c).valid]
        pairs = pairs or list(zip(*self.logs, strict=True))[:1]  # of a tiny model that says nothing true
        return [lm.tokens_of(world, q.prompt, c) for q, c in pairs], [1.0] * len(pairs)

    def _preferences(self, model: LlamaForCausalLM) -> None:
        """DPO on a true and a false chain of the same question, against the base policy."""
        world, scale = self.world, self.scale
        questions, chains = self.logs
        sides: dict[str, tuple[list[str], list[str]]] = {}
        question_of = {question.prompt: question for question in questions}
        for question, chain in zip(questions, chains, strict=True):
            sides.setdefault(question.prompt, ([], []))[0 if world.judge(question, chain).valid else 1].append(chain)
        pairs = [
            (question_of[p], t, f) for p, (true, false) in sides.items() for t, f in zip(true, false, strict=False)
        ]
        if not pairs:  # of a tiny model that says nothing true
            pairs = [(questions[0], chains[0], chains[-1])]
        rows = [[lm.tokens_of(world, q.prompt, c) for c in (true, false)] for q, true, false in pairs]
        sums = [
            -lm.nats(model, [row[side] for row in rows])
            * np.array([sum(step >= 0 for step in row[side].step_ids) for row in rows])
            for side in (0, 1)
        ]
        draw = np.random.default_rng([self.seed, 32])
        half = max(1, scale.align_batch // 2)
        picks = [draw.integers(len(rows), size=half) for _ in range(scale.steps)]
        batches = [
            ([rows[i][side] for side in (0, 1) for i in pick], [float(sums[side][i]) for side in (0, 1) for i in pick])
            for pick in picks
        ]

        def loss(logp_BL: Tensor, batch: ChainBatch, reference_B: Tensor) -> Tensor:
            own = logp_BL.sum(1)
            n = len(own) // 2
            return preference_loss(own[:n], own[n:], reference_B[:n], reference_B[n:], 0.1)

        lm.fit(model, batches, RATES["dpo"], loss)


def arms_of() -> list[str]:
    """The arms that can be run here."""
    return [name for name in ARMS if name not in ONLINE or has_trl()]


def arm(context: Context, name: str) -> ArmResult:
    """What the arm's model says and costs."""
    world, model, seed = context.world, context.model(name), context.seed
    held_out = world.split[1]
    answers = context.scale.answers
    repeated = [question for question in held_out for _ in range(answers)]
    chains = lm.draw_chains(world, [model], repeated, seed * 100 + 22)
    judged = [world.judge(question, chain) for question, chain in zip(repeated, chains, strict=True)]
    rows = [lm.tokens_of(world, q.prompt, c) for q, c in zip(held_out, context.held_out_logs, strict=True)]
    base, graph = context.model("base"), context.model("graph")
    scored = score_chains(model, base, graph, rows, batch_size=64)
    resampling = Resampling(replicates=2)  # intervals are made over seeds and pairs, in measures
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # few effective words are a result here, and told in it
        plain = scored.estimate(resampling=resampling)
        normalised = scored.estimate(self_normalized=True, resampling=resampling)
        own = plain
        if SPANS.get(name, {}).get("every"):
            entities = [replace(row, span_ids=list(range(len(row.span_ids)))) for row in rows]
            own = score_chains(model, base, graph, entities, batch_size=64).estimate(resampling=resampling)
    draw = np.random.default_rng([seed, 40])
    texts = [unrelated(draw) for _ in range(context.scale.unrelated)]
    log_own, log_base = lm.distributions([model, base], rows)
    return ArmResult(
        validity=_per_question([one.validity for one in judged], answers),
        right=_per_question([float(one.right) for one in judged], answers),
        well_formed=float(np.mean([one.well_formed for one in judged])),
        value=list(plain.per_chain),
        normalised=normalised.value,
        unrelated=[float(n) for n in lm.nats(model, [lm.tokens_of(world, *text) for text in texts])],
        unrelated_right=_answered(world, model, texts),
        distinct_2=distinct(chains, 2),
        self_bleu=self_bleu(chains, np.random.default_rng([seed, 41])),
        never_logged=_never_logged(context, model),
        divergence=float((log_own.exp() * (log_own - log_base)).sum(-1).mean()),
        ess=plain.ess / plain.tokens,
        spread=float(np.std(own.per_chain)),
    )


def _per_question(values: Sequence[float], answers: int) -> list[float]:
    return [float(mean) for mean in np.reshape(values, (-1, answers)).mean(1)]


@torch.no_grad()
def _answered(world: World, model: LlamaForCausalLM, texts: Sequence[tuple[str, str]]) -> list[bool]:
    """Whether the likeliest word behind each unrelated question is its answer."""
    rows = [lm.tokens_of(world, prompt, answer) for prompt, answer in texts]
    right = []
    for row, (prompt, _) in zip(rows, texts, strict=True):
        given = len(prompt.split())
        logits = model(torch.tensor([row.input_ids[:given]])).logits[0, -1]
        right.append(int(logits.argmax()) == row.input_ids[given])
    return right


def _never_logged(context: Context, model: LlamaForCausalLM) -> float:
    world = context.world
    rows = [lm.tokens_of(world, q.prompt, c) for q, c in zip(*context.logs, strict=True)]
    columns = [zip(row.input_ids, row.step_ids, row.span_ids, strict=True) for row in rows]
    scored = [(token, span >= 0) for column in columns for token, step, span in column if step >= 0]
    ids, entity = (np.array(values) for values in zip(*scored, strict=True))
    never = torch.ones(len(world.vocabulary), dtype=torch.bool)
    if not entity.any():  # a tiny model may say none
        return 0.0
    never[torch.from_numpy(np.unique(ids[entity]))] = False
    (log_p,) = lm.distributions([model], rows)
    return float(log_p[torch.from_numpy(entity)][:, never].exp().sum(-1).mean())


# Policies whose faithfulness is known, for what an estimate is worth as a judge of them.


def family(context: Context) -> Family:
    """Mixes of base and graph policy, and two that went on learning rivals; each by sampling and by estimates."""
    world, scale, seed = context.world, context.scale, context.seed
    base, graph = context.model("base"), context.model("graph")
    members: list[tuple[str, LlamaForCausalLM, LlamaForCausalLM, lm.Mix]] = [
        (f"mix {share:g}", base, graph, lm.between(share)) for share in MIXES
    ]
    for steps in (scale.steps // 5, scale.steps):
        rivals = context.model(f"rivals {steps}")
        members.append((f"{steps} steps of rivals", rivals, rivals, lm.alone))
    questions = world.split[1]
    logged = context.held_out_logs
    by_lambda = lm.draw_chains(world, [base, graph], questions, seed * 100 + 50, lm.by_slot(world))
    logs = [[lm.tokens_of(world, q.prompt, c) for q, c in zip(questions, chains, strict=True)]
            for chains in (logged, by_lambda)]  # fmt: skip
    columns: list[tuple[float, ...]] = []
    for _, first, second, mix in members:
        drawn = lm.draw_chains(world, [first, second], questions, seed * 100 + 51, mix)
        validity = float(np.mean([world.judge(q, c).validity for q, c in zip(questions, drawn, strict=True)]))
        values = [_estimates(context, rows, first, second, mix) for rows in logs]
        (plain, normalised, likelihood), (by_theory, _, _) = values
        columns.append((validity, plain, normalised, likelihood, by_theory))
    validities, plains, normaliseds, likelihoods, theories = (list(column) for column in zip(*columns, strict=True))
    names = [name for name, *_ in members]
    return Family(names, validities, plains, normaliseds, likelihoods, theories)


def _estimates(
    context: Context, rows: Sequence[ChainRow], first: LlamaForCausalLM, second: LlamaForCausalLM, mix: lm.Mix
) -> tuple[float, float, float]:
    """Value, self-normalised value, and mean log-likelihood of the rows under a policy of two models."""
    log_base, log_graph, log_first, log_second = lm.distributions(
        [context.model("base"), context.model("graph"), first, second], rows
    )
    log_own = mix([log_first, log_second], torch.zeros(0)).log_softmax(-1)
    steps = _padded([row.step_ids for row in rows], -1)
    spans = _padded([row.span_ids for row in rows], -1)
    ids = torch.tensor([t for row in rows for t, step in zip(row.input_ids, row.step_ids, strict=True) if step >= 0])
    own, logp_base, logp_graph = np.zeros((3, *steps.shape))
    for values, log_p in ((own, log_own), (logp_base, log_base), (logp_graph, log_graph)):
        values[steps >= 0] = log_p.gather(1, ids[:, None])[:, 0].double().numpy()
    resampling = Resampling(replicates=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        plain, normalised = (
            kg_ips(own, logp_base, logp_graph, spans >= 0, steps, self_normalized=divided, resampling=resampling)
            for divided in (False, True)
        )
    return plain.value, normalised.value, float(own[steps >= 0].mean())


def _padded(rows: Sequence[Sequence[int]], filling: int) -> np.ndarray:
    length = max(map(len, rows))
    return np.array([[*row, *[filling] * (length - len(row))] for row in rows])


def seed_result(context: Context, arms: dict[str, ArmResult]) -> SeedResult:
    """The arms of a seed with what stands beside them."""
    world, seed = context.world, context.seed
    held_out = world.split[1]
    drawn = lm.draw_chains(world, [context.model("graph")], held_out, seed * 100 + 22)
    judged = [world.judge(question, chain).validity for question, chain in zip(held_out, drawn, strict=True)]
    questions, chains = context.logs
    logged = [world.judge(question, chain).validity for question, chain in zip(questions, chains, strict=True)]
    rows = [lm.tokens_of(world, q.prompt, c) for q, c in zip(questions, chains, strict=True)]
    scored = score_chains(context.model("stable"), context.model("base"), context.model("graph"), rows, batch_size=64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        terms = scored.estimate(resampling=Resampling(replicates=2)).per_chain
    return SeedResult(
        arms=arms,
        graph_validity=float(np.mean(judged)),
        logged_validity=float(np.mean(logged)),
        rewards=context.verbalised[1],
        family=family(context),
        terms=list(terms),
        hops=[len(question.relations) for question in held_out],
        by_enumeration=enumerated(context.scale, seed),
    )
