"""Parts are found by shape and class, and what stands after the head is measured."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertLMHeadModel,
    LlamaForCausalLM,
    LlamaModel,
    PreTrainedConfig,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)

from armillary.errors import ModelError
from armillary.models import KINDS, find_anatomy, tiny

WRITES = {
    "llama": "model.layers.{}.mlp.down_proj",
    "gemma3": "model.layers.{}.mlp.down_proj",
    "gemma2": "model.layers.{}.mlp.down_proj",
    "qwen3": "model.layers.{}.mlp.down_proj",
    "gpt_neox": "gpt_neox.layers.{}.mlp.dense_4h_to_h",
    "gpt2": "transformer.h.{}.mlp.c_proj",
    "opt": "model.decoder.layers.{}.fc2",
}
SMALL = {"vocab_size": 90, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
SMALL |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
WIDE = {"initializer_range": 0.3, "intermediate_size": 24}


def model_of(kind: str, **settings: object) -> PreTrainedModel:
    torch.manual_seed(0)
    made: PreTrainedModel = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**SMALL, **settings}))
    return made.eval()


def check_logits(model: PreTrainedModel) -> None:
    """Whole and restricted logits equal the model's own."""
    anatomy = find_anatomy(model)
    ids = torch.tensor([[3, 14, 15, 9, 26], [5, 35, 8, 9, 7]])
    with torch.no_grad():
        truth = model(ids).logits
        hidden = anatomy.base(input_ids=ids).last_hidden_state
        torch.testing.assert_close(anatomy.logits(hidden), truth, atol=1e-5, rtol=0)
        some = torch.tensor([7, 0, 61, 7])
        torch.testing.assert_close(anatomy.logits(hidden, some), truth[..., some], atol=1e-5, rtol=0)
        last = anatomy.logits(hidden[:, -1], some)
        torch.testing.assert_close(last, truth[:, -1][:, some], atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_parts_of_every_tiny_kind(kind: str) -> None:
    made = tiny(kind, layers=3)
    anatomy, modules = made.anatomy, dict(made.model.named_modules())
    assert [id(write) for write in anatomy.ffn_writes] == [id(modules[WRITES[kind].format(i)]) for i in range(3)]
    assert (anatomy.num_layers, anatomy.hidden_size, anatomy.intermediate_size) == (3, 32, 48)
    assert anatomy.vocabulary_size == len(made.tokenizer) == anatomy.embedding.num_embeddings
    assert anatomy.head is made.model.get_output_embeddings()
    assert anatomy.base is made.model.base_model
    assert anatomy.tied == (kind in ("gemma3", "gemma2", "gpt2", "opt"))
    check_logits(made.model)


def test_the_write_reads_the_activations_of_the_neurons() -> None:
    made = tiny("llama")
    seen: list[Tensor] = []
    mlp = made.anatomy.layers[0].mlp
    assert isinstance(mlp, nn.Module) and made.anatomy.ffn_writes[0] is not None
    made.anatomy.ffn_writes[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    x = torch.randn(1, 4, 32)
    mlp(x)
    torch.testing.assert_close(seen[0], nn.functional.silu(mlp.gate_proj(x)) * mlp.up_proj(x))  # type: ignore[operator]


def test_the_soft_cap_is_found_and_matters() -> None:
    made = tiny("gemma2")
    assert made.anatomy.softcap == 3.0
    hidden = made.anatomy.base(input_ids=torch.tensor([[4, 5, 6]])).last_hidden_state
    assert (made.anatomy.head(hidden) - made.anatomy.logits(hidden)).abs().max() > 0.1


def test_a_cap_that_the_models_own_logits_would_not_show_is_found() -> None:
    made = tiny("gemma2", settings={"final_logit_softcapping": 30.0, "initializer_range": 0.001})
    assert made.anatomy.softcap == 30.0


@pytest.mark.parametrize(
    ("kind", "settings", "scale"),
    [
        ("cohere", {"logit_scale": 0.25}, 0.25),  # multiplies
        ("granite", {"logits_scaling": 8.0}, 0.125),  # divides
        ("llama", {"logit_scale": 0.25}, 1.0),  # has the name in its configuration and ignores it
    ],
)
def test_factors_are_believed_only_when_they_act(kind: str, settings: dict[str, object], scale: float) -> None:
    model = model_of(kind, **WIDE, **settings)
    assert find_anatomy(model).scale == pytest.approx(scale)
    check_logits(model)


def test_a_factor_before_the_head_is_measured() -> None:
    ranks = {"q_lora_rank": 4, "kv_lora_rank": 4, "qk_nope_head_dim": 4, "qk_rope_head_dim": 4, "v_head_dim": 8}
    model = model_of("minicpm3", dim_model_base=4, **ranks, **WIDE)  # hidden / (16 / 4)
    assert find_anatomy(model).scale == pytest.approx(0.25)
    check_logits(model)


def test_a_head_with_a_bias() -> None:
    model = model_of("phi", **WIDE)
    bias = model.get_output_embeddings().bias  # type: ignore[union-attr]
    nn.init.normal_(bias)  # type: ignore[arg-type]
    check_logits(model)


def test_opt_that_projects_its_embedding() -> None:
    model = model_of("opt", word_embed_proj_dim=8, ffn_dim=24, init_std=0.3, do_layer_norm_before=False)
    anatomy = find_anatomy(model)
    assert (anatomy.hidden_size, anatomy.embedding.embedding_dim, anatomy.intermediate_size) == (16, 8, 24)
    assert None not in anatomy.ffn_writes
    check_logits(model)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("mixtral", {"num_local_experts": 3}),
        ("qwen3_moe", {"num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "head_dim": 8}),
    ],
)
def test_experts_in_one_parameter_leave_no_write(kind: str, settings: dict[str, object]) -> None:
    model = model_of(kind, num_key_value_heads=2, **WIDE, **settings)
    anatomy = find_anatomy(model)
    assert anatomy.ffn_writes == (None, None) and anatomy.intermediate_size == 0
    check_logits(model)


@pytest.mark.parametrize(
    ("kind", "path", "settings"),
    [
        ("mamba", None, {"state_size": 4, "intermediate_size": 32}),
        ("mamba", None, {"state_size": 4, "intermediate_size": 16}),
        ("falcon_mamba", None, {"state_size": 4, "intermediate_size": 24}),
        ("mamba2", None, {"num_heads": 4, "head_dim": 8, "state_size": 4, "n_groups": 1, "chunk_size": 4}),
        ("recurrent_gemma", "model.layers.{}.mlp_block.down_proj", {"lru_width": 16, "intermediate_size": 48}),
        ("recurrent_gemma", "model.layers.{}.mlp_block.down_proj", {"lru_width": 24, "intermediate_size": 48}),
        ("rwkv", "rwkv.blocks.{}.feed_forward.value", {"attention_hidden_size": 16, "intermediate_size": 24}),
        ("rwkv", "rwkv.blocks.{}.feed_forward.value", {"attention_hidden_size": 24, "intermediate_size": 24}),
        ("phi3", "model.layers.{}.mlp.down_proj", {"num_key_value_heads": 2, **WIDE}),
        ("glm", "model.layers.{}.mlp.down_proj", {"num_key_value_heads": 2, "head_dim": 8, **WIDE}),
        ("hunyuan_v1_moe", None, {"num_key_value_heads": 2, "head_dim": 8, "num_experts": 1, **WIDE}),
        ("llama", "model.layers.{}.mlp.down_proj", {"initializer_range": 0.3, "intermediate_size": 16}),
        ("mpt", "transformer.blocks.{}.ffn.down_proj", {"expansion_ratio": 3}),
        ("ctrl", "transformer.h.{}.ffn.2", {"n_embd": 16, "n_layer": 2, "n_head": 2, "dff": 24}),
        ("bert-generation", "bert.encoder.layer.{}.output.dense", {"is_decoder": True, **WIDE}),
    ],
)
def test_the_ffn_is_what_treats_each_token_by_itself(kind: str, path: str | None, settings: dict[str, object]) -> None:
    """Also where a mixer, an attention or a low-rank path has the very same shape."""
    model = model_of(kind, **settings)
    modules = dict(model.named_modules())
    assert find_anatomy(model).ffn_writes == tuple(path and modules[path.format(layer)] for layer in range(2))


def test_layers_are_those_that_a_text_runs_through() -> None:
    """An image tower as deep as the decoder, and larger."""
    tower = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = model_of("git", vision_config={**tower, "image_size": 8, "patch_size": 4}, **WIDE)
    assert find_anatomy(model).layers == tuple(model.get_submodule("git.encoder.layer"))  # type: ignore[arg-type]


def test_attention_is_not_taken_for_the_ffn() -> None:
    # The output projection has the very shape of the write matrix.
    made = tiny("gemma3", heads=4, intermediate=64, settings={"head_dim": 16})
    assert made.anatomy.ffn_writes[0] is made.model.get_submodule("model.layers.0.mlp.down_proj")


def test_half_precision() -> None:
    anatomy = find_anatomy(tiny("gemma2").model.to(torch.bfloat16))
    assert (anatomy.softcap, anatomy.scale) == (3.0, 1.0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_residual_stream_in_float32_is_read_in_the_heads_precision(dtype: torch.dtype) -> None:
    model = model_of("mamba", state_size=4, intermediate_size=32).to(dtype)
    anatomy, ids = find_anatomy(model), torch.arange(3, 15)[None]
    with torch.no_grad():
        own, made = model(ids).logits, anatomy.logits(anatomy.base(ids).last_hidden_state)
        some = anatomy.logits(anatomy.base(ids).last_hidden_state, torch.tensor([7, 0]))
    torch.testing.assert_close(made.float(), own.float(), atol=2e-2, rtol=0)
    torch.testing.assert_close(some.float(), own[..., [7, 0]].float(), atol=2e-2, rtol=0)


def test_looking_changes_nothing() -> None:
    model = tiny("opt", settings={"dropout": 0.5}).model.train()
    model.get_submodule("model.decoder.layers.0").eval()
    modes = [module.training for module in model.modules()]
    state, hooks = torch.random.get_rng_state(), len(model.get_output_embeddings()._forward_hooks)
    find_anatomy(model)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.random.get_rng_state(), state)
    assert len(model.get_output_embeddings()._forward_hooks) == hooks == 0
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


T5 = T5Config(d_model=8, d_ff=8, num_layers=1, num_heads=2, d_kv=4, vocab_size=20)
BART = BartConfig(d_model=8, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2)


@pytest.mark.parametrize(("kind", "config"), [(T5ForConditionalGeneration, T5), (BartForConditionalGeneration, BART)])
def test_encoder_decoders_are_refused_by_name(kind: type[PreTrainedModel], config: PreTrainedConfig) -> None:
    with pytest.raises(ModelError, match=f"{kind.__name__} is an encoder-decoder model"):
        find_anatomy(kind(config))


def test_weights_that_are_not_numbers_are_refused() -> None:
    model = tiny().model
    write = find_anatomy(model).ffn_writes[0]
    assert isinstance(write, nn.Linear)
    with torch.no_grad():
        write.weight[0, 0] = float("nan")
    with pytest.raises(ModelError, match="NaN or infinite"):
        find_anatomy(model)


def test_a_model_that_reads_both_ways_is_refused() -> None:
    with pytest.raises(ModelError, match="BertLMHeadModel reads both ways"):
        find_anatomy(BertLMHeadModel(BertConfig(**SMALL, **WIDE)))


def test_a_model_without_a_head_is_refused() -> None:
    with pytest.raises(ModelError, match="LlamaModel has no unembedding"):
        find_anatomy(LlamaModel(AutoConfig.for_model("llama", **SMALL, **WIDE)))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_damaged_head_is_told_apart(value: float) -> None:
    model = LlamaForCausalLM(AutoConfig.for_model("llama", **SMALL, **WIDE, tie_word_embeddings=False)).eval()
    with torch.no_grad():
        model.lm_head.weight[7] = value
    with pytest.raises(ModelError, match="LlamaForCausalLM gives NaN or infinite values"):
        find_anatomy(model)


def test_logits_that_are_something_else_are_refused() -> None:
    class Cubed(LlamaForCausalLM):
        def forward(self, *args: object, **kwargs: object) -> object:
            out = super().forward(*args, **kwargs)
            out.logits = out.logits**3
            return out

    with pytest.raises(ModelError, match="logits of Cubed are not its last hidden state times"):
        find_anatomy(Cubed(AutoConfig.for_model("llama", **SMALL, **WIDE)))


class Between(nn.Module):
    """A head with a layer in front of its matrix, as in BERT and ModernBERT's decoder."""

    def __init__(self, matrix: nn.Linear, norm: bool) -> None:
        super().__init__()
        self.dense, self.matrix = nn.Linear(16, 16), matrix
        self.norm = nn.LayerNorm(16) if norm else nn.Identity()

    def forward(self, hidden: Tensor) -> Tensor:
        return self.matrix(self.norm(nn.functional.gelu(self.dense(hidden))))  # type: ignore[no-any-return]


class Transposed(nn.Module):
    """A head whose weight is stored the other way round."""

    def __init__(self, matrix: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(matrix.weight.detach().T.clone())

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden @ self.weight


class Added(nn.Linear):
    """A head with a low-rank part beside its weight, as an adapter on it makes."""

    def forward(self, hidden: Tensor) -> Tensor:
        return super().forward(hidden) + hidden.flip(-1) @ self.weight.roll(1, 0).T


def shaped_head(shape: str, seed: int, spread: float) -> PreTrainedModel:
    """A Llama in which something else than the unembedding matrix makes the logits."""

    class Shaped(LlamaForCausalLM):
        def get_output_embeddings(self) -> nn.Module:
            head = self.lm_head
            return head.matrix if isinstance(head, Between) else head[0] if isinstance(head, nn.Sequential) else head

        def forward(self, *args: object, **kwargs: object) -> object:
            out = super().forward(*args, **kwargs)
            with torch.no_grad():
                out.logits = AFTER.get(shape, lambda logits: logits)(out.logits)
            return out

    torch.manual_seed(seed)
    settings = {**SMALL, **WIDE, "initializer_range": spread, "attn_implementation": "eager"}
    model = Shaped(AutoConfig.for_model("llama", **settings)).eval()
    matrix = model.lm_head
    if shape in ("dense", "dense and norm"):
        model.lm_head = Between(matrix, shape == "dense and norm")  # type: ignore[assignment]
    elif shape == "transposed":
        model.lm_head = Transposed(matrix)  # type: ignore[assignment]
    elif shape == "added":
        model.lm_head = Added(16, 90, bias=False)
    elif shape == "two matrices":
        model.lm_head = nn.Sequential(nn.Linear(16, 16), matrix)  # type: ignore[assignment]
    elif shape == "several heads":
        model.lm_head = nn.Sequential(matrix, nn.Linear(90, 90))  # type: ignore[assignment]
    elif shape == "bias":
        model.lm_head = nn.Linear(16, 90)
        nn.init.normal_(model.lm_head.bias)
    return model


def masked(value: float) -> Callable[[Tensor], Tensor]:
    return lambda logits: torch.cat([logits[..., :80], torch.full_like(logits[..., 80:], value)], dim=-1)


AFTER: dict[str, Callable[[Tensor], Tensor]] = {
    "divided": lambda logits: logits / 16**0.5,
    "negative": lambda logits: -logits,
    "shifted": lambda logits: logits + 0.3,
    "shift a column": lambda logits: logits + torch.linspace(-1, 1, 90),
    "normed": lambda logits: logits / logits.norm(dim=-1, keepdim=True),
    "nameless cap": lambda logits: torch.tanh(logits),
    "sliced": lambda logits: logits[..., :80],
    "masked -inf": masked(-torch.inf),
    "masked lowest": masked(torch.finfo(torch.float32).min),
    "masked -10000": masked(-1e4),
    "turned by position": lambda logits: logits * torch.linspace(1, 1.2, logits.shape[1])[:, None],
    "other when long": lambda logits: logits * (1 if logits.shape[1] < 6 else 1.1),
    "other in the second row": lambda logits: logits * torch.linspace(1, 1.1, len(logits))[:, None, None],
    "log-probabilities": lambda logits: logits.log_softmax(-1),
    "nan": lambda logits: logits * torch.nan,
}
READ = ("plain", "bias", "divided")
"""Of these shapes the logits are known; of all others they are refused."""
REFUSED = (*AFTER, "dense", "dense and norm", "transposed", "added", "two matrices", "several heads")


@pytest.mark.parametrize("spread", [0.3, 0.01])
@pytest.mark.parametrize("shape", sorted({*READ, *REFUSED}))
def test_whatever_makes_the_logits_they_are_right_or_refused(shape: str, spread: float) -> None:
    for seed in range(3):
        model = shaped_head(shape, seed, spread)
        if shape not in READ:
            sentence = (
                "gives NaN or infinite" if shape == "nan" else "logits of Shaped are not its last hidden state times"
            )
            with pytest.raises(ModelError, match=sentence):
                find_anatomy(model)
            continue
        anatomy, ids = find_anatomy(model), torch.arange(3, 23).reshape(2, 10)
        with torch.no_grad():
            made, own = anatomy.logits(anatomy.base(ids).last_hidden_state), model(ids).logits
        assert float((made - own).abs().max()) < 1e-5 * float(own.abs().max())


@pytest.mark.parametrize("seed", range(6))
def test_a_decoder_with_a_layer_before_its_head_is_refused(seed: int) -> None:
    settings = {**SMALL, "initializer_range": 0.2, "intermediate_size": 24, "cls_token_id": 0, "sep_token_id": 0}
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("modernbert-decoder", **settings)).eval()
    with pytest.raises(ModelError, match="logits of ModernBertDecoderForCausalLM are not"):
        find_anatomy(model)


def test_a_model_that_fails_is_one_sentence() -> None:
    class Broken(LlamaForCausalLM):
        def forward(self, *args: object, **kwargs: object) -> object:
            raise RuntimeError("first line\nsecond line")

    with pytest.raises(ModelError, match=r"Broken could not run a few tokens \(first line\)\.$"):
        find_anatomy(Broken(AutoConfig.for_model("llama", **SMALL, **WIDE)))
