"""The trainer: its steps are those of the objectives written out, however rows are spread and runs are killed."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from armillary.errors import UsageError
from armillary.methods.ocean import core, kg_ips
from armillary.methods.ocean.estimate import Resampling
from armillary.methods.ocean.rows import read_chains, token_rows
from armillary.methods.ocean.scores import score_chains
from armillary.methods.ocean.stored import collated
from armillary.methods.ocean.trainer import OceanConfig, OceanTrainer
from armillary.models.tiny_models import tiny

from ...training.two_processes import run_two
from .ocean_toy import arguments, chain, chains, logged, make, model, run, spelling, weights
from .two_trainers import both_arms

ONE: dict[str, Any] = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1}


def written_out(objective: str, beta_kl: float = 1.0) -> Tensor:
    """Weights after one step of plain gradient descent of 0.05, by a flat loop over chains, steps and tokens."""
    target, base, kg = model().model, model().model.eval(), model(1).model.eval()
    loss = torch.zeros(())
    rows = token_rows(model().tokenizer, read_chains(chains())).rows
    for row in rows:
        ids = torch.tensor([row.input_ids])
        with torch.no_grad():
            log_base, log_kg = (m(ids).logits[0, :-1].log_softmax(-1) for m in (base, kg))
        log_target = target(ids).logits[0, :-1].log_softmax(-1)
        steps: dict[int, list[Tensor]] = {}
        for place, (token, step, span) in enumerate(zip(row.input_ids, row.step_ids, row.span_ids, strict=True)):
            if step < 0:
                continue
            own, before, graph = (log_p[place - 1, token] for log_p in (log_target, log_base, log_kg))
            entity = span >= 0
            if objective == "kg_ips":
                term = (own - (graph if entity else before)).exp() * before
            else:
                all_base, all_kg = log_base[place - 1], log_kg[place - 1]
                factors = (all_base - all_kg).exp().clamp(0.1, 10) if entity else torch.ones_like(all_base)
                baseline = (all_base.exp() * factors * all_base).sum()
                ratio = (own - before).exp()
                term = ratio.clamp(max=10) * (factors[token] * before - baseline)
                term = term - beta_kl * (ratio * (ratio.log() - 1) + 1)
            steps.setdefault(step, []).append(term)
        loss = loss - torch.stack([torch.stack(part).mean() for part in steps.values()]).mean() / len(rows)
    loss.backward()
    return torch.cat([(p - 0.05 * p.grad).detach().reshape(-1) for p in target.parameters() if p.grad is not None])


@pytest.mark.parametrize("objective", ["kg_ips", "kg_ips_stable"])
def test_a_step_is_the_objective_written_out(objective: str, tmp_path: Path) -> None:
    sgd: dict[str, Any] = {"optim": "sgd", "learning_rate": 0.05, "max_grad_norm": 0.0, "weight_decay": 0.0}
    trainer = run(tmp_path, objective=objective, max_steps=1, **ONE, **sgd)
    torch.testing.assert_close(weights(trainer), written_out(objective), rtol=1e-4, atol=1e-6)
    assert not torch.equal(weights(trainer), weights(make(tmp_path / "start")))


def test_micro_batches_equal_one_batch(tmp_path: Path) -> None:
    """Of six chains, so that the last micro-batch of a round is a smaller one."""
    results = []
    for size, pieces in ((6, 1), (4, 2)):
        sizes: dict[str, Any] = {"per_device_train_batch_size": size, "gradient_accumulation_steps": pieces}
        trainer = run(tmp_path / str(size), max_steps=2, data=chains(6), optim="sgd", learning_rate=0.05,
                      **sizes)  # fmt: skip
        results.append((weights(trainer), [logged(trainer, f"ocean/{name}") for name in ("value", "ess", "kl")]))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-4, atol=1e-6)
    assert np.array(results[0][1]) == pytest.approx(np.array(results[1][1]), abs=1e-4)


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path) -> None:
    results = run_two(tmp_path, Path(__file__).with_name("two_trainers.py"))
    for name, alone in both_arms(tmp_path / "alone", 4).items():
        assert torch.equal(results[0][name], results[1][name])
        torch.testing.assert_close(results[0][name], alone, rtol=1e-4, atol=2e-5)


def test_resumed_equals_unbroken(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"save_strategy": "steps", "save_steps": 2}
    whole = run(tmp_path, **changes)
    shutil.rmtree(tmp_path / "checkpoint-4")  # as if it had been killed after the second step
    resumed = make(tmp_path, own=model(7).model, **changes)  # any weights: the checkpoint's and the file's are read
    resumed.train(resume_from_checkpoint=True)
    assert torch.equal(weights(whole), weights(resumed)) and resumed.state.global_step == 4
    with pytest.raises(UsageError, match="is of other rows than those given"):
        make(tmp_path, data=chains(6), **changes).train(resume_from_checkpoint=True)
    (tmp_path / "ocean_references.safetensors").unlink()
    with pytest.raises(UsageError, match=r"ocean_references\.safetensors is missing, so this run would not go on"):
        make(tmp_path, **changes).train(resume_from_checkpoint=True)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of transformers, raised inside PEFT
def test_an_adapter_switched_off_is_the_base_policy(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], lora_dropout=0.3, init_lora_weights=False)
    fixed: dict[str, Any] = {"extra": {"peft_config": config}, "learning_rate": 1e-2, "max_steps": 2}
    torch.manual_seed(0)  # of which the adapter is drawn
    cached = run(tmp_path / "a", **fixed)
    torch.manual_seed(0)
    live = run(tmp_path / "b", precompute_ref_log_probs=False, **fixed)
    torch.testing.assert_close(weights(cached), weights(live), rtol=1e-4, atol=1e-6)
    plain = make(tmp_path / "d")
    plain._require_stored()
    for index, known in cached.stored._known.items():
        torch.testing.assert_close(known, plain.stored._known[index])
    assert logged(cached, "ocean/kl")[0] > 1e-4  # the adapter does something from the beginning
    started = {name: p.detach().clone() for name, p in model().model.named_parameters()}
    for name, parameter in cached.model.named_parameters():
        if "lora" not in name:
            plain_name = name.replace("base_model.model.", "").replace(".base_layer", "")
            assert torch.equal(parameter, started[plain_name]) and not parameter.requires_grad
    dropouts = [module for module in cached.model.modules() if isinstance(module, torch.nn.Dropout)]
    assert dropouts and all(module.p == 0.3 for module in dropouts)


def test_the_log_tells_the_papers_value_and_begins_at_ratio_one(tmp_path: Path) -> None:
    """Also on held-out rows, which base and graph policy read before training."""
    extra = {"eval_dataset": [chain(index) for index in (1, 4)]}
    trainer = make(tmp_path, extra=extra, learning_rate=1e-2, **ONE)
    before, start = trainer.estimate(), trainer.evaluate()
    trainer.train()
    own = model().model
    scored = score_chains(own, own, model(1).model, token_rows(model().tokenizer, read_chains(chains())).rows)
    expected = scored.estimate(resampling=Resampling(replicates=10))
    first = {name: logged(trainer, f"ocean/{name}")[0] for name in ("value", "ess", "entity_ratio_mean", "kl")}
    ratios = np.exp(scored.logp_target - scored.logp_kg)[scored.is_entity]
    ess = expected.ess / expected.tokens
    told = {"value": expected.value, "ess": ess, "entity_ratio_mean": ratios.mean(), "kl": 0.0}
    assert first == pytest.approx(told, rel=1e-4, abs=1e-6) and before.value == pytest.approx(expected.value, rel=1e-5)
    assert logged(trainer, "ocean/kl")[-1] > 1e-4 and logged(trainer, "loss")[-1] < logged(trainer, "loss")[0]
    assert trainer.estimate(self_normalized=True).estimator == "snips"
    after = trainer.evaluate()
    assert after["eval_loss"] != start["eval_loss"]
    assert start["eval_ocean/kl"] == pytest.approx(0, abs=1e-6) and after["eval_ocean/kl"] > 1e-4
    assert after["eval_ocean/value"] == pytest.approx(trainer.estimate("eval").value, rel=1e-4)


def test_the_papers_value_rises(tmp_path: Path) -> None:
    trainer = make(tmp_path, objective="kg_ips", max_steps=8, learning_rate=5e-3, **ONE)
    before = trainer.estimate().value
    trainer.train()
    assert trainer.estimate().value > before + 0.1


def test_chains_of_lambda_are_weighed_by_lambda(tmp_path: Path) -> None:
    data = [chain(index, "lambda") for index in range(8)]
    by_lambda, by_base = make(tmp_path, data=data), make(tmp_path)
    first, second = by_lambda.estimate(), by_base.estimate()
    assert first.value == pytest.approx(second.value) and first.unbiased and not second.unbiased
    inputs = [collated(trainer.splits["train"]) for trainer in (by_lambda, by_base)]
    losses = [
        float(trainer.compute_loss(trainer.model, batch).detach())
        for trainer, batch in zip((by_lambda, by_base), inputs, strict=True)
    ]
    terms = []
    for item in by_lambda.splits["train"]:
        base, kg, baseline = by_lambda.stored._known[item.index]
        entity = torch.tensor(item.row.span_ids)[torch.tensor(item.row.step_ids) >= 0] >= 0
        ratio = torch.where(entity, (base - kg).clamp(max=float(np.log(10))).exp(), 1.0)
        weight = 0.1 * torch.where(entity, (kg - base).neg().exp(), 1.0)  # of the divergence: the policy is the base
        assert bool((baseline < 0).all()) and bool((weight > 0).all())
        shares = torch.tensor(item.shares)[torch.tensor(item.row.step_ids) >= 0]
        terms.append(float((shares * ratio * (base - baseline)).sum()))
    assert losses[0] == pytest.approx(-np.mean(terms), abs=1e-4) and abs(losses[0] - losses[1]) > 1e-3


@pytest.mark.filterwarnings("ignore:the effective sample size")
def test_whole_spans_of_another_tokenizer(tmp_path: Path) -> None:
    other = spelling()
    extra = {"kg_policy": other.model, "kg_processing_class": other.tokenizer}
    with pytest.raises(UsageError, match="has another vocabulary than the model"):
        make(tmp_path, extra=extra)
    trainer = run(tmp_path, entity_ratio="span", extra=extra, max_steps=1, **ONE)
    assert all(np.isfinite(value) for value in logged(trainer, "ocean/value"))
    own = token_rows(model().tokenizer, read_chains(chains())).rows
    theirs = token_rows(other.tokenizer, read_chains(chains())).rows
    start = model().model
    scored = score_chains(start, start, other.model, own, kg_rows=theirs)
    assert logged(trainer, "ocean/value")[0] == pytest.approx(scored.estimate().value, rel=1e-4)
    with pytest.raises(UsageError, match="needs kg_processing_class"):
        make(tmp_path, entity_ratio="span")


def test_a_floor_lifts_what_has_no_probability(tmp_path: Path) -> None:
    trainer = make(tmp_path, propensity_floor=0.5, **ONE)
    trainer._require_stored()
    assert min(float(base.min()) for base, _, _ in trainer.stored._known.values()) == pytest.approx(np.log(0.5))


def test_shares_are_those_of_the_estimator(tmp_path: Path) -> None:
    trainer = make(tmp_path)
    for item in trainer.splits["train"]:
        assert item.shares == pytest.approx(core.token_shares(np.array([item.row.step_ids]))[0].tolist())
    assert kg_ips.__module__ == "armillary.methods.ocean.estimate"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"objective": "dpo"}, "objective must be one of kg_ips_stable, kg_ips; got 'dpo'"),
        ({"weight_clip": 1.0}, "weight_clip must be above 1"),
        ({"ratio_clip": float("inf")}, "ratio_clip must be above 1 and finite"),
        ({"beta_kl": -1.0}, "beta_kl must be 0 or more"),
        ({"propensity_floor": 0.0}, "between 0 and 1"),
        ({"logged_by": "gold"}, "base, lambda, unknown"),
        ({"max_length": 1}, "2 or more"),
    ],
)
def test_bad_settings_are_one_sentence(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        arguments(tmp_path, **changes)


def test_bad_set_ups_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a base policy must be there at each step"):
        make(tmp_path, precompute_ref_log_probs=False)
    larger = tiny("llama", vocabulary=len(model().tokenizer) + 8).model
    with pytest.raises(UsageError, match="the graph's policy has"):
        run(tmp_path, extra={"kg_policy": larger})
    with pytest.raises(UsageError, match="give eval_dataset when the trainer is made"):
        make(tmp_path).evaluate()
    with pytest.raises(UsageError, match="there are no rows of the split 'eval'"):
        make(tmp_path).estimate("eval")
    with pytest.raises(UsageError, match="plain data parallelism"):
        sharded = arguments(tmp_path)
        sharded.deepspeed = "x"
        OceanTrainer(model().model, kg_policy=model(1).model, args=sharded, train_dataset=chains(),
                     processing_class=model().tokenizer)  # fmt: skip
    impossible = model(1).model
    impossible.lm_head.register_forward_hook(lambda _, __, logits: logits.index_fill(2, torch.arange(9, 200), -np.inf))
    with pytest.raises(UsageError, match="has a token without probability"):
        run(tmp_path, extra={"kg_policy": impossible})
    assert isinstance(arguments(tmp_path), OceanConfig)
