"""PEFT's own exact combination (``add_weighted_adapter``, ``cat``) of low-rank bricks: a second opinion on ours.

Only ``cat`` is called: PEFT's ``linear`` sums the factors separately, which is not the sum of the changes. Needs the
package peft (``pip install armillary[adapters]``).
"""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from armillary.errors import UsageError
from armillary.extras import optional
from armillary.methods.bricks.brick import Brick
from armillary.methods.bricks.payloads import LowRank


def peft_cat(bricks: Sequence[Brick], weights: Sequence[float]) -> LowRank:
    """The weighted sum of low-rank bricks as PEFT puts it together, on modules of the right shape without a base.

    Raises UsageError where peft is not installed or a brick is not low-rank.
    """
    return read_combined(peft_combined(bricks, weights, "cat"))


def read_combined(combined: nn.Module) -> LowRank:
    """The factors of the adapter "merged"; PEFT's scale of a combination is 1."""
    factors = {
        name: (module.lora_A["merged"].weight.data.clone(), module.lora_B["merged"].weight.data.clone())
        for name, module in combined.named_modules()
        if "merged" in getattr(module, "lora_A", {})
    }
    return LowRank(factors)


def peft_combined(bricks: Sequence[Brick], weights: Sequence[float], how: Any, **settings: Any) -> nn.Module:
    """Bare modules wrapped by PEFT, with the bricks as adapters and their combination as the adapter "merged"."""
    optional("peft", "adapters")
    from peft import LoraConfig, LoraModel

    if not all(isinstance(brick.payload, LowRank) for brick in bricks):
        raise UsageError("PEFT combines low-rank bricks only.")
    body = _skeleton(bricks)
    configs = {}
    for number, brick in enumerate(bricks):
        payload = brick.payload
        assert isinstance(payload, LowRank)
        ranks = {path: len(a_RI) for path, (a_RI, _) in payload.factors.items()}
        # The largest rank must be the adapter's own: PEFT sizes the combination by it, not by the patterns.
        most = max(ranks.values())
        configs[f"b{number}"] = LoraConfig(
            r=most, lora_alpha=most, target_modules=list(ranks), rank_pattern=ranks, alpha_pattern=ranks
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = LoraModel(body, configs["b0"], "b0")
        for name, config in list(configs.items())[1:]:
            model.peft_config[name] = config
            model.inject_adapter(model.model, name)
        for number, brick in enumerate(bricks):
            _fill(model.model, f"b{number}", brick.payload)
        model.add_weighted_adapter(list(configs), list(weights), "merged", combination_type=how, **settings)
    combined: nn.Module = model.model
    return combined


def _skeleton(bricks: Sequence[Brick]) -> nn.Module:
    """Linear modules at the bricks' paths whose weights take no memory: one zero, seen by every entry."""
    body = nn.Module()
    for site in {site.path: site for brick in bricks for site in brick.sites}.values():
        above, steps = body, site.path.split(".")
        for step in steps[:-1]:
            if not hasattr(above, step):
                above.add_module(step, nn.Module())
            above = above.get_submodule(step)
        linear = nn.Linear(1, 1, bias=False)
        linear.in_features, linear.out_features = site.inputs, site.outputs
        linear.weight = nn.Parameter(torch.zeros(1, 1).expand(site.outputs, site.inputs), requires_grad=False)
        above.add_module(steps[-1], linear)
    return body


def _fill(body: nn.Module, adapter: str, payload: Any) -> None:
    for path, (a_RI, b_OR) in payload.factors.items():
        module: Any = body.get_submodule(path)
        pairs: tuple[tuple[Tensor, Tensor], ...] = (
            (module.lora_A[adapter].weight, a_RI),
            (module.lora_B[adapter].weight, b_OR),
        )
        for parameter, value in pairs:
            parameter.data.copy_(value)
