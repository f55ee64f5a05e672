"""Steps of CoMMIT, which probes the balance once in ten, against steps of the stock Trainer.

    python benchmarks/commit.py [--model smollm2-135m-instruct] [--quick]

All arms train copies of one image-text model (DINOv2-small, a connector and the language model, put together anew; a
tiny random one with --quick) by the same batches of pictures, each in one training that waits while the others have
their turns. Trained are the connector, as the feature encoder, and the last layers of the language model. A turn is
ten steps, with one probe in them; of the regulariser, which is far from a plain step, five, so that every other turn
has a probe. The first turn is not counted: there each use of what frozen parts gave is checked by running them, and
rounding is read. Ratios are stock over ours, and below 1 since there is more to do; our goal for the schedule alone is
0.91 or more, which is 1.10 times the time.

The floor, in operations as PyTorch counts them: a plain step takes 67.1 billion. A reading of the model without
gradient, with the head at the answer tokens alone, takes 25.2, and the vision tower 2.0; the six trained layers and
the head 6.1 of these. A probe of four whole readings was 102.8. Now what frozen layers and the tower gave in the
training pass is taken for the reading before the step (6.1) and for that with the language model's step alone (6.1);
only the connector's step alone must go through all layers (25.2), since they stand above it. With a layer or two run
as a check a probe takes 39.2, that is 0.058 of ten steps; rounding, which stands a billion times below these changes,
is read at every tenth probe and adds 0.004. In processor time a probe was 1.77 s beside a step's 1.05. Below that lead
only fewer rows in a probe, which is another measurement.
"""

import argparse
import copy
import threading
import warnings
from pathlib import Path
from typing import Any

from mdgd import LAYERS, ROWS, Built, arguments, build, row
from measure import Hardware, add_hardware, hardware_of, interleaved, per, show_and_save, timed
from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import PrinterCallback

from armillary.methods.commit import CoMMITConfig, CoMMITTrainer

INTERVAL = 10
STOCK = "the stock Trainer"
ARMS = {
    "the schedule": CoMMITConfig(interval=INTERVAL, first_probe=0),
    "schedule and regulariser": CoMMITConfig(interval=INTERVAL, first_probe=0, aux_weight=0.01),
}
TURNS = {STOCK: INTERVAL, "the schedule": INTERVAL, "schedule and regulariser": INTERVAL // 2}


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
    repeats = 1 if options.quick else options.repeats
    configs = {STOCK: None} | ARMS
    arms = {name: Turns((model, rows), configs[name], hardware, TURNS[name], repeats + 1) for name in configs}
    for arm in arms.values():
        arm(0)  # warm-up
    found = interleaved(arms, repeats)
    made = [row(f"a step of {name} against a plain one: time, s", found, STOCK, name, "seconds") for name in ARMS]
    settings = {"trained layers": LAYERS, "rows of a batch": ROWS, "steps timed together": list(TURNS.values())}
    name = "tiny-llava" if options.quick else Path(options.model).name
    show_and_save("commit", "Balanced learning rates", name, settings, made, hardware=hardware, quick=options.quick)


class Turns(TrainerCallback):
    """One training that goes on for some steps at each call; the stock Trainer's where there are no settings.

    It runs in a thread of its own, which waits between calls, so that only one arm is ever at work.
    """

    def __init__(self, built: Built, config: CoMMITConfig | None, hardware: Hardware, steps: int, turns: int) -> None:
        model, rows = built
        self.steps = steps
        given: dict[str, Any] = {
            "model": copy.deepcopy(model),
            "args": arguments(steps * turns, hardware),
            "train_dataset": rows,
            "callbacks": [self],
        }
        self.trainer = Trainer(**given) if config is None else CoMMITTrainer(**given, commit=config)
        self.trainer.remove_callback(PrinterCallback)
        self.error: Exception | None = None
        self._go, self._done = threading.Semaphore(0), threading.Semaphore(0)
        threading.Thread(target=self._train, daemon=True).start()
        self._done.acquire()  # until it stands before its first step
        if self.error is not None:
            raise self.error

    def __call__(self, _repeat: int) -> dict[str, float]:
        with timed(self.trainer.args.device) as spent:
            self._go.release()
            self._done.acquire()
        if self.error is not None:
            raise self.error
        return per(spent, self.steps)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step % self.steps == 0:
            self._done.release()
            self._go.acquire()

    def _train(self) -> None:
        try:
            self.trainer.train()
        except Exception as error:  # for the thread that waits for it
            self.error = error
        self._done.release()


if __name__ == "__main__":
    main()
