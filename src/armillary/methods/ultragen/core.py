"""The three losses as pure functions: reconstruction, triplets of attributes, preferences.

Legend: B rows, T tokens, V vocabulary, D size of a vector. Equation numbers are those of docs/methods/ultragen.md.
"""

from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional


def token_log_probabilities(logits_BTV: Float[Tensor, "b t v"], ids_BT: Int[Tensor, "b t"]) -> Float[Tensor, "b t-1"]:
    """Log-probability (nats, float32) of each token but the first, from the logits at the token before it."""
    log_p = logits_BTV[:, :-1].float().log_softmax(-1)
    return log_p.gather(2, ids_BT[:, 1:, None])[..., 0]


def reconstruction_loss(
    logits_BTV: Float[Tensor, "b t v"], ids_BT: Int[Tensor, "b t"], completion_BT: Bool[Tensor, "b t"]
) -> Float[Tensor, ""]:
    """Mean negative log-probability (nats a token) of the completion's tokens behind the attributes, equation 1.

    Over the tokens of all rows, as TRL's trainer takes it; the equation's mean of means is the same for one row.
    """
    kept_BT = completion_BT[:, 1:]
    return -(token_log_probabilities(logits_BTV, ids_BT) * kept_BT).sum() / kept_BT.sum()


def triplet_loss(
    anchor_BD: Float[Tensor, "b d"], same_BD: Float[Tensor, "b d"], other_BD: Float[Tensor, "b d"], margin: float = 1.0
) -> Float[Tensor, ""]:
    """Equation 2: ``mean max(0, |f(a) - f(a+)|^2 - |f(a) - f(a-)|^2 + margin)``, of vectors brought to unit length."""
    return (_closeness(anchor_BD, same_BD, other_BD) + margin).clamp_min(0).mean()


def triplet_accuracy(
    anchor_BD: Float[Tensor, "b d"], same_BD: Float[Tensor, "b d"], other_BD: Float[Tensor, "b d"]
) -> Float[Tensor, ""]:
    """Share of the triplets whose two attributes of one document lie closer together; a tie is half a success."""
    difference_B = _closeness(anchor_BD, same_BD, other_BD)
    return ((difference_B < 0).float() + 0.5 * (difference_B == 0).float()).mean()


def _closeness(anchor_BD: Tensor, same_BD: Tensor, other_BD: Tensor) -> Tensor:
    """Squared distance to the attribute of the same document less that to the other's."""
    anchor, same, other = (functional.normalize(x, dim=-1) for x in (anchor_BD, same_BD, other_BD))
    return (anchor - same).square().sum(-1) - (anchor - other).square().sum(-1)


def preference_loss(
    chosen_B: Float[Tensor, "b"],
    rejected_B: Float[Tensor, "b"],
    reference_chosen_B: Float[Tensor, "b"],
    reference_rejected_B: Float[Tensor, "b"],
    beta: float = 0.1,
) -> Float[Tensor, ""]:
    """Equation 3: ``-mean log sigmoid(beta ((log pi - log pi_ref)(chosen) - (log pi - log pi_ref)(rejected)))``.

    Each log-probability is the sum (nats) over the completion's tokens, end token included (Rafailov and others 2023).
    """
    margin_B = (chosen_B - reference_chosen_B) - (rejected_B - reference_rejected_B)
    return -functional.logsigmoid(beta * margin_B).mean()
