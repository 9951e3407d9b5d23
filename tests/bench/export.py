#!/usr/bin/env python3
"""Time and memory of an export, as ratios in one run. Needs numpy and a built vitc.

    export.py target/release/vitc [MODEL]

Makes a safetensors checkpoint of MODEL (efficientformerv2-l) with random numbers, then compares, minimum of ten with warm caches, an export without
check with a copy of the file: at most 3 copies + 50 ms, and at most the checkpoint + 64 MiB of resident memory. Both write to a place that is free,
because a file system may flush what replaces a file. Last, the time of a small export with its check: at most 3 s. Exit status 1 where a bound is
missed.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np

RUNS = 10


def weights(ir):
    """Keys and shapes of the weights in a graph's text form."""
    found = {key: sizes(shape) for key, shape in re.findall(r'weight"([^"]+)":f32\[([\d,]*)\]', ir)}
    for key, shape in re.findall(r'bn"([^"]+)":f32\[([\d,]*)\]', ir):
        found |= {f"{key}.{part}": sizes(shape) for part in ["weight", "bias", "running_mean", "running_var"]}
    return found


def sizes(text):
    return [int(d) for d in text.split(",") if d.strip()]


def elements(shape):
    return int(np.prod(shape, dtype=np.int64))


def paper(vitc, model):
    """The model's paper graph as text."""
    command = [vitc, "export", model, "--target", "onnx", "--emit", "ir-paper"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def checkpoint(vitc, model, path):
    """A file with every tensor of the model."""
    write(path, weights(paper(vitc, model)))


def write(path, shapes):
    """Random numbers of these shapes as safetensors, one tensor in memory at a time."""
    rng, header, offset = np.random.default_rng(0), {}, 0
    for key, shape in shapes.items():
        length = 4 * elements(shape)
        header[key] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + length]}
        offset += length
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        for key, shape in shapes.items():
            values = rng.standard_normal(shape, dtype=np.float32) * 0.02
            values = np.abs(values) + 0.5 if key.endswith("running_var") else values
            f.write(values.tobytes())


def run(command):
    """Seconds and peak resident bytes of a process."""
    start = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    error = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"{' '.join(map(str, command))}: {error.decode()}")
    return time.monotonic() - start, usage.ru_maxrss * 1024


def fresh(command, place):
    """The same of a process that writes to a place, which is free before and after."""
    measured = run(command)
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    return measured


def main():
    vitc, model = sys.argv[1], (sys.argv[2:] or ["efficientformerv2-l"])[0]
    missed = False

    def row(what, value, bound, unit):
        nonlocal missed
        missed |= value > bound
        print(f"{what:44} {value:8.1f} {unit}  at most {bound:8.1f} {unit}  {'ok' if value <= bound else 'MISSED'}")

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        source = folder / "weights.safetensors"
        checkpoint(vitc, model, source)
        place = folder / "copy"
        copy = ["cp", str(source), str(place)]
        export = [vitc, "export", model, "--weights", str(source), "--no-check", "--force", "-q"]
        copied = min(fresh(copy, place)[0] for _ in range(RUNS)) * 1e3
        size = source.stat().st_size
        print(f"{model}: checkpoint {size / 2**20:.1f} MiB, cp {copied:.1f} ms")
        for target, suffix in (("onnx", "onnx"), ("tensorrt-onnx", "onnx"), ("coreml", "mlpackage"), ("coreai", "aimodel")):
            place = folder / f"a-{target}.{suffix}"
            done = [fresh([*export, "--target", target, "-o", str(place)], place) for _ in range(RUNS)]
            row(f"{target}, without check", min(s for s, _ in done) * 1e3, 3 * copied + 50, "ms")
            row(f"{target}, peak memory", max(m for _, m in done) / 2**20, size / 2**20 + 64, "MiB")
        small = [vitc, "export", "efficientformerv2-s0", "--target", "onnx", "--force", "-q", "-o", str(folder / "s0.onnx")]
        row("efficientformerv2-s0, onnx, with check", min(run(small)[0] for _ in range(3)), 3.0, "s")
    sys.exit(missed)


if __name__ == "__main__":
    main()
