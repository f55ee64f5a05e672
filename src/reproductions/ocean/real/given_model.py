"""The given model: its own chains, the graph's policy, adapters of every arm, and their held-out answers."""

import copy
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.trainer_callback import PrinterCallback

from armillary.data.texts.corpora import corpus_texts
from armillary.extras import optional
from armillary.methods.ocean.chains.graph_choice import chosen_graph
from armillary.methods.ocean.chains.steps import split_steps
from armillary.methods.ocean.chains.verdicts import ChainChecker
from armillary.methods.ocean.estimate import Resampling
from armillary.methods.ocean.policy.answers import is_right
from armillary.methods.ocean.policy.reward import consistency
from armillary.methods.ocean.policy.training import PolicyConfig, train_kg_policy
from armillary.methods.ocean.rows import ChainRow, read_chains, token_rows
from armillary.methods.ocean.scores import ChainBatch, ScoredChains, score_chains, token_log_probs
from armillary.methods.ocean.trainer import OceanConfig, OceanTrainer
from armillary.models.anatomy import find_anatomy
from armillary.models.loaded import LoadedModel
from armillary.models.prompts import templated
from armillary.models.quiet import quiet
from armillary.runs.parts import Arrays, Parts
from armillary.scoring.nll import sequence_nll
from armillary.scoring.sampling import sample
from reproductions.ocean.online import has_trl
from reproductions.ocean.real.preferences import Training, preference_rows
from reproductions.ocean.real.questions import INSTRUCTION, LoggedAnswer, RealQuestion, drawn_questions
from reproductions.ocean.scale import REAL_RATES, RealScale

REAL_ARMS = {
    "base": "the given model",
    "sft": "supervised tuning on true chains",
    "kg_ips": "KG-IPS, the paper's objective",
    "stable": "KG-IPS, stable",
    "weighted": "supervised tuning on logged chains with a right answer",
    "dpo": "DPO by TRL, right against wrong logged chains",
    "grpo": "GRPO by TRL, lookup as reward",
}

GREEDY = 1e-3
"""Temperature: a token that is less likely by 0.01 nats is drawn once in 20,000 times."""

Row = dict[str, object]


def real_arms() -> list[str]:
    """The arms that can be run here."""
    return [name for name in REAL_ARMS if name not in ("dpo", "grpo") or has_trl()]


@dataclass(frozen=True)
class RealArm:
    """What an arm answers, held-out question by question."""

    right: list[bool]
    supported: list[float]
    """Share of a chain's steps that the graph supports."""

    contradicted: list[float]
    value: list[float]
    """Terms of the paper's value of each held-out log under the arm."""

    normalised: float
    unrelated: list[float]
    """Nats a token of each passage that has nothing to do with the task."""


@dataclass(frozen=True)
class RealSeed:
    """A seed's arms, and the graph's policy beside them."""

    arms: dict[str, RealArm]
    graph_right: list[bool]
    logged: int
    logged_right: float
    """Share of the logged chains with a right answer."""

    pairs: int
    """Right and wrong chains of the same question."""

    entity_share: float
    reward: float
    example: list[str]


