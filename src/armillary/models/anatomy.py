"""Where the parts of a decoder-only language model are, found by shape and class and verified on a small input.

No table of architectures: layers are the module list as long as the model is deep, the FFN write of a layer is its one
matrix to the hidden width whose input at a token comes from what other matrices read at that token, and what stands
between the last hidden state and the logits (a factor, a soft cap) is measured. What came of it is compared with the
model's own logits on texts of two lengths, so that a wrong guess can't pass.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from armillary.errors import ModelError
from armillary.models.quiet import reason

_WIDTH_NAMES = ("intermediate_size", "ffn_dim", "ffn_hidden_size", "n_inner", "d_ff")


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """The parts of one model; the modules are the model's own, not copies."""

    layers: tuple[nn.Module, ...]
    """Decoder blocks in order."""

    ffn_writes: tuple[nn.Module | None, ...]
    """Per layer the Linear or Conv1D from the intermediate to the hidden width, whose input holds the neurons'
    activations; None where there is no single such module (experts; a state-space mixer without an FFN)."""

    embedding: nn.Embedding
    head: nn.Module
    """The unembedding; its weight is [vocabulary, width of the last hidden state] and may be the embedding's."""

    base: nn.Module
    """``base(input_ids=..., attention_mask=...).last_hidden_state`` is what the head reads, final norm included."""

    hidden_size: int
    intermediate_size: int
    """Width of the FFN's activations in the first layer that has a single write; 0 where no layer has."""

    vocabulary_size: int
    num_layers: int
    tied: bool
    softcap: float | None
    scale: float

    def logits(
        self, hidden: Float[Tensor, "*batch d"], token_ids: Int[Tensor, " m"] | None = None
    ) -> Float[Tensor, "*batch _"]:
        """Logits of the given tokens, or of the whole vocabulary: ``softcap * tanh(scale * (h @ U.T + b) / softcap)``.

        Equal to the model's own logits (and to their columns ``token_ids``); only the rows asked for are multiplied.
        """
        hidden = hidden.to(cast(Tensor, self.head.weight).dtype)  # Mamba keeps its residual stream in float32
        if token_ids is None:
            raw = cast(Tensor, self.head(hidden))
        elif self.head._forward_hooks:  # an adapter that is switched adds to what the matrix gives
            raw = cast(Tensor, self.head(hidden))[..., token_ids.to(hidden.device)]
        else:
            ids = token_ids.to(hidden.device)
            weight, bias = cast(Tensor, self.head.weight), cast(Tensor | None, getattr(self.head, "bias", None))
            raw = functional.linear(hidden, weight[ids], None if bias is None else bias[ids])
        return shaped(raw, self.scale, self.softcap)


def shaped(raw: Tensor, scale: float, softcap: float | None) -> Tensor:
    """The logits that a model returns, from the head's raw output."""
    if scale != 1.0:
        raw = raw * scale
    return raw if softcap is None else torch.tanh(raw / softcap) * softcap


def find_anatomy(model: PreTrainedModel) -> Anatomy:
    """The parts of ``model``, checked: ``anatomy.logits(base(ids).last_hidden_state) == model(ids).logits``.

    Raises ModelError for an encoder-decoder model, one without an unembedding, one that reads both ways, or one whose
    logits are not an affine map of its last hidden state followed by a factor and a soft cap.
    """
    kind = type(model).__name__
    refuse_encoder_decoder(model.config, kind)
    head, base, embedding = model.get_output_embeddings(), model.base_model, model.get_input_embeddings()
    # Where transformers' name for the body leads nowhere (Llama 4), it is the part that holds the embedding.
    bodies = [part for part in model.children() if embedding in part.modules() and part is not embedding]
    base = bodies[0] if base is model and len(bodies) == 1 else base
    weight = getattr(head, "weight", None)
    if not isinstance(head, nn.Module) or not isinstance(weight, Tensor) or weight.dim() != 2 or base is model:
        raise ModelError(f"{kind} has no unembedding matrix, so it gives no next-token logits; give a causal model.")
    if not isinstance(embedding, nn.Embedding):
        raise ModelError(f"{kind} has no token embedding of class nn.Embedding; give a text model.")
    layers = _layers(model, base)
    config = model.config.get_text_config()
    hidden_size = int(getattr(config, "hidden_size", embedding.embedding_dim))
    scale, softcap = _shape_of_logits(model, head, base)
    writes = _ffn_writes(model, base, layers, hidden_size)
    anatomy = Anatomy(
        layers=layers,
        ffn_writes=writes,
        embedding=embedding,
        head=head,
        base=base,
        hidden_size=hidden_size,
        intermediate_size=next((_shape(write)[0] for write in writes if write is not None), 0),
        vocabulary_size=weight.shape[0],
        num_layers=len(layers),
        tied=weight.data_ptr() == embedding.weight.data_ptr(),
        softcap=softcap,
        scale=scale,
    )
    _verify(model, anatomy)
    return anatomy


