"""Tiny random models of real architectures, made in milliseconds without any download: for tests and ``--dry-run``.

The tokenizer is a real byte-level BPE, trained on the spot on a few hundred words, so that names of cities, countries,
colours and digits are single tokens as they are in a full-size vocabulary; any other text falls apart into bytes.
"""

from functools import cache

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from armillary.errors import UsageError
from armillary.models.anatomy import find_anatomy
from armillary.models.loaded import LoadedModel

_TYPES = {"llama": "llama", "gemma3": "gemma3_text", "gemma2": "gemma2", "qwen3": "qwen3"}
_TYPES |= {"gpt_neox": "gpt_neox", "gpt2": "gpt2", "opt": "opt"}
KINDS: tuple[str, ...] = tuple(_TYPES)
TINY_NAMES = tuple(f"tiny-{kind}" for kind in KINDS)
"""As a user may name them."""

_POSITIONS = 512
_SPREAD = 0.2  # of the weights: wide enough that logits differ, a soft cap bends them and a wrong position shows
_CAP = 3.0  # Gemma 2 ships 30, which would not touch logits as small as a tiny model's


def tiny(
    kind: str = "llama",
    *,
    seed: int = 0,
    vocabulary: int | None = None,
    hidden: int = 32,
    layers: int = 2,
    heads: int = 4,
    intermediate: int = 48,
    settings: dict[str, object] | None = None,
) -> LoadedModel:
    """A random model of the given kind with its tokenizer, the same for the same seed.

    The global random generator is left as it was.
    ``vocabulary`` gives the matrices more rows than the tokenizer has tokens; ``settings`` go into the configuration.
    Raises UsageError for an unknown kind or a vocabulary smaller than the tokenizer's.
    """
    if kind not in KINDS:
        raise UsageError(f"no tiny model of kind {kind!r}; the kinds are {', '.join(KINDS)}.")
    tokenizer = tiny_tokenizer(adds_bos=kind.startswith("gemma"))
    size = len(tokenizer) if vocabulary is None else vocabulary
    if size < len(tokenizer):
        raise UsageError(f"vocabulary {size} is smaller than the tokenizer's {len(tokenizer)} tokens.")
    shape = {"hidden": hidden, "layers": layers, "heads": heads, "intermediate": intermediate, "vocabulary": size}
    model = _random_model(_config(kind, shape, settings or {}), seed)
    source = f"random weights, seed {seed}, {layers} layers of width {hidden}"
    return LoadedModel(model, tokenizer, find_anatomy(model), f"tiny-{kind}", source)


