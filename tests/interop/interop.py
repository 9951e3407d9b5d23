"""Export with the command line, read with programs that are not ours, compare with the authors' numbers.

    interop.py VITC FOLDER

VITC is the binary, FOLDER takes what is written. One line per row of `table.py`; the last line counts them. Every ONNX file passes onnx.checker, strict
shape inference and ONNX Runtime, every package coremltools' loader and a numpy interpreter of the loaded program, every Core AI
asset the vendor's own runtime, every engine row the real TensorRT compiler.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import traceback

import numpy as np

import seeded
import table

HERE = pathlib.Path(__file__).parent
GOLDEN = HERE.parent.parent / "golden"


class Rows:
    """Runs rows and counts them; a row is a function that returns findings."""

    def __init__(self):
        self.passed = self.failed = 0

    def row(self, name, check):
        try:
            findings = check()
        except Exception:  # a row that breaks is a row that fails
            findings = [traceback.format_exc()]
        self.count(name, findings)

    def count(self, name, findings):
        """A row that has been run."""
        self.passed += not findings
        self.failed += bool(findings)
        print(f"{'FAILED' if findings else 'ok'}  {name}", *findings, sep="\n    ", flush=True)


def export(vitc, model, target, options, path, weights=None):
    """Findings of the export itself."""
    command = [vitc, "export", model, "--target", target, *options, "--force", "-q", "-o", str(path)]
    if weights:
        command += ["--weights", str(weights)]
    done = subprocess.run(command, capture_output=True, text=True)
    return [] if done.returncode == 0 else [f"{' '.join(command)}: exit {done.returncode}", done.stderr.strip()]


def read(path, image=None, expect=None, atol=None, psnr=None, snr=None):
    """Findings of the foreign readers, each in a process of its own: they must not share protobuf runtimes."""
    script = {".mlpackage": "mil_run.py", ".aimodel": "coreai_run.py"}.get(path.suffix, "onnx_check.py")
    command = [sys.executable, str(HERE / script), str(path)]
    if image:
        command += ["--input", str(image), "--expect", str(expect)]
        command += ["--atol", repr(atol)] if snr is None else ["--snr", str(snr)]
    if psnr:
        command += ["--psnr", str(psnr)]
    done = subprocess.run(command, capture_output=True, text=True)
    return [] if done.returncode == 0 else [done.stdout.strip(), done.stderr.strip()[-2000:]]


def engine(path, kernels=None, fused=None, sync=None, int8=None):
    """Findings of TensorRT."""
    command = [sys.executable, str(HERE / "trt_build.py"), str(path)]
    bounds = {"--max-kernels": kernels, "--fused": fused, "--max-sync": sync, "--int8": int8}
    command += [str(word) for option, bound in bounds.items() if bound is not None for word in (option, bound)]
    done = subprocess.run(command, capture_output=True, text=True)
    return [] if done.returncode == 0 else [done.stdout.strip(), done.stderr.strip()[-2000:]]


def golden(rows, vitc, folder):
    for family, name, model, forms, half in table.GOLDEN:
        manifest = json.loads((GOLDEN / family / f"{name}.json").read_text())
        weights, image = folder / f"{name}.safetensors", folder / f"{name}.input.npy"
        expect = GOLDEN / family / f"{name}.logits.npy"
        seeded.write_safetensors(manifest, weights)
        shape = manifest["input"]["shape"]
        np.save(image, seeded.image(shape))
        resolution = ["--resolution", f"{shape[2]}x{shape[3]}"]
        largest = float(np.abs(np.load(expect)).max())
        for target, options, suffix in forms:
            label = f"{name} {target} {' '.join(options)}"
            path = folder / (label.replace(" ", "_").replace("--", "") + suffix)
            atol = half * largest if "--fp16" in options else table.F32
            if target == "coreai":  # the vendor's runtime accumulates fp16 products in fp16
                atol = table.COREAI_F16 * largest if "--fp16" in options else table.COREAI_F32.get(family, table.F32) * max(1.0, largest)
            # The authors' numbers are the check.
            given = [*options, *resolution, "--no-check"]
            psnr = table.COREAI_PSNR if target == "coreai" and "--fp16" in options else None
            rows.row(label, lambda: export(vitc, model, target, given, path, weights) or read(path, image, expect, atol, psnr))


def pictures(rows, vitc, folder):
    """Files that take pixels and name classes, against the authors' logits: pixels that the file's normalisation makes the golden input."""
    mean, std = table.PIXELS
    normalisation = ["--mean", ",".join(map(str, mean)), "--std", ",".join(map(str, std))]
    for family, name, model, forms, half in table.PICTURES:
        weights, image = folder / f"{name}.safetensors", folder / f"{name}.pixels.npy"
        manifest = json.loads((GOLDEN / family / f"{name}.json").read_text())
        seeded.write_safetensors(manifest, weights)
        channels = lambda v: np.array(v).reshape(1, 3, 1, 1)
        pixels = 255 * (seeded.image(manifest["input"]["shape"]).astype(np.float64) * channels(std) + channels(mean))
        assert pixels.min() >= 0 and pixels.max() <= 255
        np.save(image, pixels.astype(np.float32))
        logits = np.load(GOLDEN / family / f"{name}.logits.npy")
        odds = np.exp(logits - logits.max())
        labels, expected = folder / "labels.txt", folder / f"{name}.probabilities.npy"
        labels.write_text("".join(f"class {i}\n" for i in range(logits.shape[-1])))
        np.save(expected, odds / odds.sum())
        for target, options, suffix in forms:
            label = f"{name} pixels {target} {' '.join(options)}"
            path = folder / (label.replace(" ", "_").replace("--", "") + suffix)
            error = half * float(np.abs(logits).max()) if "--fp16" in options else table.F32
            given = [*options, *normalisation, "--input", "image", "--no-check"]
            answers = GOLDEN / family / f"{name}.logits.npy"
            if "--labels" in options:
                given.insert(given.index("--labels") + 1, str(labels))
                if target == "coreml":  # a probability moves by at most twice its share of what the logits move
                    answers, error = expected, 2 * error * float((odds / odds.sum()).max())
            compiled = (lambda: engine(path)) if target == "tensorrt-onnx" else (lambda: [])
            check = lambda: export(vitc, model, target, given, path, weights) or read(path, image, answers, error) or compiled()
            rows.row(label, check)


def few_bits(rows, vitc, folder):
    """Quantised files, fitted to the golden picture and others like it, against the authors' logits."""
    name, model = "efficientformerv2_s0", "efficientformerv2-s0"
    manifest = json.loads((GOLDEN / "efficientformerv2" / f"{name}.json").read_text())
    weights, image, calib = folder / f"{name}.safetensors", folder / f"{name}.input.npy", folder / "calib.npy"
    seeded.write_safetensors(manifest, weights)
    picture = seeded.image(manifest["input"]["shape"])
    np.save(image, picture)
    np.save(calib, np.concatenate([np.roll(picture, 37 * i, axis=(2, 3)[i % 2]) * (1 - 0.1 * i) for i in range(4)]))
    expect = GOLDEN / "efficientformerv2" / f"{name}.logits.npy"
    kernels, fused, int8 = table.FEW_BITS_ENGINE
    for target, options, suffix, snr in table.FEW_BITS:
        label = f"{name} {target} {' '.join(options)}"
        path = folder / (label.replace(" ", "_").replace("--", "") + suffix)
        given = [*options, "--calibrate", str(calib), "--no-check"]
        compiled = (lambda: engine(path, kernels, fused, None, int8)) if target == "tensorrt-onnx" else (lambda: [])
        rows.row(label, lambda: export(vitc, model, target, given, path, weights) or read(path, image, expect, snr=snr) or compiled())


def engines(rows, vitc, folder):
    for model, options, *bounds in table.ENGINES:
        path = folder / f"{model}.engine.onnx"
        label = f"{model} engine {' '.join(options)}"
        rows.row(label, lambda: export(vitc, model, "tensorrt-onnx", options, path) or engine(path, *bounds))


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("vitc")
    args.add_argument("folder", type=pathlib.Path)
    a = args.parse_args()
    a.folder.mkdir(parents=True, exist_ok=True)
    rows = Rows()
    golden(rows, a.vitc, a.folder)
    pictures(rows, a.vitc, a.folder)
    few_bits(rows, a.vitc, a.folder)
    engines(rows, a.vitc, a.folder)
    print(f"interop: {rows.passed} passed, {rows.failed} failed")
    sys.exit(1 if rows.failed else 0)


if __name__ == "__main__":
    main()
