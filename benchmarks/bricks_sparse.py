"""Decoding one token at a time without small inputs against the dense model, with what it costs in quality.

    python benchmarks/bricks_sparse.py [--model smollm2-135m-instruct] [--rounds 5] [--quick]

The peer is transformers' own decoding of the same weights in the same number format and with as many threads. All arms
decode the same tokens after the same prompt in one process and take turns; the time of a round is the median of its
steps. Arms: the model as it is; the kernel with nothing left out, which tells what the kernel itself gains; 25 % and
40 % of every block's weights left out, by thresholds from calibration texts; and 25 % by torch alone, which is what
runs without the extra ``sparse``. Beside each time stand the rise of the loss on held-out texts, with its interval,
and the limit that bytes of weights set to the speed-up.

Floor: a token reads the weights of the inputs that count and the whole head; no more can be gained than bytes, dense
over read. Beyond the bytes a step has work that no threshold saves: attention, norms, and Python's way through some
three hundred modules. Profile of SmolLM2-135M, one thread, in ms of processor time on a machine that was busy besides:

    float32     dense: matrices of the blocks 43.5, head 10.2   25 % left out: 31.3, 10.8   40 %: 24.4, 10.3
    bfloat16    dense: 49.5, 7.4                                25 %: 27.4, 7.4             40 %: 22.6, 7.1
    the rest of a step (attention, norms, Python): 17 to 27 in each

So what a share saves of the matrices comes with the bytes and more, since the kernel reads faster than torch's product
of one row does; what keeps the whole step from it is the rest, a third of the step.
"""

import argparse
import sys
from contextlib import nullcontext
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from measure import Hardware, add_hardware, hardware_of, ratio, refuse, show_and_save

from armillary.data.texts.corpora import corpus_texts
from armillary.methods.bricks.experts.cost import Arm, DecodeTimes, decode_times
from armillary.methods.bricks.losses import effect, text_losses
from armillary.methods.bricks.payloads import Thresholds
from armillary.methods.bricks.sparsity.calibration import SparsityCalibration, calibrate
from armillary.methods.bricks.sparsity.reading import token_bytes
from armillary.methods.bricks.sparsity.sparse_model import sparsified
from armillary.models import LoadedModel
from armillary.models.batches import encode
from armillary.numerics.intervals import Interval
from armillary.records.plain import plain

CORPUS = "world-factbook"
SHARES = (0.25, 0.4)
DTYPES = ("float32", "bfloat16")
THREADS = (1, 2)
PROMPT, STEPS, WARM_UP = 64, 40, 5
DENSE, WHOLE, ALONE = "dense", "the kernel with nothing left out", "25 % left out, by torch alone"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=None, help="smollm2-135m-instruct; tiny-llama with --quick")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a tiny model, few texts and rounds: shows that it runs")
    add_hardware(parser)
    options = parser.parse_args()
    hardware = hardware_of(options)
    if hardware.device != "cpu":
        refuse("This measures a kernel that reads weights on the processor; leave --device out, or give cpu.")
    if find_spec("numba") is None:
        sys.exit("This measures numba's kernel: pip install 'armillary[sparse]'.")
    name = options.model or ("tiny-llama" if options.quick else "smollm2-135m-instruct")
    count = 4 if options.quick else 24
    calibration_texts = corpus_texts(CORPUS, limit=count)
    held_out = corpus_texts(CORPUS, limit=count, split="test")
    loaded = Hardware().load(name)
    calibration = calibrate(loaded, calibration_texts)
    levels = calibration.greedy(*SHARES)
    thresholds = dict(zip(SHARES, (level.thresholds for level in levels), strict=True))
    rises, limits = quality(calibration, thresholds, held_out)
    rows = []
    for dtype in [options.dtype] if options.dtype else DTYPES:
        loaded = Hardware(dtype=dtype).load(name)
        ids = tokens(loaded, held_out, PROMPT + STEPS + WARM_UP)
        for threads in THREADS:
            torch.set_num_threads(threads)
            rounds = 2 if options.quick else options.rounds
            timed = decode_times(loaded, ids, arms(loaded, thresholds), steps=STEPS, warm_up=WARM_UP, rounds=rounds)
            rows += rows_of(f"{dtype}, {threads} thread{'s' * (threads > 1)}", timed, rises, limits)
    settings = {
        "shares": list(SHARES),
        "prompt": PROMPT,
        "steps a round": STEPS,
        "calibration texts": len(calibration_texts),
        "held-out texts": len(held_out),
        "left out of each input, by layer": {str(level.share): level.left_out for level in levels},
    }
    title, chosen = "Decoding without small inputs", hardware if options.dtype else None
    show_and_save("bricks_sparse", title, Path(name).name, settings, rows, hardware=chosen, quick=options.quick)


