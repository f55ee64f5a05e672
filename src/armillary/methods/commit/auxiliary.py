"""The auxiliary regulariser: movement of the output since the last probe by each component alone, capped.

The paper's term encourages larger updates of the generation distribution, without labels; its formula was not at
hand. This one is ours: ``L = L_task - weight * sum_m w_m min(D_m, cap)``, with D_m the KL from the snapshot's
distribution to that of the model in which component m alone has moved. At the snapshot value and gradient are 0.
"""

from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor

from armillary.methods.commit import core
from armillary.methods.commit.controller import CoMMITController
from armillary.methods.commit.probe import answer_logits, evaluation


def movements(controller: CoMMITController, batch: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Each component and its D_m, nats per answer token (float64, scalar), with a gradient in this component only.

    Nothing before the first probe and for a batch without answer tokens. The model runs in eval mode.
    """
    old = controller.reference
    if old is None:
        return
    model, most = controller.model, controller.config.max_tokens
    with evaluation(model), torch.no_grad():
        reference = answer_logits(model, batch, most, old)
    if reference is None:
        return
    for name, part in controller.parts.items():
        others = {key: value for key, value in old.items() if key not in part}
        with evaluation(model):
            moved = cast(Tensor, answer_logits(model, batch, most, others))
        yield name, core.divergence(controller.config.divergence, reference, moved).mean()


def auxiliary_gain(controller: CoMMITController, batch: Mapping[str, Any], task_loss: Tensor) -> Tensor | None:
    """``sum_m w_m min(D_m, cap)``, to be subtracted from the loss times its weight; None where there is no term.

    The weights sum to 1 and are larger for what lags. With the gate, a component's term is dropped where its gradient
    opposes the task's (their product with the gradient of ``task_loss`` is positive).
    """
    config = controller.config
    weights = dict(zip(controller.names, core.push_weights(controller.ema, len(controller.names)), strict=True))
    terms = []
    for name, moved in movements(controller, batch):
        term = weights[name] * moved.clamp(max=config.aux_cap)
        if not config.aux_gate or _agrees(term, task_loss, list(controller.parts[name].values())):
            terms.append(term.to(task_loss.device, torch.float32))
    return torch.stack(terms).sum() if terms else None


def _agrees(term: Tensor, task_loss: Tensor, parameters: list[torch.nn.Parameter]) -> bool:
    if not term.requires_grad:  # a component that this batch does not reach, as the encoder in a batch of text
        return True
    pairs = [
        torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True) for value in (term, task_loss)
    ]
    products = [(a * b).sum() for a, b in zip(*pairs, strict=True) if a is not None and b is not None]
    return not products or float(torch.stack(products).sum()) <= 0