def _layers(model: PreTrainedModel, base: nn.Module) -> tuple[nn.Module, ...]:
    depth = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    lists = [m for m in base.modules() if isinstance(m, nn.ModuleList) and (len(m) == depth or depth is None)]
    if len(lists) > 1:  # an image tower may be as deep as the decoder: a text runs through the decoder alone
        ran: set[nn.Module] = set()
        handles = [layer.register_forward_pre_hook(lambda module, _: ran.add(module)) for layer in {*chain(*lists)}]
        try:
            with evaluating(model):
                _passes(model, base, _rows(model, 4, 2))
        finally:
            for handle in handles:
                handle.remove()
        lists = [layers for layers in lists if ran.issuperset(layers)]
    if not lists:
        raise ModelError(f"{type(model).__name__} has no list of {depth} layers to look into.")
    sizes = [sum(parameter.numel() for parameter in layers.parameters()) for layers in lists]
    return tuple(lists[sizes.index(max(sizes))])


def _shape(matrix: nn.Module) -> tuple[int, int]:
    """(in, out) of a Linear or of a Conv1D, which stores its weight transposed."""
    rows, columns = cast(Tensor, matrix.weight).shape
    return (rows, columns) if isinstance(matrix, Conv1D) else (columns, rows)


def expert_parameters(layer: nn.Module, hidden_size: int) -> list[str]:
    """Names of the layer's parameters that hold one matrix an expert, from or to the hidden width."""
    threes = [(name, p.shape[1:]) for name, p in layer.named_parameters() if p.dim() == 3 and "conv" not in name]
    return [name for name, shape in threes if hidden_size in shape and min(shape) > 1]


def _ffn_writes(
    model: PreTrainedModel, base: nn.Module, layers: tuple[nn.Module, ...], hidden_size: int
) -> tuple[nn.Module | None, ...]:
    """Per layer the matrix whose input comes token by token from matrices that read the hidden state.

    Seen in two passes: in the second, what each of those read at one token is handed on at another. An FFN's
    activations then change places with it; what mixes tokens (attention, a convolution, a state space) gives others.
    """
    config = model.config.get_text_config()
    widths: set[int] = set()
    for value in (getattr(config, name, None) for name in _WIDTH_NAMES):
        widths.update([value] if isinstance(value, int) else value if isinstance(value, list | tuple) else [])
    candidates: list[list[nn.Module]] = []
    reads: set[nn.Module] = set()
    for layer in layers:
        matrices: list[nn.Module] = [m for m in layer.modules() if isinstance(m, nn.Linear | Conv1D)]
        from_hidden = [module for module in matrices if _shape(module)[0] == hidden_size]
        outs = {_shape(module)[1] for module in from_hidden}
        to_hidden = [module for module in matrices if _shape(module)[1] == hidden_size]
        writes = [write for write in to_hidden if outs & {_shape(write)[0], 2 * _shape(write)[0]}]
        candidates.append([] if expert_parameters(layer, hidden_size) else writes)
        reads.update(from_hidden)
    follows = _follow_their_reads(model, base, reads, {write for writes in candidates for write in writes})
    chosen: list[nn.Module | None] = []
    for writes in candidates:
        likely = [write for write in writes if write in follows]
        # Without a width in the configuration (GPT-2): four times the hidden one. Gemma 3n has low-rank paths besides.
        likely = [w for w in likely if _shape(w)[0] in (widths or {4 * hidden_size})] or likely
        chosen.append(likely[0] if len(likely) == 1 else None)
    return tuple(chosen)


