"""Every architecture of transformers' causal language models, tiny and random, taken through what the library does.

``python -m tools.architectures`` builds each, and compares loading (also from a folder), NLL, next tokens with and
without a cache, a profile of neurons and a merge with plain calls of transformers. A cell is right to ``TOLERANCE`` of
the size of the logits, or the library refused in one sentence; anything else is a failure (exit 1). ``--write`` puts
the table into docs/architectures.md, ``--only A B`` takes some, ``--part 1/4`` a share of them (kept in ``--keep``).
"""

import argparse
import json
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from armillary.errors import ArmillaryError
from armillary.methods.bricks.merging.models import merge_models
from armillary.methods.bricks.neurons.config import ProfileConfig
from armillary.methods.bricks.neurons.profiling import profile
from armillary.models import LoadedModel, load
from armillary.models.quiet import quiet
from armillary.models.tiny_models import tiny_tokenizer
from armillary.scoring import branch_logits, next_token_logits, sample, sequence_nll
from armillary.scoring.fixed_length import fixed_length_nll

TOLERANCE = 1e-5
PAGE = Path(__file__).parents[1] / "docs" / "architectures.md"
STEPS = ("load", "NLL", "next token", "with cache", "profile", "merge")
MOST_PARAMETERS = 6_000_000
"""Of a tiny model: more means that a setting which makes the family small is not known here."""

TEXTS = (
    "Paris lives in the city of France and speaks French",
    "the red house is near",
    "Tokyo is the capital of Japan",
)
STEMS, ENDINGS = ("Paris", "The red sun", "Berlin"), (" lives in the city of", " lives in the country of", " is")

# Settings by their names, used where a configuration has them: small, and odd enough that a mix-up shows.
_SMALL: dict[str, Any] = {
    "hidden_size": 32, "d_model": 32, "n_embd": 32, "intermediate_size": 48, "ffn_dim": 48, "n_inner": 48, "d_ff": 48,
    "ffn_hidden_size": 48, "dff": 48, "d_inner": 48, "feed_forward_size": 48, "decoder_ffn_dim": 48,
    "encoder_ffn_dim": 48, "moe_intermediate_size": 24, "shared_expert_intermediate_size": 24,
    "moe_shared_expert_intermediate_size": 24, "shared_intermediate_size": 24, "expert_ffn_hidden_size": 24,
    "shared_experts_intermediate_size": 24, "intermediate_size_mlp": 48, "dense_intermediate_size": 48,
    "num_attention_heads": 4, "n_head": 4, "n_heads": 4, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "num_encoder_attention_heads": 4, "num_decoder_attention_heads": 4, "num_key_value_heads": 2, "num_kv_heads": 2,
    "head_dim": 8, "d_head": 8, "kv_channels": 8, "attention_hidden_size": 32, "attention_head_dim": 8,
    "num_hidden_layers": 2, "n_layer": 2, "n_layers": 2, "num_layers": 2, "encoder_layers": 2, "decoder_layers": 2,
    "num_encoder_layers": 2, "num_decoder_layers": 2, "max_window_layers": 2,
    "max_position_embeddings": 256, "n_positions": 256, "n_ctx": 256, "max_seq_len": 256, "max_target_positions": 256,
    "q_lora_rank": 8, "kv_lora_rank": 8, "o_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8,
    "qk_head_dim": 16, "v_head_dim": 8, "index_head_dim": 8, "index_n_heads": 2, "o_groups": 2,
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "moe_num_experts": 4, "num_experts_per_tok": 2,
    "moe_k": 2, "moe_topk": 2, "n_group": 1, "topk_group": 1, "n_shared_experts": 1, "first_k_dense_replace": 1,
    "moe_layer_start_index": 1, "moe_layer_end_index": 1, "moe_num_shared_experts": 1, "zero_expert_num": 1,
    "linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
    "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_chunk_size": 4, "chunk_size": 4,
    "mamba_dt_rank": 4, "mamba_num_heads": 8, "mamba_head_dim": 8, "ssm_state_size": 8, "state_size": 4,
    "n_mamba_heads": 1, "mamba_headdim": 8, "mamba_ngroups": 1, "adapter_rank": 4, "n_groups": 1, "mamba_n_groups": 1,
    "mamba_d_ssm": 64, "lru_width": 32, "attention_window_size": 16, "sliding_window": 16, "window_size": 16,
    "embedding_size": 24, "input_embedding_size": 24, "output_embedding_size": 40, "word_embed_proj_dim": 32,
    "hidden_size_per_layer_input": 8, "laurel_rank": 4, "num_kv_shared_layers": 0, "rotary_dim": 4,
    "initializer_range": 0.2, "init_std": 0.2, "router_hidden_size": 8, "global_head_dim": 8,
    "vocab_size_per_layer_input": 4096, "moe_latent_size": None, "num_nextn_predict_layers": 0,
    "is_decoder": True, "is_encoder_decoder": False, "use_cache": True,
}  # fmt: skip
_TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_OWN: dict[str, dict[str, Any]] = {
    "mamba2": {"num_heads": 8},
    "zaya": {"num_experts_per_tok": 1},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "dots3_note_text": {"num_key_value_heads": 4},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "xmod": {"default_language": "en_XX"},
    "reformer": {"axial_pos_embds_dim": [16, 16], "axial_pos_shape": [16, 16], "attention_head_size": 8},
    "roc_bert": {"pronunciation_embed_dim": 8, "shape_embed_dim": 8, "shape_vocab_size": 40, "concat_input": False},
    "llama4_text": {"intermediate_size_mlp": 48},
}
"""What a family needs besides."""