def _config(kind: str, shape: dict[str, int], settings: dict[str, object]) -> PreTrainedConfig:
    common: dict[str, object] = {
        "vocab_size": shape["vocabulary"],
        "hidden_size": shape["hidden"],
        "num_hidden_layers": shape["layers"],
        "num_attention_heads": shape["heads"],
        "max_position_embeddings": _POSITIONS,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    spread: dict[str, object] = {"initializer_range": _SPREAD, "intermediate_size": shape["intermediate"]}
    grouped: dict[str, object] = {
        "num_key_value_heads": max(1, shape["heads"] // 2),
        "head_dim": shape["hidden"] // shape["heads"],
    }
    gemma: dict[str, object] = {"sliding_window": 64, "query_pre_attn_scalar": shape["hidden"] // shape["heads"]}
    own: dict[str, dict[str, object]] = {
        "llama": {**spread, **grouped},
        "qwen3": {**spread, **grouped},
        "gemma3": {**spread, **grouped, **gemma},
        "gemma2": {**spread, **grouped, **gemma, "final_logit_softcapping": _CAP, "attn_logit_softcapping": _CAP},
        "gpt_neox": spread,
        "gpt2": {
            "initializer_range": _SPREAD,
            "n_inner": shape["intermediate"],
            "resid_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
        },
        "opt": {
            "init_std": _SPREAD,
            "ffn_dim": shape["intermediate"],
            "word_embed_proj_dim": shape["hidden"],
            "dropout": 0.0,
        },
    }
    return AutoConfig.for_model(_TYPES[kind], **{**common, **own[kind], **settings})


def _random_model(config: PreTrainedConfig, seed: int) -> PreTrainedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() == 1:  # norms and biases start constant: a model that ignored them would look right
                    parameter.add_(torch.randn_like(parameter) * 0.1)
    model.eval()
    return model


def tiny_tokenizer(*, adds_bos: bool = False) -> PreTrainedTokenizerBase:
    """The tiny models' tokenizer: pad 0, bos 1, eos 2, then bytes, then words; ``<bos>`` put first if asked."""
    tokenizer = Tokenizer.from_str(_trained())
    if adds_bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", 1)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        model_max_length=_POSITIONS,
        clean_up_tokenization_spaces=False,
    )


@cache
def _trained() -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=8192,  # never reached: merging ends when every word is one token
        min_frequency=2,
        special_tokens=["<pad>", "<bos>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([f" {word}" for word in ALL for _ in range(4)], trainer)
    return tokenizer.to_str()


# The few hundred words that the tiny models' tokenizer knows as single tokens, each with its leading space.

CITIES = """Paris London Berlin Madrid Rome Vienna Athens Lisbon Dublin Oslo Stockholm Helsinki Copenhagen
Warsaw Prague Budapest Moscow Kiev Tokyo Osaka Kyoto Beijing Shanghai Seoul Delhi Mumbai Bangkok
Hanoi Manila Jakarta Singapore Tehran Baghdad Istanbul Ankara Cairo Lagos Nairobi Casablanca Tunis
Algiers Chicago Boston Houston Dallas Seattle Toronto Montreal Vancouver Havana Lima Bogota Santiago
Caracas Quito Sydney Melbourne Auckland Munich Hamburg Milan Naples Barcelona Brussels Amsterdam
Zurich Geneva Lyon Karachi Lahore Dhaka Kabul Damascus Beirut Jerusalem Dubai Riyadh"""

COUNTRIES = """France England Germany Spain Italy Austria Greece Portugal Ireland Norway Sweden Finland Denmark
Poland Hungary Russia Ukraine Japan China Korea India Thailand Vietnam Philippines Indonesia
Malaysia Iran Iraq Turkey Egypt Nigeria Kenya Morocco Tunisia Algeria Canada Mexico Cuba Peru
Colombia Chile Venezuela Ecuador Brazil Argentina Bolivia Australia Netherlands Belgium Switzerland
Pakistan Bangladesh Afghanistan Syria Lebanon Israel Jordan Qatar Ghana Ethiopia Tanzania Uganda
Romania Bulgaria Croatia Serbia Iceland Nepal Mongolia America"""

CONTINENTS = "Africa Asia Europe America Oceania Antarctica North South"

LANGUAGES = """English French German Spanish Italian Portuguese Russian Greek Dutch Swedish Norwegian Danish
Finnish Polish Hungarian Ukrainian Japanese Chinese Korean Hindi Thai Vietnamese Indonesian Malay
Persian Turkish Arabic Hebrew Urdu Bengali Swahili Romanian Bulgarian Croatian Serbian Icelandic"""

CURRENCIES = """euro pound dollar yen yuan won rupee ruble franc krone krona peso real lira dinar dirham rial riyal
baht dong ringgit rupiah shekel shilling naira zloty forint leu lev hryvnia rand"""

COLOURS = "red blue green yellow black white orange purple pink brown gray grey gold silver violet crimson beige cyan"

THINGS = """apple banana cherry lemon grape plum pear peach orange strawberry coal snow grass sky blood gold sun
moon sea fire ice tree rose dog cat horse lion tiger bear wolf mouse elephant bird fish frog snake
bee cow sheep duck sweet sour bitter salty hot cold big small long short old new good bad fast slow
heavy light rich poor happy sad"""

PLAIN = """the a an of in is are was were be to and or not that this it he she they we you I his her their my
your lives live city country continent capital language currency colour color speaks speak uses use
works work born comes from at on by with for as but if then than who which what where when how there
here one two three four five six seven eight nine ten first last year day time man woman people
child friend house home school book word name number world water food money music game river
mountain road king queen doctor teacher made makes make said says say went goes go came come sees
see saw gave give took take likes like wants want knows know thinks think has have had will would
can could may between after before under over near very more most some any all many few other same
next called pays plus minus equals company product job tastes taste feels sounds looks person place
thing animal fruit gem"""

DIGITS = "0 1 2 3 4 5 6 7 8 9"

ALL: tuple[str, ...] = tuple(
    dict.fromkeys(
        " ".join((CITIES, COUNTRIES, CONTINENTS, LANGUAGES, CURRENCIES, COLOURS, THINGS, PLAIN, DIGITS)).split()
    )
)
