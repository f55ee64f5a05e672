from .decoding import CachedPrompts as CachedPrompts, greedy as greedy
from .next_token import branch_logits as branch_logits, next_token_logits as next_token_logits
from .nll import SequenceNLL as SequenceNLL, sequence_nll as sequence_nll, token_nll as token_nll
from .sampling import Samples as Samples, sample as sample
