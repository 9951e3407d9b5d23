#!/usr/bin/env python3
"""What few bits cost, on trained models. Needs numpy, Pillow, onnx, onnxruntime and a built vitc.

    quantize.py VITC DATA [--only NAME,…] [--rows fp32,w8,…] [--samples N] [--pictures N]

DATA holds data/calib and data/eval, pictures NUMBER_CLASS.jpg of the models' size, which are not cropped, and a folder for each model: an ONNX file with the
preprocessing of ImageNet, or a checkpoint that vitc recognises. Prints a table in Markdown: for each model and form the share of classes that are right, the
share that is the fp32 file's, signal to noise of the scores, and bytes. ONNX files are judged in ONNX Runtime without optimisations, which is what the pairs
mean, and again with its integer kernels; packages and assets in vitc's own runner, as `vitc evaluate` does. The rows `plain` and `ort` are ONNX Runtime's own
tool: min-max S8S8, and percentile U8S8 on 64 pictures, the best of what it has; where it fails, limited to Conv, MatMul and Gemm.
"""
import argparse
import contextlib
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from PIL import Image

# Target and options of each row of vitc's.
ROWS = {
    "fp32": ("onnx", []),
    "fp16": ("onnx", ["--fp16"]),
    "w8": ("coreml", ["--quantize", "w8"]),
    "w4": ("coreml", ["--quantize", "w4"]),
    "w8a8": ("tensorrt-onnx", ["--quantize", "w8a8", "--fp32"]),
    "w8a8 onnx": ("onnx", ["--quantize", "w8a8"]),
    "w8a8 coreml": ("coreml", ["--quantize", "w8a8"]),
    "mixed": ("coreml", ["--quantize", "mixed"]),
}
TOOL = ["plain", "ort"]
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
SUFFIX = {"coreml": ".mlpackage", "coreai": ".aimodel"}


def pictures(folder, mean, std):
    """Normalised pictures [N,3,H,W], their classes, and their files."""
    files = sorted(pathlib.Path(folder).glob("*.jpg"))
    mean, std = (np.array(v, np.float32).reshape(3, 1, 1) for v in (mean, std))
    pixels = [np.asarray(Image.open(f).convert("RGB"), np.float32).transpose(2, 0, 1) / 255 for f in files]
    return np.stack([(p - mean) / std for p in pixels]), np.array([int(f.stem.split("_")[1]) for f in files]), files


class Reader(CalibrationDataReader):
    def __init__(self, name, data):
        self.name, self.data = name, iter(data)

    def get_next(self):
        x = next(self.data, None)
        return None if x is None else {self.name: x[None]}


def scores(path, x, exact):
    """What ONNX Runtime answers, picture by picture."""
    options = onnxruntime.SessionOptions()
    if exact:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: one[None]})[0].astype(np.float32) for one in x])


