"""Ten steps of CoMMIT, which probes the balance once in them, against ten of the stock Trainer.

    python benchmarks/commit.py [--model smollm2-135m-instruct] [--quick]

All arms train copies of one image-text model (DINOv2-small, a connector and the language model, put together anew; a
tiny random one with --quick) by the same batches of pictures and take turns in one process. Trained are the connector,
as the feature encoder, and the last layers of the language model. Ratios are stock over ours, and below 1 since there
is more to do; our goal for the schedule alone is 0.91 or more, which is 1.10 times the time.

The floor: a probe reads the model four times without gradient (as it is, with its embeddings nudged for the rounding,
and with each component's step alone). Counted by PyTorch a forward takes 32.1 billion operations, of which the vision
tower 2.0, and a plain step 67.1. Four forwards in ten steps are up to 1.19 steps' work; the head reads answer tokens
alone, and the frozen vision tower runs once a probe. Below that only fewer readings lead: that of the rounding less
often, or the frozen layers below the first trained one, where their input is the same, once.
"""

import argparse
import copy
import gc
import warnings
from functools import partial
from pathlib import Path
from typing import Any

from mdgd import LAYERS, ROWS, Built, a_step, arguments, build, row
from measure import Hardware, add_hardware, hardware_of, interleaved, show_and_save
from transformers import Trainer
from transformers.trainer_callback import PrinterCallback

from armillary.methods.commit import CoMMITConfig, CoMMITTrainer

INTERVAL = 10
STOCK = "the stock Trainer"
ARMS = {
    "the schedule": CoMMITConfig(interval=INTERVAL, first_probe=0),
    "schedule and regulariser": CoMMITConfig(interval=INTERVAL, first_probe=0, aux_weight=0.01),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a tiny model, one repeat: shows that it runs")
    add_hardware(parser)
    options = parser.parse_args()
    hardware = hardware_of(options)
    warnings.simplefilter("ignore")
    model, rows = build(options.model, options.quick)
    rows = [{name: value for name, value in one.items() if name != "image_key"} for one in rows]
    configs = {STOCK: None} | ARMS
    arms = {name: partial(a_step, trainer((model, rows), config, hardware)) for name, config in configs.items()}
    for arm in arms.values():
        arm(0)  # warm-up
    gc.freeze()  # a Trainer collects garbage before every training, which the few steps timed here would pay for
    found = interleaved(arms, 1 if options.quick else options.repeats)
    made = [row(f"a step of {name} against a plain one: time, s", found, STOCK, name, "seconds") for name in ARMS]
    settings = {"trained layers": LAYERS, "rows of a batch": ROWS, "steps timed together": INTERVAL}
    name = "tiny-llava" if options.quick else Path(options.model).name
    show_and_save("commit", "Balanced learning rates", name, settings, made, hardware=hardware, quick=options.quick)


def trainer(built: Built, config: CoMMITConfig | None, hardware: Hardware) -> Trainer:
    """The stock Trainer where there are no settings; as many steps as from one probe to the next."""
    model, rows = built
    given: dict[str, Any] = {
        "model": copy.deepcopy(model),
        "args": arguments(INTERVAL, hardware),
        "train_dataset": rows,
    }
    made = Trainer(**given) if config is None else CoMMITTrainer(**given, commit=config)
    made.remove_callback(PrinterCallback)
    return made


if __name__ == "__main__":
    main()
