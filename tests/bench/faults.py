"""What the check sees: files with one fault each, put through `vitc check`.

    faults.py VITC [MODEL ...]

For each model, exports the ONNX file in fp32 and fp16, spoils one thing at a time, and prints by kind of fault how many the check rejects and the smallest
error among them, as a fraction of the largest value. Needs onnx and numpy. The figures are the basis of src/check/bounds.rs.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import numpy_helper

MODELS = ["fmvit-t", "affnet-et", "efficientformerv2-s0", "fastervit-0", "cas-vit-xs", "ffnet-1", "dsm-t"]
# Places of a kind, spread over the file from its first to its last.
PLACES = 4


def spread(items):
    return [items[i] for i in sorted({round(k * (len(items) - 1) / (PLACES - 1)) for k in range(PLACES)})] if items else []


class Faults:
    """Functions that spoil a model in place, by kind."""

    def __init__(self, model):
        self.constants = {t.name: t for t in model.graph.initializer}
        self.nodes = list(model.graph.node)

    def all(self):
        by_input = lambda op, slot: [self.constants[n.input[slot]] for n in self.of(op) if len(n.input) > slot and n.input[slot] in self.constants]
        biases = by_input("Conv", 2) + by_input("Gemm", 2) + [t for t in by_input("Add", 0) + by_input("Add", 1) if len(t.dims) == 1]
        tables = [t for t in by_input("Add", 0) + by_input("Add", 1) if len(t.dims) >= 3 and t.dims[-1] == t.dims[-2] > 8]
        kernels = [t for t in by_input("Conv", 1) if t.dims[2] > 1]
        pointwise = [t for t in by_input("Conv", 1) + by_input("MatMul", 1) + by_input("MatMul", 0) + by_input("Gemm", 1) if min(t.dims[:2]) > 8]
        padded = [n for n in self.of("Conv") if any(a.name == "pads" and len(set(a.ints)) == 1 and a.ints[0] for a in n.attribute)]
        yield "a bias left out", biases, self.zero
        yield "an attention table left out", tables, self.zero
        yield "a spatial kernel mirrored", kernels, self.mirror
        yield "two channels exchanged", kernels + pointwise, self.exchange
        yield "padding on one side only", padded, self.shift
        yield "a resize by nearest", self.of("Resize"), self.nearest

    def of(self, op):
        return [n for n in self.nodes if n.op_type == op]

    def change(self, tensor, function):
        values = numpy_helper.to_array(tensor).copy()
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(function(values)).astype(values.dtype), tensor.name))

    def zero(self, tensor):
        self.change(tensor, np.zeros_like)

    def mirror(self, tensor):
        self.change(tensor, lambda v: v[..., ::-1])

    def exchange(self, tensor):
        self.change(tensor, lambda v: v[[1, 0, *range(2, len(v))]])

    def shift(self, node):
        for a in node.attribute:
            if a.name == "pads":
                pads = list(a.ints)
                a.ints[:] = [0, pads[1], 2 * pads[2], pads[3]]

    def nearest(self, node):
        for a in node.attribute:
            if a.name == "mode":
                a.s = b"nearest"


def check(vitc, path, model):
    done = subprocess.run([vitc, "check", path, model, "--json"], capture_output=True, text=True)
    result = json.loads(done.stdout)
    runs = result["check"]["runs"]
    # Figures that are not finite are words.
    return done.returncode == 3, max(float(r["max_error"]) / float(r["max_reference"]) for r in runs)


def main():
    vitc, models = sys.argv[1], sys.argv[2:] or MODELS
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for model in models:
            for precision in ("fp32", "fp16"):
                path = pathlib.Path(folder) / "model.onnx"
                subprocess.run([vitc, "export", model, "--target", "onnx", f"--{precision}", "--no-check", "--force", "-q", "-o", path], check=True, stderr=subprocess.DEVNULL)
                kinds = [(kind, len(spread(places))) for kind, places, _ in Faults(onnx.load(path)).all()]
                for kind, count in kinds:
                    for at in range(count):
                        spoiled = onnx.load(path)
                        places, spoil = next((p, s) for k, p, s in Faults(spoiled).all() if k == kind)
                        spoil(spread(places)[at])
                        onnx.save(spoiled, pathlib.Path(folder) / "spoiled.onnx")
                        rejected, error = check(vitc, pathlib.Path(folder) / "spoiled.onnx", model)
                        found.setdefault((kind, precision), []).append((rejected, error, model))
            print(model, flush=True)
    for (kind, precision), rows in sorted(found.items()):
        rejected = [error for seen, error, _ in rows if seen]
        passed = sorted((error, model) for seen, error, model in rows if not seen)
        print(f"{kind:32} {precision}  {len(rejected):3} of {len(rows):3} rejected", f"smallest {min(rejected):.1e}" if rejected else "", f"passed {[(f'{e:.1e}', m) for e, m in passed]}" if passed else "")


if __name__ == "__main__":
    main()