def tool(row, source, path, data, folder, kinds=None):
    """A file of ONNX Runtime's own tool, of these kinds of layers or all that it knows."""
    prepared = folder / "prepared.onnx"
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    name = onnx.load(str(prepared)).graph.input[0].name
    plain = row == "plain"
    quantize_static(
        str(prepared), str(path), Reader(name, data if plain else data[:: max(1, len(data) // 64)][:64]), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QInt8 if plain else QuantType.QUInt8, weight_type=QuantType.QInt8, op_types_to_quantize=kinds,
        calibrate_method=CalibrationMethod.MinMax if plain else CalibrationMethod.Percentile,
        extra_options={"ActivationSymmetric": plain, "CalibPercentile": 99.999},
    )
    onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])  # its own runtime refuses some of its files


def size(path):
    return sum(f.stat().st_size for f in path.rglob("*") if f.is_file()) if path.is_dir() else path.stat().st_size


class Model:
    def __init__(self, vitc, source, a, folder):
        self.vitc, self.source, self.a, self.folder = vitc, source, a, folder
        self.calib, _, _ = pictures(a.data / "data/calib", MEAN, STD)
        self.calib = self.calib[:: max(1, len(self.calib) // a.samples)][: a.samples]
        self.x, self.y, self.files = pictures(a.data / "data/eval", MEAN, STD)
        step = max(1, len(self.y) // a.pictures)
        self.x, self.y, self.files = self.x[::step], self.y[::step], self.files[::step]
        np.save(folder / "calib.npy", self.calib)
        np.save(folder / "eval.npy", self.x)
        self.normalisation = ["--mean", ",".join(map(str, MEAN)), "--std", ",".join(map(str, STD)), "--crop", "1"]
        self.wanted = None

    def export(self, target, options, path):
        """Seconds of an export, and its report."""
        own = [str(self.source)]
        if self.source.suffix != ".onnx":
            own = ["--weights", *own, "--resolution", "x".join(map(str, self.x.shape[2:]))]
        command = [self.vitc, "export", *own, "--target", target, *options, "--force", "-q", "--json", "-o", str(path), *self.normalisation]
        if "--quantize" in options:
            command += ["--calibrate", str(self.folder / "calib.npy")]
            if path.suffix != ".onnx":  # what ONNX Runtime does not judge
                command += ["--evaluate", str(self.folder / "eval.npy")]
        start = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr}")
        return time.monotonic() - start, json.loads(done.stdout)

    def evaluate(self, path):
        """Share of classes that are right, of a package."""
        listed = self.folder / "list.csv"
        listed.write_text("".join(f"{f.name},{y}\n" for f, y in zip(self.files, self.y)))
        command = [self.vitc, "evaluate", str(path), str(self.a.data / "data/eval"), "--list", str(listed), "--json"]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        return found

    def line(self, row):
        """Cells of a row: right, agreement, signal to noise, the same of the integer kernels, bytes, seconds."""
        if row in TOOL:
            path = self.folder / f"{row}.onnx"
            start = time.monotonic()
            with contextlib.redirect_stdout(sys.stderr):  # it prints what it does
                try:
                    tool(row, self.folder / "fp32.onnx", path, self.calib, self.folder)
                except Exception:  # whatever it stumbles over
                    tool(row, self.folder / "fp32.onnx", path, self.calib, self.folder, ["Conv", "MatMul", "Gemm"])
            return self.cells(path, time.monotonic() - start)
        target, options = ROWS[row]
        path = self.folder / f"{row.replace(' ', '-')}{SUFFIX.get(target, '.onnx')}"
        seconds, report = self.export(target, options, path)
        if path.suffix == ".onnx":
            return self.cells(path, seconds)
        found, judged = self.evaluate(path), report["quantisation"]["evaluation"]
        agreement = judged.get("agreement")
        right = found.get("marks", found).get("top1", float("nan"))
        return [right, agreement, judged["snr"], None, None, size(path), seconds]

    def cells(self, path, seconds):
        exact = scores(path, self.x, True)
        if self.wanted is None:
            self.wanted = exact
        fast = scores(path, self.x, False)
        return [(exact.argmax(1) == self.y).mean(), *self.near(exact), *self.near(fast)[::-1], size(path), seconds]

    def near(self, y):
        noise = float(((self.wanted - y) ** 2).sum())
        return float((self.wanted.argmax(1) == y.argmax(1)).mean()), 10 * np.log10(float((self.wanted**2).sum()) / max(noise, 1e-30))


def written(cells):
    right, agreement, snr, fast_snr, fast_agreement, bytes_, seconds = cells
    percent = lambda v: "" if v is None else f"{100 * v:.1f}"
    level = lambda v: "" if v is None else "exact" if v > 120 else f"{v:.1f}"
    return [percent(right), percent(agreement), level(snr), level(fast_snr), percent(fast_agreement), f"{bytes_ / 1e6:.2f} MB", f"{seconds:.0f} s"]


def source(folder):
    """What a model is exported from: the ONNX file of the shortest name, else the checkpoint."""
    for suffix in ["*.onnx", "*.safetensors", "*.pth"]:
        found = sorted(folder.glob(suffix), key=lambda f: len(f.name))
        if found:
            return found[0]
    return None


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("vitc")
    args.add_argument("data", type=pathlib.Path)
    args.add_argument("--only")
    args.add_argument("--rows", default=",".join([*ROWS, *TOOL]))
    args.add_argument("--samples", type=int, default=256)
    args.add_argument("--pictures", type=int, default=1000)
    a = args.parse_args()
    rows = a.rows.split(",")
    print("| model | form | top-1 | agreement | dB | dB in integer kernels | agreement there | bytes | time |\n|---|---|---|---|---|---|---|---|---|")
    for found in sorted(filter(pathlib.Path.is_dir, a.data.iterdir())):
        if source(found) is None or (a.only and found.name not in a.only.split(",")):
            continue
        with tempfile.TemporaryDirectory() as folder:
            model = Model(a.vitc, source(found), a, pathlib.Path(folder))
            for row in rows if rows[0] == "fp32" else ["fp32", *rows]:
                try:
                    cells = written(model.line(row))
                except Exception as error:  # a tool that fails is a row that says so
                    cells = [f"fails: {str(error).strip().splitlines()[-1][:120]}"] + [""] * 6
                print("|", " | ".join([found.name, row, *cells]), "|", flush=True)


if __name__ == "__main__":
    main()
