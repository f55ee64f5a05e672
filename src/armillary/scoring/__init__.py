"""Log-probabilities done once: of the next token, of whole texts, and of what is sampled."""

from armillary.scoring.branch import BranchLogits, branch_logits
from armillary.scoring.next_token import next_token_logits

__all__ = ["BranchLogits", "branch_logits", "next_token_logits"]
