#!/usr/bin/env python3
"""Latency of two ONNX files of one model in ONNX Runtime on the CPU, as a ratio of one run.

    latency.py FILE PEER [--batch 1 8] [--threads 1] [--rounds 30] [--at-least RATIO]

Runs both files in turn, round by round, because a machine's speed drifts: only the ratios mean something. Prints minimum and median of each
and peer / file of both. A symbolic batch is run at each of --batch, a fixed one as it is. One thread counts the process's CPU time,
which other processes do not lengthen; more count time on the clock. The largest difference of the outputs is printed relative to the peer's
largest element: files with different weights differ, files of the same model should not. Exit status 1 if a ratio of minima is below
--at-least.
"""

import argparse
import statistics
import sys
import time

import numpy as np
import onnxruntime


def open_file(path, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def batches(sessions, wanted):
    """The batches that both files run: the fixed one, or all that are wanted."""
    fixed = {s.get_inputs()[0].shape[0] for s in sessions} - {d for s in sessions for d in s.get_inputs()[0].shape[:1] if not isinstance(d, int)}
    if len(fixed) > 1:
        sys.exit(f"the files have fixed batches that differ: {sorted(fixed)}")
    return sorted(fixed) or wanted


def measure(sessions, batch, rounds, clock):
    """Seconds of each round of each session, and the outputs' relative difference."""
    feeds = []
    for session in sessions:
        image = session.get_inputs()[0]
        kind = np.float16 if image.type == "tensor(float16)" else np.float32
        feeds.append({image.name: np.random.default_rng(0).random([batch, *image.shape[1:]], np.float32).astype(kind)})
    outputs = [s.run(None, f)[0].astype(np.float64) for s, f in zip(sessions, feeds)]
    difference = np.abs(outputs[0] - outputs[1]).max() / np.abs(outputs[1]).max() if outputs[0].shape == outputs[1].shape else float("nan")
    times = [[] for _ in sessions]
    for _ in range(rounds):
        for taken, session, feed in zip(times, sessions, feeds):
            start = clock()
            session.run(None, feed)
            taken.append(clock() - start)
    return times, difference


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("peer")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--at-least", type=float, default=0.0)
    options = parser.parse_args()
    sessions = [open_file(path, options.threads) for path in (options.file, options.peer)]
    clock = time.process_time if options.threads == 1 else time.perf_counter
    kind = "CPU time of one thread" if options.threads == 1 else f"clock time, {options.threads} threads"
    print(f"{kind}, ms, least and median of {options.rounds} rounds")
    print("| batch | file | peer | peer / file, least | median | outputs differ by |")
    print("|---|---|---|---|---|---|")
    missed = False
    for batch in batches(sessions, options.batch):
        times, difference = measure(sessions, batch, options.rounds, clock)
        least, median = [[1e3 * f(t) for t in times] for f in (min, statistics.median)]
        ratios = [b / a for a, b in (least, median)]
        missed |= ratios[0] < options.at_least
        cells = [f"{l:.2f} / {m:.2f}" for l, m in zip(least, median)]
        print(f"| {batch} | {cells[0]} | {cells[1]} | {ratios[0]:.2f} | {ratios[1]:.2f} | {difference:.1e} |", flush=True)
    if missed:
        sys.exit(f"a ratio is below {options.at_least}")


if __name__ == "__main__":
    main()