@dataclass(frozen=True)
class Row:
    """One architecture: its class, and of each step what came of it."""

    architecture: str
    model: str
    cells: dict[str, str]

    @property
    def wrong(self) -> list[str]:
        """Steps that were neither right nor refused in one sentence."""
        return [step for step, cell in self.cells.items() if cell.startswith("WRONG")]


def tiny_config(kind: str, vocabulary: int) -> PreTrainedConfig:
    """A small configuration of this family; layers of every kind that its default has."""
    return _shrunk(CONFIG_MAPPING[kind], {"vocab_size": vocabulary, **_TOKENS, **_OWN.get(kind, {})})


def _shrunk(kind: type[PreTrainedConfig], own: Mapping[str, Any]) -> PreTrainedConfig:
    names = {field.name for field in fields(kind)} | set(kind.attribute_map)
    settings = {name: value for name, value in _SMALL.items() if name in names}
    settings |= {name: value for name, value in own.items() if name in names or name in ("vocab_size", *_TOKENS)}
    if "kv_lora_rank" in settings and "num_key_value_heads" not in own:
        settings["num_key_value_heads"] = 4  # keys and values come from one low-rank vector for every head
    aliases: dict[str, str] = kind.attribute_map
    settings = {name: value for name, value in settings.items() if aliases.get(name) not in settings}
    for name, part in kind.sub_configs.items():
        if part is not AutoConfig:
            settings[name] = _shrunk(part, own).to_dict()
    default: Any = kind()
    lists = {}
    for name in ("layer_types", "mlp_layer_types", "layers_block_type", "block_types", "attn_layers"):
        fixed = isinstance(getattr(kind, name, None), property)  # follows from other settings
        value = getattr(default, name, None) if name in {*names, *aliases.values()} and not fixed else None
        if isinstance(value, list) and value and name not in aliases:
            lists[name] = list(dict.fromkeys(value))
    depth = max([2, *map(len, lists.values())])
    for name, kinds in lists.items():
        settings.setdefault(name, [*kinds, *[kinds[-1]] * (depth - len(kinds))])
    for name in ("num_hidden_layers", "n_layer", "n_layers"):
        if name in settings and name not in own:
            settings[name] = depth
    return kind(**settings)


def tiny_model(kind: str, tokenizer: PreTrainedTokenizerBase, seed: int = 0) -> PreTrainedModel:
    """A random model in eval mode whose every parameter, norms and biases too, is away from its start."""
    config = tiny_config(kind, len(tokenizer))
    with torch.device("meta"):
        size = sum(parameter.numel() for parameter in AutoModelForCausalLM.from_config(config).parameters())
    if size > MOST_PARAMETERS:
        raise ValueError(f"{size:,} parameters")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        torch.manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


# What plain calls of transformers give, one text at a time and without a cache.


class Differs(Exception):
    """A number that is not the model's own."""


@torch.no_grad()
def own_logits(model: PreTrainedModel, ids: Sequence[int]) -> Tensor:
    """Float64 logits after each token of one text."""
    return model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0].double()


def same(made: object, own: object, size: float, what: str, tokens: int = 1) -> None:
    """Raises Differs where the two are further apart than the tolerance at this size of logits."""
    first, second = (torch.as_tensor(np.asarray(values), dtype=torch.float64) for values in (made, own))
    if first.shape != second.shape:
        raise Differs(f"{what} of shape {[*first.shape]} for {[*second.shape]}")
    apart = float((first - second).abs().max()) / size / tokens
    if not apart <= TOLERANCE:
        raise Differs(f"{what} {apart:.1e} apart")