@dataclass(frozen=True)
class RealContext:
    """What every stage of a seed shares."""

    loaded: LoadedModel
    scale: RealScale
    seed: int
    parts: Parts

    @cached_property
    def checker(self) -> ChainChecker:
        """Geography."""
        return chosen_graph("geography").checker()

    @cached_property
    def questions(self) -> tuple[list[RealQuestion], ...]:
        """Training and held-out questions."""
        return drawn_questions(self.checker.graph, self.seed, self.scale.train, self.scale.held_out)

    def prompts(self, which: int) -> list[str]:
        """In the model's chat template, where it has one."""
        tokenizer, texts = self.loaded.tokenizer, [question.text for question in self.questions[which]]
        if not tokenizer.chat_template:
            return [f"{text} {INSTRUCTION}\n" for text in texts]
        system = {"role": "system", "content": INSTRUCTION}
        return [templated(tokenizer, [system, {"role": "user", "content": text}], self.loaded.name) for text in texts]

    def answers(
        self, loaded: LoadedModel, which: int, stream: int, each: int = 1, temperature: float = 1.0
    ) -> list[str]:
        """Drawn answers to each question, all of a question together."""
        drawn = sample(
            loaded,
            self.prompts(which),
            num_samples=each,
            max_new_tokens=self.scale.new_tokens,
            temperature=temperature,
            seed=self.seed * 100 + stream,
            batch_size=self.scale.batch,
        )
        return [text.strip() for text in drawn.texts]

    def best_answers(self, loaded: LoadedModel) -> list[str]:
        """To each held-out question the likeliest tokens, as who asks for a fact takes them."""
        return self.answers(loaded, 1, 3, temperature=GREEDY)

    @cached_property
    def logs(self) -> list[str]:
        """The model's own answers to training questions, ``chains_each`` of each."""
        each = self.scale.chains_each
        return cast(list[str], self.parts.json(f"logs {self.seed}", lambda: self.answers(self.loaded, 0, 1, each)))

    @cached_property
    def logged_chains(self) -> list[LoggedAnswer]:
        """The logs with their questions, and whether they are right."""
        pairs = zip(self.questions[0], self.prompts(0), strict=True)
        repeated = [pair for pair in pairs for _ in range(self.scale.chains_each)]
        return [
            LoggedAnswer(question, prompt, text, is_right(text, question.answers))
            for (question, prompt), text in zip(repeated, self.logs, strict=True)
        ]

    @cached_property
    def held_out_logs(self) -> list[str]:
        """To held-out ones."""
        return cast(list[str], self.parts.json(f"held-out {self.seed}", lambda: self.answers(self.loaded, 1, 2)))

    def rows(self, prompts: Sequence[str], texts: Sequence[str]) -> list[Row]:
        """Logged chains as rows, with their entities linked; answers without words are left out."""
        made: list[Row] = []
        for prompt, text in zip(prompts, texts, strict=True):
            steps = steps_with_blanks(text)
            if steps:
                spans = [[(m.start, m.end) for m in self.checker.lexicon.link(step)] for step in steps]
                made.append({"prompt": prompt, "steps": steps, "entity_spans": spans})
        return made

    @cached_property
    def held_out_rows(self) -> list[ChainRow]:
        """Tokens of the held-out logs."""
        chains = read_chains(self.rows(self.prompts(1), self.held_out_logs))
        return token_rows(self.loaded.tokenizer, chains, separator="").rows

    @cached_property
    def held_out_scores(self) -> ScoredChains:
        """The held-out logs under the given model and the graph's policy."""
        given, graph = self.loaded.model, self.graph_policy[0].model
        return score_chains(given, given, graph, self.held_out_rows, batch_size=self.scale.batch)

    def scored(self, loaded: LoadedModel) -> ScoredChains:
        """The same with another target, whose log-probabilities alone are read: no ``expected_base``."""
        scores, rows, size = self.held_out_scores, self.held_out_rows, self.scale.batch
        if loaded is self.loaded:
            return scores
        own = np.zeros_like(scores.logp_target)
        with torch.no_grad():
            for start in range(0, len(rows), size):
                part = token_log_probs(loaded.model, ChainBatch.of(rows[start : start + size], loaded.device))
                own[start : start + size, : part.shape[1]] = part.cpu().numpy()
        return replace(scores, logp_target=own, expected_base=np.full_like(own, np.nan))

    @cached_property
    def log_rows(self) -> list[Row]:
        """The training questions' logs."""
        return self.rows([one.prompt for one in self.logged_chains], self.logs)

    def validity(self, question: RealQuestion, text: str) -> float:
        """Half for a right answer, half for the share of steps that the graph supports."""
        verdicts = [one.verdict for one in self.checker.check(split_steps(text)[0])] if text.strip() else []
        supported = float(np.mean([verdict == "supported" for verdict in verdicts])) if verdicts else 0.0
        return (is_right(text, question.answers) + supported) / 2

    def adapted(self, name: str, train: Callable[[LoadedModel], None]) -> LoadedModel:
        """The model with a trained adapter merged into it; the adapter's weights are kept."""
        peft = optional("peft", "adapters")
        layers = self.loaded.model.config.num_hidden_layers
        torch.manual_seed(self.seed)
        config = peft.LoraConfig(
            r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM",
            layers_to_transform=list(range(max(0, layers - 6), layers)),
        )  # fmt: skip
        model = copy.deepcopy(self.loaded.model)
        anatomy = find_anatomy(model)  # the adapter is put into these modules, and merged into them
        with quiet():
            wrapped = peft.get_peft_model(model, config)

        def trained() -> Arrays:
            train(replace(self.loaded, model=wrapped, anatomy=anatomy))
            state = peft.get_peft_model_state_dict(wrapped)
            return {key: value.float().numpy() for key, value in state.items()}

        arrays = self.parts.arrays(f"adapter {name} {self.seed}", trained)
        peft.set_peft_model_state_dict(wrapped, {key: torch.from_numpy(value) for key, value in arrays.items()})
        return replace(self.loaded, model=wrapped.merge_and_unload().eval(), anatomy=anatomy)

    @cached_property
    def graph_policy(self) -> tuple[LoadedModel, float]:
        """Tuned on true chains of all questions, and their mean reward from a reader who takes the last sentence."""
        pairs = [
            (question, prompt)
            for which in (0, 1)
            for question, prompt in zip(self.questions[which], self.prompts(which), strict=True)
        ]
        paths = [question.path(prompt) for question, prompt in pairs]
        rewards = consistency(paths, lambda requests: [chain.split(". ")[-1] for _, chain in requests])

        def train(model: LoadedModel) -> None:
            train_kg_policy(model, paths, rewards, self._policy_config(self.scale.graph_steps, REAL_RATES["sft"]))

        return self.adapted("graph", train), float(rewards.mean())

    def _policy_config(self, steps: int, rate: float) -> PolicyConfig:
        return PolicyConfig(
            max_steps=steps, batch_size=self.scale.batch // 2, learning_rate=rate, separator="", seed=self.seed
        )

    def arm_model(self, name: str) -> LoadedModel:
        """The arm's weights."""
        if name == "base":
            return self.loaded
        training = Training(self.loaded, self.scale, self.seed)
        if name in ("sft", "weighted"):
            return self.adapted(name, lambda model: self._supervised(model, name))
        if name == "dpo":
            return self.adapted(name, lambda model: training.prefer(model.model, self.logged_chains))
        if name == "grpo":
            question_of = dict(zip(self.prompts(0), self.questions[0], strict=True))

            def worth(prompt: str, text: str) -> float:
                return self.validity(question_of[prompt], text)

            return self.adapted(name, lambda model: training.reward(model.model, [*question_of], worth))
        return self.adapted(name, lambda model: self._aligned(model.model, name))

    def _supervised(self, model: LoadedModel, name: str) -> None:
        paths = [question.path(prompt) for question, prompt in zip(self.questions[0], self.prompts(0), strict=True)]
        worth = np.ones(len(paths))
        if name == "weighted":
            paths = [logged.path() for logged in self.logged_chains]
            worth = np.array([logged.right for logged in self.logged_chains], float)
            worth = worth if worth.any() else np.ones(len(paths))  # of a tiny model that says nothing true
        train_kg_policy(model, paths, worth, self._policy_config(self.scale.steps, REAL_RATES[name]))

    def _aligned(self, model: PreTrainedModel, name: str) -> None:
        scale = self.scale
        with tempfile.TemporaryDirectory() as folder:
            args = OceanConfig(
                output_dir=folder, objective="kg_ips" if name == "kg_ips" else "kg_ips_stable", separator="",
                max_steps=scale.steps, per_device_train_batch_size=scale.batch // 2, seed=self.seed,
                learning_rate=REAL_RATES[name], propensity_floor=1e-6, save_strategy="no", report_to=[],
                disable_tqdm=True, use_cpu=self.loaded.device.type == "cpu", dataloader_pin_memory=False,
            )  # fmt: skip
            trainer = OceanTrainer(
                cast(nn.Module, model),
                kg_policy=self.graph_policy[0].model,
                args=args,
                train_dataset=self.log_rows,
                processing_class=self.loaded.tokenizer,
            )
            trainer.remove_callback(PrinterCallback)
            trainer.train()


