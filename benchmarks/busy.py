"""Threads as a command chooses them against PyTorch's own choice: on idle cores, and beside two busy processes.

    python benchmarks/busy.py [--model smollm2-135m-instruct] [--quick]

Run it on a machine that does nothing else: some six minutes on two cores. Each repeat is a fresh process, since
threads are chosen as torch is imported: "peer" leaves the environment as a user's is, "ours" calls what every command
of ``armillary`` calls first (``runs.threads.choose_threads``). Both read the same rows and write the same tokens.
The two busy processes count in a loop from before the choice is made; while torch and the model are read they are
stopped, and go on before anything is timed. Goals: at most 3 % slower where the cores are idle (0.97x), at least 2x
as fast beside others. It has no ``--device``: threads are the processor's.

Linux shares the cores among sessions first (autogroups; containers alike) and among the threads of each then, so the
busy processes are put in sessions of their own, as other terminals, users and containers are, and once more in ours.
In the first place more threads bring no larger share and wait for one another; in the second each thread brings a
share of its own, and a third arm, as many threads as cores that sleep while they wait, shows what is given away there.
No choice is best in both, and what else runs on a machine is seldom in one's own session.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from measure import Hardware, interleaved, medians, per, ratio, show_and_save, timed

from armillary.runs.threads import SPARE, VARIABLES

BUSY = 2
"""Processes that keep a core each busy."""

ROWS, TOKENS, PASSES, WRITTEN = 2, 96, 4, 24
"""Rows of a forward pass and their tokens, passes that are timed, tokens that are written one by one: about two
seconds of one core each, of which one that spins away its turns takes several times as many."""

PLACES = {
    "idle": (0, False),
    f"beside {BUSY} busy processes of other sessions": (BUSY, True),
    f"beside {BUSY} busy processes of the same session": (BUSY, False),
}
"""How many others are busy, and whether they are apart."""

ASLEEP = {"OMP_NUM_THREADS": str(os.cpu_count() or 1), "OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
"""The environment of the third arm."""

ARMS = ("peer", "ours", "all cores, asleep while they wait")

WORK = {"forward": f"a forward pass of {ROWS} rows of {TOKENS} tokens, s", "writing": "a token of one answer, s"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--quick", action="store_true", help="a tiny model, one pair: shows that it runs")
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.arm:
        measure_arm(options.arm, options.model)
        return
    others = psutil.cpu_percent(interval=1.0) / 100 * (os.cpu_count() or 1)
    if others > SPARE and not options.quick:
        sys.exit(f"Other processes keep {others:.1f} cores busy; run it where nothing else does.")
    model, repeats = ("tiny-llama", 1) if options.quick else (options.model, 5)
    rows: list[dict[str, object]] = []
    settings: dict[str, object] = {"cores": os.cpu_count(), "busy before it began": round(others, 2)}
    for place, (beside, apart) in PLACES.items():
        arms = {
            arm: lambda _, arm=arm, beside=beside, apart=apart: in_fresh_process(arm, model, beside, apart)
            for arm in (ARMS if beside else ARMS[:2])
        }
        timed = interleaved(arms, repeats)
        for arm, runs in timed.items():
            settings[f"{place}: threads of {arm}"] = sorted({int(run["threads"]) for run in runs})
        for against in [arm for arm in timed if arm != "ours"]:
            goal = ("2x" if beside else "0.97x") if against == "peer" else None
            for key, what in WORK.items():
                peer, ours = timed[against], timed["ours"]
                rows.append(
                    {
                        "what": f"{place}: {what} ({f'goal {goal}' if goal else f'peer: {against}'})",
                        "peer": medians(peer, key),
                        "ours": medians(ours, key),
                        "ratio": ratio([run[key] for run in peer], [run[key] for run in ours]),
                    }
                )
    title = "Threads as chosen against PyTorch's own"
    show_and_save("busy", title, Path(model).name, settings, rows, quick=options.quick)


def in_fresh_process(arm: str, model: str, beside: int, apart: bool) -> dict[str, float]:
    """Seconds of each work, by a process that began beside so many busy ones."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    environment |= ASLEEP if arm == ARMS[-1] else {}
    command = [sys.executable, __file__, "--arm", arm, "--model", model]
    with busy(beside, apart) as others:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, bufsize=1
        )
        assert process.stdin is not None and process.stdout is not None
        for reached, then in (("chosen", signal.SIGSTOP), ("ready", signal.SIGCONT)):
            answer = process.stdout.readline().strip()
            if answer != reached:
                sys.exit(f"The arm {arm} ended before it was {reached}.")
            for other in others:
                other.send_signal(then)
            print("go on", file=process.stdin, flush=True)
        rest, _ = process.communicate()
    result: dict[str, float] = json.loads(rest)
    return result


@contextmanager
def busy(count: int, apart: bool) -> Iterator[list[subprocess.Popen[bytes]]]:
    """So many processes that count in a loop until the block ends; apart, each in a session of its own."""
    # They end with the one that began them, should it be killed.
    loop = [sys.executable, "-c", f"import os\nwhile os.getppid() == {os.getpid()}: pass"]
    others = [subprocess.Popen(loop, start_new_session=apart) for _ in range(count)]
    try:
        if others:
            time.sleep(0.3)  # until they run: the choice of threads watches the load for a tenth of a second
        yield others
    finally:
        for other in others:
            other.kill()
            other.wait()


def measure_arm(arm: str, model: str) -> None:
    """The child: chooses, opens the model, and times it as it is told to go on."""
    if arm == "ours":
        from armillary.runs.threads import choose_threads

        choose_threads()
    _tell("chosen")
    import torch

    loaded = Hardware().load(model)
    generator = torch.Generator().manual_seed(0)
    ids_BT = torch.randint(3, loaded.anatomy.vocabulary_size, (ROWS, TOKENS), generator=generator)
    with torch.inference_mode():
        loaded.model(ids_BT)  # the first pass also fills memory pools
        _tell("ready")
        with timed("cpu") as passes:
            for _ in range(PASSES):
                loaded.model(ids_BT)
        cache, next_B1 = loaded.model(ids_BT[:1], use_cache=True).past_key_values, ids_BT[:1, :1]
        with timed("cpu") as steps:
            for _ in range(WRITTEN):
                next_B1 = loaded.model(next_B1, past_key_values=cache, use_cache=True).logits[:, -1:].argmax(-1)
    seconds = {"forward": per(passes, PASSES)["seconds"], "writing": per(steps, WRITTEN)["seconds"]}
    print(json.dumps({**seconds, "threads": torch.get_num_threads()}))


def _tell(reached: str) -> None:
    """Say how far the child is, and wait until it may go on."""
    print(reached, flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main()
