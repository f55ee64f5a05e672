"""Log-probabilities and decoding done once: of the next token, of whole texts, and of what is sampled."""

from armillary.scoring.decoding import CachedPrompts, greedy
from armillary.scoring.next_token import BranchLogits, branch_logits, next_token_logits
from armillary.scoring.nll import SequenceNLL, sequence_nll, token_nll
from armillary.scoring.sample import Samples, sample

__all__ = [
    "BranchLogits",
    "CachedPrompts",
    "Samples",
    "SequenceNLL",
    "branch_logits",
    "greedy",
    "next_token_logits",
    "sample",
    "sequence_nll",
    "token_nll",
]
