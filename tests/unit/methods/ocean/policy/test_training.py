"""The graph's policy learns what is worth something, goes on after a kill, and refuses where nothing is."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from armillary.errors import NumericError, UsageError
from armillary.methods.ocean.policy import PolicyConfig, VerbalisedPath, train_kg_policy
from armillary.methods.ocean.rows import read_chains, token_rows
from armillary.methods.ocean.scores import ChainBatch, token_log_probs

from ..ocean_toy import CITIES, COUNTRIES, model

ONE: dict[str, Any] = {"learning_rate": 5e-3, "max_steps": 12, "batch_size": 4}


def paths(shift: int = 0) -> list[VerbalisedPath]:
    """That each city is in its country, or in another one."""
    made = []
    for index, city in enumerate(CITIES):
        country = COUNTRIES[(index + shift) % 8]
        made.append(
            VerbalisedPath(
                facts=((city, "in", country),),
                questions=(f"Where is {city}?",),
                steps=(f"{city} is in {country}",),
                entity_spans=(((0, len(city)), (len(city) + 7, len(city) + 7 + len(country))),),
                answers=(country,),
            )
        )
    return made


def likelihood(network: Any, said: list[VerbalisedPath]) -> float:
    rows = token_rows(model().tokenizer, read_chains(path.row() for path in said)).rows
    with torch.no_grad():
        return float(token_log_probs(network, ChainBatch.of(rows)).sum(1).mean())


def test_only_what_is_worth_something_is_learned() -> None:
    right, wrong = paths(), paths(3)
    trained = train_kg_policy(model(), [*right, *wrong], [1.0] * 8 + [0.0] * 8, PolicyConfig(**ONE))
    start = model().model.eval()
    assert likelihood(trained.model, right) > likelihood(start, right) + 5
    assert likelihood(trained.model, right) > likelihood(trained.model, wrong) + 2
    assert trained.paths == 8 and trained.reward == 0.5 and trained.losses[-1] > 0


def test_a_killed_training_goes_on(tmp_path: Path) -> None:
    rewards = np.linspace(0.2, 1, 8)
    config = PolicyConfig(**{**ONE, "max_steps": 4}, accumulation=2, save_steps=2)

    def trained(folder: Path) -> torch.Tensor:
        result = train_kg_policy(model(), paths(), rewards, config, checkpoints=folder)
        return torch.cat([parameter.detach().reshape(-1) for parameter in result.model.parameters()])

    whole = trained(tmp_path)
    shutil.rmtree(tmp_path / "checkpoint-4")
    assert torch.equal(trained(tmp_path), whole)
    assert torch.equal(trained(tmp_path), whole)  # all steps are done: read


@pytest.mark.parametrize(
    ("rewards", "words"),
    [
        ([0.0] * 8, "every reward is 0, so there is no signal"),
        ([1.0] * 7, "one number between 0 and 1 for each of the 8 paths"),
        ([1.5] * 8, "one number between 0 and 1"),
        ([np.nan] * 8, "one number between 0 and 1"),
    ],
)
def test_rewards_that_say_nothing_are_refused(rewards: list[float], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        train_kg_policy(model(), paths(), rewards)


def test_wrong_settings_and_a_diverged_training_are_one_sentence() -> None:
    for given, words in (
        ({"batch_size": 0}, "batch_size must be 1 or more"),
        ({"learning_rate": 0.0}, "must be above 0"),
        ({"max_steps": 0}, "1 or more, or -1"),
    ):
        with pytest.raises(UsageError, match=words):
            PolicyConfig(**given)
    broken = model()
    with torch.no_grad():
        next(broken.model.parameters()).fill_(torch.nan)
    with pytest.raises(NumericError, match="the training diverged"):
        train_kg_policy(broken, paths(), [1.0] * 8, PolicyConfig(max_steps=10))
