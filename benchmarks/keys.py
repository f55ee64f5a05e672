"""k-means of a vocabulary's keys against scikit-learn's MiniBatchKMeans, at an inertia at least as low.

    python benchmarks/keys.py [--model smollm2-135m-instruct] [--quick]

The peer runs to its own end with its defaults (batches of 1,024, one start). Ours gets the fewest passes that bring
the inertia to the peer's or below; that number is found before and reported. Each arm runs in a fresh process, so that
its peak memory is its own; memory is what the peak rises above the keys.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import time
import warnings
from pathlib import Path

from measure import current_mb, interleaved, medians, peak_mb, ratio, show_and_save


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=None, help="smollm2-135m-instruct; tiny-llama with --quick")
    parser.add_argument("--quick", action="store_true", help="a tiny model: shows that it runs")
    parser.add_argument("--clusters", type=int)
    parser.add_argument("--arm", choices=["ours", "peer"], help=argparse.SUPPRESS)
    parser.add_argument("--passes", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    model = options.model or ("tiny-llama" if options.quick else "smollm2-135m-instruct")
    if options.arm:
        print(json.dumps(measure_arm(options.arm, model, options.clusters, options.passes)))
        return
    first = in_fresh_process("peer", model, options.clusters, 0)
    passes, reached = enough_passes(model, options.clusters, first["inertia"])
    arms = {
        "peer": lambda _: in_fresh_process("peer", model, options.clusters, 0),
        "ours": lambda _: in_fresh_process("ours", model, options.clusters, passes),
    }
    runs = interleaved(arms, 1 if options.quick else 3)
    peer, ours = runs["peer"], runs["ours"]
    rows: list[dict[str, object]] = [
        {
            "what": what,
            "peer": medians(peer, key),
            "ours": medians(ours, key),
            "ratio": ratio([run[key] for run in peer], [run[key] for run in ours]),
        }
        for what, key in (
            ("time, s", "seconds"),
            ("CPU time, s", "cpu"),
            ("memory above the keys, MB", "above_mb"),
            ("inertia", "inertia"),
        )
    ]
    settings = {
        "keys": first["keys"],
        "width": first["width"],
        "clusters": first["clusters"],
        "passes": passes,
        "reached the peer's inertia": reached,
    }
    show_and_save(f"keys-{Path(model).name}", "k-means of vocabulary keys", Path(model).name, settings, rows)


def enough_passes(model: str, clusters: int | None, inertia: float) -> tuple[int, bool]:
    """The fewest passes, of a few numbers, that reach the inertia; the most where none does."""
    tried = (1, 2, 3, 5, 8, 12, 20)
    for passes in tried:
        if in_fresh_process("ours", model, clusters, passes)["inertia"] <= inertia:
            return passes, True
    return tried[-1], False


def in_fresh_process(arm: str, model: str, clusters: int | None, passes: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--arm", arm, "--model", model, "--passes", str(passes)]
    command += ["--clusters", str(clusters)] if clusters else []
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, float] = json.loads(finished.stdout.strip().splitlines()[-1])
    return result


def measure_arm(arm: str, model: str, clusters: int | None, passes: int) -> dict[str, float]:
    import gc

    import armillary
    from armillary.methods.icn import KeySpace, auto_clusters
    from armillary.numerics.clustering import kmeans

    loaded = armillary.load(model, device="cpu")
    keys = KeySpace.from_model(loaded).keys_VD.clone()
    del loaded
    gc.collect()
    k = clusters or auto_clusters(len(keys))
    array = keys.numpy()
    warm = keys[:2000].clone()
    run(arm, warm, warm.numpy(), min(20, k), 1, kmeans)  # the first call of either is slow
    before = current_mb()
    reset_peak()
    started, cpu = time.perf_counter(), time.process_time()
    inertia = run(arm, keys, array, k, passes, kmeans)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    counts = {"keys": len(keys), "width": keys.shape[1], "clusters": k}
    return {"seconds": seconds, "cpu": cpu, "above_mb": max(0.1, peak_mb() - before), "inertia": inertia, **counts}


def run(arm, keys, array, k, passes, kmeans):  # type: ignore[no-untyped-def]
    """Inertia over all keys of a finished clustering."""
    if arm == "ours":
        return kmeans(keys, k, seed=0, max_iterations=max(1, passes)).inertia
    from sklearn.cluster import MiniBatchKMeans

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(MiniBatchKMeans(k, random_state=0, n_init=1, compute_labels=True).fit(array).inertia_)


def reset_peak() -> None:
    """Begin the high-water mark anew where the system can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    main()