def step_load(loaded: LoadedModel, folder: Path) -> None:
    """Logits from the parts, whole and of chosen tokens, of the model itself and of that from the folder."""
    ids = loaded.tokenizer(TEXTS[0])["input_ids"]
    again = load(folder)
    for opened, model in ((loaded, loaded.model), (again, AutoModelForCausalLM.from_pretrained(folder).eval())):
        own = own_logits(model, ids)
        with torch.no_grad():
            hidden = opened.anatomy.base(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state[0]
            same(opened.anatomy.logits(hidden), own, float(own.abs().max()), "logits")
            some = torch.tensor([7, 900, 7, 0])
            same(opened.anatomy.logits(hidden, some), own[:, some], float(own.abs().max()), "chosen logits")


def step_nll(loaded: LoadedModel, _: Path) -> None:
    """Of texts of unequal length in one batch."""
    made = sequence_nll(loaded, TEXTS)
    for text, nll in zip(TEXTS, made.nll, strict=True):
        ids = loaded.tokenizer(text)["input_ids"]
        own = own_logits(loaded.model, ids)
        expected = -own.log_softmax(-1)[:-1].gather(1, torch.tensor(ids)[1:, None]).sum()
        same(nll, expected, float(own.abs().max()), "NLL", len(ids) - 1)


def step_next_token(loaded: LoadedModel, _: Path) -> None:
    """Logits over the whole vocabulary after each text."""
    own = torch.stack([own_logits(loaded.model, loaded.tokenizer(text)["input_ids"])[-1] for text in TEXTS])
    same(next_token_logits(loaded, TEXTS), own, float(own.abs().max()), "logits")


def step_with_cache(loaded: LoadedModel, _: Path) -> None:
    """Branches of stems and scored tokens, which go without a cache where it does not hold; drawn tokens need one."""
    columns = [3, 500, 1000]
    branches = branch_logits(loaded, STEMS, ENDINGS, [columns] * len(ENDINGS))
    for ending, made in zip(ENDINGS, branches, strict=True):
        ids = [loaded.tokenizer(stem + ending)["input_ids"] for stem in STEMS]
        own = torch.stack([own_logits(loaded.model, row)[-1] for row in ids])
        same(made, own[:, columns], float(own.abs().max()), "branches")
    prefix, scored = loaded.tokenizer(TEXTS[0])["input_ids"], torch.tensor([[7, 300, 900, 40], [5, 6, 5, 6]])
    made = fixed_length_nll(loaded, prefix, scored)
    own = torch.stack([own_logits(loaded.model, [*prefix, *row])[len(prefix) - 1 : -1] for row in scored.tolist()])
    expected = -own.log_softmax(-1).gather(2, scored[..., None])[..., 0]
    same(made, expected, float(own.abs().max()), "scored tokens")
    drawn = sample(loaded, TEXTS, num_samples=2, max_new_tokens=5, seed=0, stop_ids=[])
    for sequence, logprob, index in zip(drawn.sequences, drawn.logprobs, drawn.prompt_index, strict=True):
        ids = loaded.tokenizer(TEXTS[index])["input_ids"]
        own = own_logits(loaded.model, [*ids, *sequence])[len(ids) - 1 : -1].log_softmax(-1)
        expected = own.gather(1, torch.tensor(sequence)[:, None]).sum()
        same(logprob, expected, float(own.abs().max()), "drawn tokens", len(sequence))


class ExpertInputs(TorchFunctionMode):
    """What each expert's write matrix is multiplied by, seen as the eager code of transformers does it."""

    def __init__(self, modules: dict[int, nn.Module]) -> None:
        super().__init__()
        self.modules, self.given = modules, dict[int, Tensor]()
        self.chosen: dict[int, tuple[Tensor, Tensor]] = {}

    def route(self, layer: int, _: nn.Module, args: tuple[Tensor, ...]) -> None:
        """A hook: which experts the tokens of a layer are sent to, and their weights."""
        self.chosen[layer] = args[1], args[2]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        second = args[1] if len(args) > 1 and isinstance(args[1], Tensor) else None
        for layer, module in self.modules.items() if second is not None and second.dim() == 2 else ():
            down = module.down_proj
            if second.untyped_storage().data_ptr() == down.untyped_storage().data_ptr():
                expert, (index_NK, weight_NK) = second.storage_offset() // down[0].numel(), self.chosen[layer]
                ranks, rows = torch.where(expert == index_NK.T)
                size = args[0].shape[1]
                wide = self.given.setdefault(layer, torch.zeros(len(index_NK), len(down) * size))
                wide[rows, expert * size : (expert + 1) * size] = args[0] * weight_NK[rows, ranks, None]
        return func(*args, **(kwargs or {}))


def step_profile(loaded: LoadedModel, _: Path) -> None:
    """Mean |activation| of every neuron in each text, read one text at a time at the same matrices."""
    made = profile(loaded, {"a": TEXTS[:2], "b": TEXTS[2:]}, ProfileConfig(detail_texts=1))
    experts = {
        number: next(part for part in layer.modules() if isinstance(getattr(part, "down_proj", None), nn.Parameter))
        for number, layer in enumerate(loaded.anatomy.layers)
        if loaded.anatomy.ffn_writes[number] is None
    }
    if experts:
        loaded.model.set_experts_implementation("eager")
    for text, means_LM in zip(TEXTS, made.means_NLM, strict=True):
        inputs = ExpertInputs(experts)

        def note(layer: int, _: nn.Module, args: tuple[Tensor, ...], given: dict[int, Tensor] = inputs.given) -> None:
            given[layer] = args[0]

        handles = [
            experts[layer].register_forward_pre_hook(partial(inputs.route, layer))
            if matrix is None
            else matrix.register_forward_pre_hook(partial(note, layer))
            for layer, matrix in enumerate(loaded.anatomy.ffn_writes)
        ]
        with inputs:
            own = own_logits(loaded.model, loaded.tokenizer(text)["input_ids"])
        for handle in handles:
            handle.remove()
        given, skip = inputs.given, made.config.skip
        size = max(float(value.abs().max()) for value in given.values())
        expected = torch.stack([given[layer].reshape(len(own), -1)[skip:].abs().mean(0) for layer in sorted(given)])
        same(means_LM, expected, size, "activations")


def step_merge(loaded: LoadedModel, folder: Path) -> None:
    """The mean of two models on disk, opened again, against the mean of their tensors put into the architecture."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        states = []
        for seed in (1, 2):
            model = tiny_model(folder.name, loaded.tokenizer, seed)
            write(model, loaded.tokenizer, root / f"{seed}")
            states.append(model.state_dict())
        merge_models(folder, [root / "1", root / "2"], root / "merged")
        merged = load(root / "merged")
        plain = AutoModelForCausalLM.from_pretrained(folder).eval()
        pairs = zip(states[0].items(), states[1].values(), strict=True)
        means = {name: (one + other) / 2 if one.is_floating_point() else one for (name, one), other in pairs}
        plain.load_state_dict(means)
        plain.save_pretrained(root / "plain")  # opening may change weights: Youtu's sets the row of padding to 0
        ids = loaded.tokenizer(TEXTS[0])["input_ids"]
        own = own_logits(AutoModelForCausalLM.from_pretrained(root / "plain").eval(), ids)
        same(own_logits(merged.model, ids), own, float(own.abs().max()), "logits of the merged model")


CHECKS: dict[str, Callable[[LoadedModel, Path], None]] = dict(
    zip(STEPS, (step_load, step_nll, step_next_token, step_with_cache, step_profile, step_merge), strict=True)
)


def write(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """As ``save_pretrained`` does."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def outcome(check: Callable[[], object]) -> str:
    """ "right", "refused: SENTENCE", or "WRONG: ..." """
    try:
        check()
    except ArmillaryError as error:
        sentence = str(error)
        return f"refused: {sentence}" if "\n" not in sentence else f"WRONG: {sentence!r} is no sentence"
    except Differs as difference:
        return f"WRONG: {difference}"
    except Exception as error:
        return f"WRONG: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return "right"


def examine(kind: str, steps: Sequence[str] = STEPS) -> Row:
    """One architecture through the steps; after a refused load the others are refused with it."""
    tokenizer = tiny_tokenizer()
    with quiet(), tempfile.TemporaryDirectory() as name:
        model, cells, folder = tiny_model(kind, tokenizer), {}, Path(name) / kind
        write(model, tokenizer, folder)
        opened: list[LoadedModel] = []
        cells["load"] = outcome(lambda: opened.append(load((model, tokenizer))))
        if opened:
            checks = {step: CHECKS[step] for step in steps}
            cells |= {step: outcome(lambda c=check: c(opened[0], folder)) for step, check in checks.items()}
    return Row(kind, type(model).__name__, cells)


# The table.

INTRODUCTION = """# Architectures tried

{count} architectures of transformers' causal language models, each tiny and random (two layers or more, every kind of
layer that its default configuration has), against plain calls of transformers: logits from the parts and from a folder
that was written and opened again, NLL of texts in one batch, next tokens alone and as branches, scores and draws on a
cache, mean activations of every neuron, and the mean of two models merged on disk.

A cell is *right* where every number is within {tolerance:g} of the size of the logits (of the activations, for the
profile), or *refused* in one sentence, given below. It shows that the arithmetic is right, not what a trained
model of that family is good for. Made by `python -m tools.architectures --write`."""


def page(rows: Sequence[Row], left_out: Mapping[str, str]) -> str:
    """The page: how it was made, counts, a row an architecture, and the sentences of what was refused."""
    counts = {step: (sum(row.cells.get(step) == "right" for row in rows), len(rows)) for step in STEPS}
    sentences: dict[str, int] = {}

    def cell(row: Row, step: str) -> str:
        text = row.cells.get(step, row.cells["load"])
        if text == "right" or text.startswith("WRONG"):
            return text
        # The same reason is one sentence, whichever model, layer or folder it is said of.
        for what, word in (
            (rf"{row.model}( \({row.model}\))?", "the model"),
            (r"layer \d+ of", "a layer of"),
            (r"\S*/tmp\S*/(\w+)", r"\1"),
            (rf"^refused: (merged|{row.architecture}) is a model of type \w+", "refused: the folder is of a type"),
            (r"<class '[\w.]+'>", "its configuration"),
            (r"share [\w.]+\)", "share one tensor)"),
            (r"list of \d+ layers", "list of as many layers as its configuration says"),
        ):
            text = re.sub(what, word, text)
        return f"refused [{sentences.setdefault(text.removeprefix('refused: '), len(sentences) + 1)}]"

    lines = [f"| `{row.architecture}` | {row.model} | {' | '.join(cell(row, s) for s in STEPS)} |" for row in rows]
    shares = ", ".join(f"{step} {right} of {total}" for step, (right, total) in counts.items())
    return "\n".join(
        [
            INTRODUCTION.format(count=len(rows), tolerance=TOLERANCE),
            "",
            f"Right: {shares}.",
            "",
            f"| architecture | class | {' | '.join(STEPS)} |",
            "|" + "---|" * (len(STEPS) + 2),
            *lines,
            "",
            "## What was refused",
            "",
            *[f"{number}. {sentence}" for sentence, number in sentences.items()],
            "",
            "## Not tried",
            "",
            *[f"- `{kind}`: {why}" for kind, why in left_out.items()],
            "",
        ]
    )


def swept(kinds: Sequence[str]) -> Iterator[tuple[str, Row | str]]:
    """Each architecture's row, or why no tiny one could be made."""
    for kind in kinds:
        try:
            row: Row | str = examine(kind)
        except Exception as error:  # transformers' own: the settings that make this family small are not known
            row = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        print(kind, row if isinstance(row, str) else {s: c[:160] for s, c in row.cells.items()}, flush=True)
        yield kind, row


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where every cell is right or refused."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="*", default=None, metavar="KIND")
    parser.add_argument("--part", default="1/1", metavar="K/N", help="each N-th architecture from the K-th")
    parser.add_argument("--keep", type=Path, default=None, metavar="FILE", help="JSON of rows to go on from")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    chosen = parser.parse_args(arguments)
    part, parts = map(int, chosen.part.split("/"))
    kinds = chosen.only if chosen.only is not None else [*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES][part - 1 :: parts]
    kept: dict[str, Any] = json.loads(chosen.keep.read_text()) if chosen.keep and chosen.keep.exists() else {}
    warnings.simplefilter("ignore")
    for kind, row in swept([kind for kind in kinds if kind not in kept]):
        kept[kind] = row if isinstance(row, str) else asdict(row)
        if chosen.keep:
            chosen.keep.write_text(json.dumps(kept, indent=1))
    rows = [Row(**row) for _, row in sorted(kept.items()) if isinstance(row, dict)]
    wrong = [f"{row.architecture}, {step}: {row.cells[step]}" for row in rows for step in row.wrong]
    print(*wrong, f"{len(rows)} architectures, {len(wrong)} cells wrong", sep="\n")
    if chosen.write:
        PAGE.write_text(page(rows, {kind: why for kind, why in sorted(kept.items()) if isinstance(why, str)}))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
