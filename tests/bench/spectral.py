"""The forms of spectral transforms in ONNX Runtime and TensorRT-RTX, map by map.

    spectral.py VITC [--batch 1 8] [--runs 15]

Exports AFFNet-ET (maps 32, 16, 8 at 256 pixels and 28, 14, 7 at 224) and DSM-T (56, 28, 14, 7) with `--spectral separable` and
`--spectral dense`, runs both files in turn in one process on one thread, and adds up the profiled time of the nodes of the filter or mixer by map.
Machines drift, so the last column, a ratio of two minima of one run, is the result. MACs and constants are those of the transforms.
Kernels are those of one filter or mixer in TensorRT-RTX (f16, SM80), if its wheels `tensorrt-rtx-cu13-libs` and `-bindings` are
installed: no GPU is needed to compile. `*` marks the form that `--spectral auto` takes for the plain ONNX target.
"""

import argparse
import collections
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "interop"))

MODELS = [("affnet-et", 256, r"layer_(\d)\.1\.global_rep\.(\d)\.filter", {"3": 32, "4": 16, "5": 8}),
          ("affnet-et", 224, r"layer_(\d)\.1\.global_rep\.(\d)\.filter", {"3": 28, "4": 14, "5": 7}),
          ("dsm-t", 224, r"stages\.(\d)\.(\d)\.mixer\.(?:dct|idct|select|groups|channels)", {"0": 56, "1": 28, "2": 14, "3": 7})]
FORMS = ["separable", "dense"]
TRANSFORM = re.compile(r"\.(rfft2|irfft2|dct|idct)\.(columns|rows|product)$")


def export(vitc, folder, model, size, form, *flags):
    path = folder / f"{model}-{size}-{form}{''.join(flags)}.onnx"
    flags = flags or ["--target", "onnx"]
    command = [vitc, "export", model, "--resolution", str(size), "--spectral", form, "--no-check", "-q", "-o", path, *flags]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return path


def transforms(path, place, maps):
    """Per map: MACs of the transforms of one site at batch 1, bytes of their constants, and the number of sites."""
    graph = onnx.load(path).graph
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in [*graph.value_info, *graph.output]}
    constants = {t.name: list(t.dims) for t in graph.initializer}
    macs, sizes, sites = collections.Counter(), collections.defaultdict(dict), collections.defaultdict(set)
    for node in graph.node:
        match = re.search(place, node.name)
        if not match or node.op_type != "MatMul" or not TRANSFORM.search(node.name):
            continue
        side = maps[match[1]]
        sites[side].add(match[0].rsplit(".", 1)[0])
        inner = (constants.get(node.input[0]) or shapes[node.input[0]])[-1]
        macs[side] += int(np.prod(shapes[node.output[0]])) * inner
        for name in node.input:
            if name in constants:
                sizes[side][name] = 4 * int(np.prod(constants[name]))
    return {side: (macs[side] // len(sites[side]), sum(sizes[side].values()), len(sites[side])) for side in macs}


def measure(paths, place, maps, batch, runs, folder):
    """Per file and map: the least time in microseconds that the nodes of all sites took together in a run."""
    sessions = []
    for i, path in enumerate(paths):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_profiling = True
        options.profile_file_prefix = str(folder / f"profile{i}")
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        shape = [batch, *session.get_inputs()[0].shape[1:]]
        sessions.append((session, {session.get_inputs()[0].name: np.random.default_rng(0).random(shape, np.float32)}))
    for _ in range(runs):
        for session, feed in sessions:
            session.run(None, feed)
    best = []
    for session, _ in sessions:
        events = json.loads(pathlib.Path(session.end_profiling()).read_text())
        totals = collections.defaultdict(list)
        for event in sorted(events, key=lambda e: e["ts"]):
            if event["name"] == "model_run":
                continue
            match = re.search(place, event["name"]) if event["name"].endswith("_kernel_time") else None
            if match:
                totals[maps[match[1]], event["name"]].append(event["dur"])
        times = collections.Counter()
        for (side, _), durations in totals.items():
            times[side] += min(durations)
        best.append(times)
    return best


def kernels(path, place, maps):
    """Per map: kernels that hold a node of a site; empty without TensorRT-RTX."""
    try:
        import trt_build
    except ImportError:
        return {}
    recorder = trt_build.Recorder()
    counts, errors = trt_build.build(path, recorder=recorder)
    if counts is None:
        raise SystemExit(f"{path.name}: {errors}")
    found = collections.Counter()
    for origin in recorder.origins:
        found.update({maps[m[1]] for m in re.finditer(place, origin)})
    return found


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("vitc")
    arguments.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    arguments.add_argument("--runs", type=int, default=15)
    options = arguments.parse_args()
    print("| model | map | form | MMAC | KB f32 | kernels | " + " | ".join(f"ms, batch {b}" for b in options.batch) + " | dense / separable |")
    print("|---|---|---|---|---|---|" + "---|" * (len(options.batch) + 1))
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for model, size, place, maps in MODELS:
            plain = [export(options.vitc, folder, model, size, form) for form in FORMS]
            chosen = transforms(export(options.vitc, folder, model, size, "auto"), place, maps)
            counts = [transforms(path, place, maps) for path in plain]
            flags = ["--target", "tensorrt-onnx", "--fp16"]
            compiled = [kernels(export(options.vitc, folder, model, size, form, *flags), place, maps) for form in FORMS]
            times = []
            for batch in options.batch:
                files = [export(options.vitc, folder, model, size, form, "--target", "onnx", "--batch", str(batch)) for form in FORMS]
                times.append(measure(files, place, maps, batch, options.runs, folder))
            for side in maps.values():
                ratios = ", ".join(f"{t[1][side] / t[0][side]:.2f}" for t in times)
                for i, form in enumerate(FORMS):
                    macs, size_bytes, sites = counts[i][side]
                    mark = "*" if chosen[side][0] == macs else ""
                    launched = f"{compiled[i][side] / sites:.1f}" if compiled[i] else "-"
                    cells = [f"{t[i][side] / sites / 1e3:.2f}" for t in times]
                    row = [model, f"{side}x{side}", form + mark, f"{macs / 1e6:.1f}", f"{size_bytes / 1e3:.0f}", launched, *cells]
                    print("| " + " | ".join([*row, ratios if i else ""]) + " |", flush=True)


if __name__ == "__main__":
    main()
