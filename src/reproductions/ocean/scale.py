"""How large each preset of the OCEAN reproduction is; importable without torch.

[derived] World, models, rates and sizes are ours: the paper aligns models of 2 to 8 billion parameters to Wikidata5M
with another model as writer of chains, which is out of reach, and no source gives its settings.
"""

from dataclasses import dataclass

from armillary.cli.reproduce import Preset

PILOT = 1000
"""What is added to the seed for the one that rates are chosen on: none that is judged."""

WRONG_RATES = (0.0, 0.3, 0.6)
"""How often a fact is told with its rival as tail: one rate a fact, so that 30 % of all are wrong (the note's share)
and of a third of the facts the wrong one is told more often."""

MIXES = (-0.5, 0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of the graph's policy in the logits of the family that estimates are to rank (the note's)."""


RATES = {
    "sft": 1e-3, "kg_ips": 3e-4, "stable": 1e-3, "stable_all": 1e-3, "no_graph": 1e-3, "dpo": 1e-4, "weighted": 1e-3,
    "rloo": 1e-3, "grpo": 1e-3, "rivals": 1e-3,
}  # fmt: skip
"""By arm. Where 1e-3 made fewer held-out steps of the pilot seed true or chains malformed, a smaller one: of 1e-3,
3e-4 and 1e-4 for the paper's objective, and for DPO between 2e-4, which lost ends of chains, and 5e-5."""


REAL_RATES = {"sft": 1e-3, "kg_ips": 3e-4, "stable": 1e-3, "weighted": 1e-3, "dpo": 3e-4, "grpo": 1e-3}
"""Of adapters on the given model, the graph's policy with ``sft``'s: on the pilot seed 3e-4 taught it next to nothing
in 100 steps, and 1e-3 did. As in the small world the paper's objective and DPO get smaller ones."""


@dataclass(frozen=True, kw_only=True)
class RealScale:
    """Sizes of one preset on the given model; the defaults are laptop's: an hour of one core a seed.

    The note has 400 logged chains, 200 held-out questions and 60 to 100 steps; chains and questions are three quarters
    of that for the sake of the arms it does not have.
    """

    seeds: int = 2
    train: int = 150
    """Questions of which chains are logged."""

    chains_each: int = 2
    """Of each: now and then a right and a wrong one of the same question."""

    held_out: int = 150
    new_tokens: int = 32
    """Of an answer: two short sentences have 30."""

    batch: int = 16
    """Answers drawn together; a training step takes half as many chains (the note's 8)."""

    steps: int = 60
    """Of every arm but one."""

    reward_steps: int = 30
    """Of GRPO, which draws its chains at each step and takes twice as long for one."""

    graph_steps: int = 120
    passages: int = 20
    """Of program documentation, by which collateral damage is measured."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Sizes of one preset; the defaults are laptop's: five seeds of some minutes on one core."""

    seeds: int = 5
    countries: int = 32
    """Drawn by the seed; with their capitals, languages, currencies and neighbours about 120 entities."""

    paths: int = 5000
    """Walks of one to three hops from which questions are taken."""

    layers: int = 2
    width: int = 48
    start_steps: int = 600
    """Of the base policy, on wrong facts and unrelated text."""

    graph_steps: int = 150
    """Of the graph's policy, from the base policy's weights on."""

    batch: int = 48
    """Half of it unrelated text."""

    rate: float = 1e-2
    """Of both, with weights that begin at a spread of 0.1: of 3e-3 and 1e-2, of spreads of 0.02 and 0.1, the pair that
    learned the pilot seed's facts in a quarter of the steps."""

    questions: int = 300
    """Training questions, of which chains are logged, as many of each again as ``chains_each``."""

    chains_each: int = 5
    held_out: int = 300
    """Held-out questions of two and three hops at most."""

    answers: int = 3
    """Chains that every arm draws for each of them."""

    steps: int = 150
    """Of every arm of alignment."""

    align_batch: int = 24
    beta_kl: float = 1.0
    """Of 0.1 and 1 on the pilot seed that at which texts stayed as varied; more steps were true with it too."""

    unrelated: int = 400
    """Unrelated questions by which collateral damage is measured."""

    reward_steps: int = 40
    """Of the online arms by TRL, which sample at each step: as long as the other arms together."""

    resamples: int = 400
    """Logs drawn anew in each test of the estimator by enumeration, of ``resampled_chains`` each."""

    resampled_chains: int = 200
    real: RealScale = RealScale()
    """Of the experiment on the given model."""


SCALES: dict[Preset, Scale] = {
    "quick": Scale(
        seeds=1, countries=8, paths=60, layers=1, width=16, start_steps=3, graph_steps=2, batch=8, questions=6,
        chains_each=2, held_out=8, answers=1, steps=2, align_batch=4, unrelated=6, reward_steps=1, resamples=30,
        resampled_chains=20,
        real=RealScale(
            seeds=1, train=5, held_out=5, new_tokens=6, batch=8, steps=1, reward_steps=1, graph_steps=1, passages=2
        ),
    ),
    "laptop": Scale(),
    "gpu": Scale(
        countries=150, paths=20_000, layers=4, width=128, start_steps=4000, graph_steps=1000, questions=2000,
        held_out=1000, steps=600, unrelated=1000, reward_steps=300, resamples=2000,
        real=RealScale(
            seeds=3, train=500, chains_each=4, held_out=400, batch=64, steps=300, reward_steps=150,
            graph_steps=500, passages=300,
        ),
    ),
}  # fmt: skip