def _follow_their_reads(
    model: PreTrainedModel, base: nn.Module, reads: set[nn.Module], writes: set[nn.Module]
) -> set[nn.Module]:
    """Those of ``writes`` whose input has its tokens in reverse order once the outputs of ``reads`` have."""
    inputs = {**_rows(model, 4, 2)}
    inputs = {name: value[:1] if isinstance(value, Tensor) else value for name, value in inputs.items()}
    given: dict[nn.Module, list[list[Tensor]]] = {write: [[], []] for write in writes}
    made: dict[nn.Module, list[Tensor]] = {read: [] for read in reads}

    def note(turn: int, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        given[module][turn].append(args[0].detach())

    def keep(module: nn.Module, _: object, out: object) -> None:
        if isinstance(out, Tensor):  # a router may give more (PhiMoE)
            made[module].append(out.detach())

    def reverse(module: nn.Module, _: object, out: object) -> object:
        first = made[module].pop(0) if made[module] else None
        return out if first is None or not isinstance(out, Tensor) or first.shape != out.shape else first.flip(-2)

    with evaluating(model):
        for turn, hook in enumerate((keep, reverse)):
            handles = [write.register_forward_pre_hook(partial(note, turn), prepend=True) for write in writes]
            handles += [read.register_forward_hook(hook) for read in reads]
            try:
                base(**inputs)
            except Exception:  # an architecture that can't run on exchanged tokens shows no FFN
                return set()
            finally:
                for handle in handles:
                    handle.remove()
    return {
        write
        for write, (first, second) in given.items()
        if first and len(first) == len(second) and all(map(agree, (x.flip(-2) for x in first), second))
    }


def refuse_encoder_decoder(config: object, name: str) -> None:
    """Raises ModelError where the configuration says encoder-decoder (T5, BART)."""
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(
            f"{name} is an encoder-decoder model; Armillary reads decoder-only models such as Llama, Gemma, Qwen, "
            "GPT-NeoX, GPT-2 and OPT."
        )


# A small forward pass that shows how the model behaves: what follows its head, and whether it reads one way only.

_RAMP = 60.0  # beyond every soft cap in use (30), so that a cap shows as a bend whatever the model's own logits are


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What passed through the head in one forward pass, and what the model made of it."""

    hidden: Tensor
    """The base's last hidden state, [2, t, d]; the two rows differ in the last token."""

    read: Tensor
    """What the head was given: the same, or a multiple of it."""

    logits: Tensor
    """What the model returned."""

    ramp: Tensor
    """Known numbers put in the place of the head's output, [t, vocabulary]."""

    ramp_logits: Tensor
    """What the model made of them: only what stands after the head is left."""


def agree(guess: Tensor, truth: Tensor) -> bool:
    """True where the two are equal up to rounding in the model's dtype, measured by their own size: by that of the
    smaller of the two, so that a column which the model masks with a huge number hides nothing.
    """
    if guess.shape != truth.shape or not guess.numel():
        return guess.shape == truth.shape
    exact = {torch.float32, torch.float64} >= {guess.dtype, truth.dtype}
    atol = (1e-5 if exact else 1e-2) * min(float(guess.abs().max()), float(truth.abs().max()))
    # Both all but 0 are equal; NaN and infinite values, where a tolerance would be one too, never are.
    return math.isfinite(atol) and bool(torch.allclose(guess.double(), truth.double(), atol=atol + 1e-30, rtol=0))


def config_numbers(config: object) -> tuple[list[float], list[float]]:
    """(factors, caps) that the configuration names for logits: ``logit_scale``, ``final_logit_softcapping``."""
    factors, caps = [], []
    for name, value in vars(config).items():
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0 or "attn" in name:
            continue
        if "cap" in name and "logit" in name:
            caps.append(float(value))
        elif ("scal" in name and "logit" in name) or name == "lm_head_multiplier":
            factors.append(float(value))
    return factors, caps


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """No gradient and no dropout inside; every module's own mode is put back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def _rows(model: PreTrainedModel, tokens: int, rows: int) -> dict[str, object]:
    """Inputs of one text in so many rows, which differ in the last token alone."""
    head, embedding = model.get_output_embeddings(), cast(nn.Embedding, model.get_input_embeddings())
    size = min(len(cast(Tensor, cast(nn.Module, head).weight)), embedding.num_embeddings)
    ids = (torch.arange(1, tokens + 1, device=embedding.weight.device) * max(1, size // 6) + 1) % size
    ids = ids.repeat(rows, 1)
    ids[1, -1] = 1 + ids[0, 0] // 2
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}


def _passes(model: PreTrainedModel, base: nn.Module, inputs: dict[str, object]) -> tuple[Tensor, Tensor]:
    """(the base's last hidden state, the model's logits); ModelError where a pass fails, gives NaN or looks ahead."""
    kind = type(model).__name__
    try:
        logits = model(**inputs).logits
        hidden = base(**inputs).last_hidden_state
    except Exception as error:  # whatever an architecture does with an ordinary text is said in one sentence
        raise ModelError(f"{kind} could not run a few tokens ({reason(error)}).") from error
    # Of minus infinity a model may be made: so are tokens masked that it must not say.
    if not bool(torch.isfinite(hidden).all() and (logits < torch.inf).all()):
        raise ModelError(
            f"{kind} gives NaN or infinite values for a few ordinary tokens: its weights are damaged, "
            "or too large for this dtype."
        )
    if not agree(hidden[1, :-1], hidden[0, :-1]):
        raise ModelError(
            f"{kind} reads both ways (a later token changes an earlier state), so it is not a "
            "left-to-right language model; give a causal model."
        )
    return hidden, logits


def observe(model: PreTrainedModel, head: nn.Module, base: nn.Module) -> Observation:
    """One pass through the model and one through its base, on three rows of four tokens: a text, the same with another
    last token, and one in whose place the head gives a ramp. ModelError as in ``_passes``, and where the head does not
    run once.
    """
    weight = cast(Tensor, head.weight)
    ramp = torch.linspace(-_RAMP, _RAMP, weight.shape[0], device=weight.device, dtype=weight.dtype).expand(4, -1)
    seen: list[Tensor] = []

    def replace(_: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> Tensor:
        seen.append(given[0])
        return torch.cat([out[:2], ramp[None]]) if out.shape[1:] == ramp.shape else out

    handle = head.register_forward_hook(replace)
    try:
        hidden, logits = _passes(model, base, _rows(model, 4, 3))
    finally:
        handle.remove()
    if len(seen) != 1:
        raise _other_logits(model)
    return Observation(hidden=hidden[:2], read=seen[0][:2], logits=logits[:2], ramp=ramp, ramp_logits=logits[2])


def _other_logits(model: nn.Module) -> ModelError:
    return ModelError(
        f"the logits of {type(model).__name__} are not its last hidden state times an unembedding matrix "
        "with a factor and a soft cap, so the methods here can't read them; give an ordinary causal language model."
    )


def _shape_of_logits(model: PreTrainedModel, head: nn.Module, base: nn.Module) -> tuple[float, float | None]:
    """(scale, softcap) that reproduce the model's logits, tried in order of likelihood; ModelError if none does."""
    with evaluating(model):
        seen = observe(model, head, base)
        if seen.hidden.shape[-1] != cast(Tensor, head.weight).shape[1]:
            raise _other_logits(model)  # a layer of another width stands between (ELECTRA, RemBERT)
        raw = cast(Tensor, head(seen.hidden.to(cast(Tensor, head.weight).dtype)))
    factors, caps = config_numbers(model.config.get_text_config())
    # A factor on the hidden state (MiniCPM) is the same as one on the logits, as long as the head adds no bias.
    before = 1.0 if agree(seen.read, seen.hidden) else _slope(seen.hidden, seen.read)
    for softcap in [*caps, None]:
        for after in [1.0, *factors, *(1 / factor for factor in factors), _slope(seen.ramp, seen.ramp_logits)]:
            if before is None or after is None:
                continue
            follows = agree(shaped(seen.ramp, after, softcap), seen.ramp_logits)
            if follows and agree(shaped(raw, before * after, softcap), seen.logits):
                return before * after, softcap
    raise _other_logits(model)


_LONG = 11
"""Tokens of the longer text; with a sliding window of less than ``_WINDOW``, two more than the window."""
_WINDOW = 64


def _verify(model: PreTrainedModel, anatomy: Anatomy) -> None:
    """Raises ModelError unless ``anatomy.logits``, whole and of chosen tokens, are the model's own for a longer text
    of two rows, with no hook in the way.
    """
    config = model.config.get_text_config()
    window, room = getattr(config, "sliding_window", None), getattr(config, "max_position_embeddings", None)
    tokens = window + 2 if isinstance(window, int) and _LONG - 2 < window < _WINDOW else _LONG
    tokens = max(2, min(tokens, room if isinstance(room, int) and room > 0 else tokens))
    some = torch.tensor([anatomy.vocabulary_size - 1, 0, anatomy.vocabulary_size // 2, 0])
    with evaluating(model):
        hidden, logits = _passes(model, anatomy.base, _rows(model, tokens, 2))
        try:
            whole, chosen = anatomy.logits(hidden), anatomy.logits(hidden, some)
        except (RuntimeError, IndexError) as error:  # a weight that is packed, or no matrix of rows of tokens
            raise _other_logits(model) from error
        if not agree(whole, logits) or not agree(chosen, logits[..., some.to(logits.device)]):
            raise _other_logits(model)


def _slope(x: Tensor, y: Tensor) -> float | None:
    """The positive factor from ``x`` to ``y``; None where there is none, as behind a layer that stands between."""
    if x.shape != y.shape:
        return None
    x64, y64 = x.double(), y.double()
    slope = float((x64 * y64).sum() / (x64 * x64).sum())
    return slope if slope > 0 and agree((x64 * slope).to(y.dtype), y) else None
