"""KG-IPS on bandit data against Open Bandit Pipeline: its estimators must give our numbers."""

from typing import Any

import numpy as np
import pytest

from armillary.methods.ocean import Resampling, doubly_robust, kg_ips

RESAMPLING = Resampling(replicates=400, seed=1)
ROUNDS, ARMS = 2000, 5


def data() -> dict[str, np.ndarray]:
    """Rounds of a contextual bandit: what was drawn, its propensity, its reward below 0, and a wrong model of it."""
    draw = np.random.default_rng(0)

    def policy() -> np.ndarray:
        odds = np.exp(draw.normal(size=(ROUNDS, ARMS)))
        return odds / odds.sum(1, keepdims=True)

    logging, target = policy(), policy()
    action = np.array([draw.choice(ARMS, p=row) for row in logging])
    mean = -np.exp(draw.normal(size=(ROUNDS, ARMS)))
    reward = mean[np.arange(ROUNDS), action] * draw.uniform(0.5, 1.5, ROUNDS)
    pscore = logging[np.arange(ROUNDS), action]
    model = mean + draw.normal(size=mean.shape) * 0.3
    return {"target": target, "action": action, "reward": reward, "pscore": pscore, "model": model}


def ours(d: dict[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    """Each round as a chain of one token, an entity, whose base log-probability is the reward."""
    logs = np.log(d["target"][np.arange(ROUNDS), d["action"]]), d["reward"], np.log(d["pscore"])
    return *(array[:, None] for array in logs), np.ones((ROUNDS, 1), bool), np.zeros((ROUNDS, 1), int)


def test_the_numbers_are_those_of_open_bandit_pipeline() -> None:
    ope: Any = pytest.importorskip("obp.ope", reason="pip install 'armillary[validation]'")
    d = data()
    given = {
        "reward": d["reward"], "action": d["action"], "pscore": d["pscore"], "action_dist": d["target"][:, :, None],
        "position": np.zeros(ROUNDS, int),
    }  # fmt: skip
    arrays = ours(d)
    plain = kg_ips(*arrays, logging="lambda", resampling=RESAMPLING)
    normalised = kg_ips(*arrays, self_normalized=True, logging="lambda", resampling=RESAMPLING)
    model = d["model"]
    q = {
        "q_logged": model[np.arange(ROUNDS), d["action"]][:, None],
        "q_target": (d["target"] * model).sum(1)[:, None],
    }
    robust = doubly_robust(*arrays, **q, logging="lambda", resampling=RESAMPLING)
    theirs = [
        (plain, ope.InverseProbabilityWeighting(), {}),
        (normalised, ope.SelfNormalizedInverseProbabilityWeighting(), {}),
        (robust, ope.DoublyRobust(), {"estimated_rewards_by_reg_model": model[:, :, None]}),
    ]
    for own, estimator, more in theirs:
        assert own.value == pytest.approx(estimator.estimate_policy_value(**given, **more), rel=1e-12)
    interval = ope.InverseProbabilityWeighting().estimate_interval(
        **given, alpha=0.05, n_bootstrap_samples=400, random_state=0
    )
    width = interval["95.0% CI (upper)"] - interval["95.0% CI (lower)"]
    assert plain.bootstrap.upper - plain.bootstrap.lower == pytest.approx(width, rel=0.15)
    assert plain.bootstrap.lower == pytest.approx(interval["95.0% CI (lower)"], abs=0.15 * width)


THEIRS = {"plain": -1.7828618570301515, "normalised": -1.7741697446488778, "robust": -1.6796956988317477}
"""What Open Bandit Pipeline 0.4.1 gives for these rounds."""


def test_the_same_where_it_is_not_installed() -> None:
    d, model = data(), data()["model"]
    arrays = ours(d)
    q_logged, q_target = model[np.arange(ROUNDS), d["action"]], (d["target"] * model).sum(1)
    results = {
        "plain": kg_ips(*arrays, logging="lambda", resampling=RESAMPLING),
        "normalised": kg_ips(*arrays, self_normalized=True, logging="lambda", resampling=RESAMPLING),
        "robust": doubly_robust(
            *arrays, q_logged=q_logged[:, None], q_target=q_target[:, None], logging="lambda", resampling=RESAMPLING
        ),
    }
    assert {name: result.value for name, result in results.items()} == pytest.approx(THEIRS, rel=1e-12)