def steps_with_blanks(text: str) -> list[str]:
    """The steps of an answer, each but the first with the blanks before it, so that they make up the answer again."""
    steps: list[str] = []
    end = 0
    for step in split_steps(text)[0]:
        start = text.index(step, end)
        steps.append(text[end if steps else start : start + len(step)])
        end = start + len(step)
    return steps


def real_arm(context: RealContext, name: str) -> RealArm:
    """What an arm answers to every held-out question, and what it costs."""
    scale, checker = context.scale, context.checker
    loaded = context.arm_model(name)
    texts = context.best_answers(loaded)
    verdicts = [[one.verdict for one in checker.check(split_steps(text)[0])] if text else [] for text in texts]
    scored = context.scored(loaded)
    resampling = Resampling(replicates=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # few effective tokens are a result here
        plain, normalised = (
            scored.estimate(self_normalized=divided, propensity_floor=1e-6, resampling=resampling)
            for divided in (False, True)
        )
    passages = [
        " ".join(text.split()[:60])
        for text in corpus_texts("python-reference", limit=scale.passages, seed=context.seed)
    ]
    return RealArm(
        right=[is_right(text, q.answers) for text, q in zip(texts, context.questions[1], strict=True)],
        supported=[float(np.mean([v == "supported" for v in own])) if own else 0.0 for own in verdicts],
        contradicted=[float(np.mean([v == "contradicted" for v in own])) if own else 0.0 for own in verdicts],
        value=list(plain.per_chain),
        normalised=normalised.value,
        unrelated=sequence_nll(loaded, passages).per_token,
    )


def real_seed(context: RealContext, arms: dict[str, RealArm]) -> RealSeed:
    """The arms of a seed with the graph's policy."""
    graph, reward = context.graph_policy
    texts = context.best_answers(graph)
    rows = token_rows(context.loaded.tokenizer, read_chains(context.log_rows), separator="").rows
    scored = [span >= 0 for row in rows for step, span in zip(row.step_ids, row.span_ids, strict=True) if step >= 0]
    return RealSeed(
        arms=arms,
        graph_right=[is_right(text, q.answers) for text, q in zip(texts, context.questions[1], strict=True)],
        logged=len(rows),
        logged_right=float(np.mean([one.right for one in context.logged_chains])),
        pairs=len(preference_rows(context.logged_chains)),
        entity_share=float(np.mean(scored)),
        reward=reward,
        example=[context.questions[0][0].text, context.logs[0]],
    )