def quality(
    calibration: SparsityCalibration, thresholds: dict[float, Thresholds], held_out: list[str]
) -> tuple[dict[float, Interval], dict[float, Interval]]:
    """Rise of the loss on held-out texts and byte limit, by share."""
    loaded, rises, limits = calibration.loaded, {}, {}
    before = text_losses(loaded, {CORPUS: held_out})
    for share, payload in thresholds.items():
        with sparsified(loaded, payload):
            rises[share] = effect(before, text_losses(loaded, {CORPUS: held_out})).delta_nll
            limits[share] = token_bytes(loaded, calibration.inputs, payload, held_out).limit()
    return rises, limits


def arms(loaded: LoadedModel, thresholds: dict[float, Thresholds]) -> dict[str, Arm]:
    """What is timed, by name."""
    first = thresholds[SHARES[0]]
    return {
        DENSE: nullcontext,
        WHOLE: partial(sparsified, loaded, Thresholds(dict.fromkeys(first.least, 0.0)), engine="numba"),
        **{left_out(share): partial(sparsified, loaded, thresholds[share], engine="numba") for share in SHARES},
        ALONE: partial(sparsified, loaded, first, engine="torch"),
    }


def left_out(share: float) -> str:
    """Name of an arm."""
    return f"{share:.0%} left out"


def rows_of(
    where: str, timed: DecodeTimes, rises: dict[float, Interval], limits: dict[float, Interval]
) -> list[dict[str, object]]:
    """Each arm against the dense model, and each share against the same kernel with nothing left out."""

    def row(peer: str, own: str, share: float | None) -> dict[str, object]:
        words = f"one token, s, {where}: {peer} over {own}"
        times = {"peer": timed.seconds_R[peer], "ours": timed.seconds_R[own]}
        gain = ratio(times["peer"].tolist(), times["ours"].tolist())
        result: dict[str, object] = {name: float(np.median(seconds_R)) for name, seconds_R in times.items()}
        if share is not None:
            rise, limit = rises[share], limits[share].estimate
            words += (
                f" (NLL {rise.estimate:+.3f} [{rise.lower:.3f}, {rise.upper:.3f}] nats a token, byte limit "
                f"{limit:.2f}x, reached {gain['median'] / limit:.0%} of it)"
            )
            result |= {"nll_change": plain(rise), "byte_limit": plain(limits[share])}
        return {"what": words, **result, "ratio": gain}

    return [
        row(DENSE, WHOLE, None),
        *(row(DENSE, left_out(share), share) for share in SHARES),
        *(row(WHOLE, left_out(share), share) for share in SHARES),
        row(DENSE, ALONE, SHARES[0]),
    ]


def tokens(loaded: LoadedModel, some: list[str], count: int) -> list[int]:
    """The first tokens of texts, one after the other."""
    first = [token for ids in encode(loaded, some, max_tokens=128) for token in ids][:count]
    if len(first) < count:
        sys.exit(f"The texts have {len(first)} tokens; {count} are needed.")
    return first


if __name__ == "__main__":
    main()
