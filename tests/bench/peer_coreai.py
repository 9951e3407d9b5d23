#!/usr/bin/env python3
"""What Apple's converter for PyTorch and vitc make of the same models, executed in Apple's runtime for Linux. Needs torch, timm, coreai-core, coreai-torch.

    peer_coreai.py VITC MODEL=SOURCE ... [--fp16]

MODEL is vitc's name. SOURCE makes the authors' module: `timm:NAME`, `PACKAGE.MODULE:FUNCTION`, or `FILE.py:FUNCTION` with the authors' code. Weights are
random with statistics of BatchNorm to match; both convert the same ones. A row says for each converter: seconds of a conversion from weights in memory (torch)
or in a file (vitc, without and with its check), operations without constants as in the asset, bodies of composites included, bytes, and the largest error against the module
in fp32 over one noise picture, with the largest value.
"""
import argparse
import importlib
import importlib.util
import pathlib
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "interop"))
import coreai_run  # noqa: E402

STRUCTURE = {"coreai.graph", "coreai.output", "coreai.yield"}


def module(source):
    """The authors' module with random weights."""
    place, name = source.rsplit(":", 1)
    if place == "timm":
        timm = importlib.import_module("timm")
        made = timm.create_model(name, pretrained=False)
    elif place.endswith(".py"):
        sys.path.insert(0, str(pathlib.Path(place).parent))
        spec = importlib.util.spec_from_file_location("authors", place)
        authors = sys.modules["authors"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(authors)
        made = getattr(authors, name)()
    else:
        made = getattr(importlib.import_module(place), name)()
    torch.manual_seed(0)
    with torch.no_grad():
        for key, value in made.state_dict().items():
            if key.endswith("running_var"):
                value.copy_(0.5 + torch.rand(value.shape))
            elif key.endswith("running_mean"):
                value.copy_(0.1 * torch.randn(value.shape))
    return made.eval()


def operations(program):
    """Operations of a program without constants, in all regions."""
    pending, count = [program._module._mlir_module.operation], 0
    while pending:
        for region in pending.pop().regions:
            for block in region.blocks:
                for operation in block.operations:
                    pending.append(operation.operation)
                    name = operation.operation.name
                    count += name not in STRUCTURE and not name.endswith("constant") and name != "builtin.module"
    return count


def run(path, x):
    """Operations of an asset, and its first output."""
    functions, _ = coreai_run.run(path, x)
    from coreai.authoring import AIModelAsset

    value = next(np.array(v, np.float32) for takes, outputs in functions if takes for v in outputs.values())
    return operations(AIModelAsset.load(path).program), value


def size(path):
    return sum(f.stat().st_size for f in pathlib.Path(path).rglob("*") if f.is_file())


def by_torch(made, x, path):
    """Convert with Apple's converter: seconds."""
    import coreai_torch

    start = time.monotonic()
    exported = torch.export.export(made, args=(x,)).run_decompositions(coreai_torch.get_decomp_table())
    converter = coreai_torch.TorchConverter(mode=coreai_torch.TorchConverter.Mode.RELEASE).add_exported_program(exported)
    converter.to_coreai().save_asset(path)
    return time.monotonic() - start


def by_vitc(vitc, model, weights, side, path, fp16, check):
    """Convert with vitc: seconds."""
    command = [vitc, "export", model, "--weights", str(weights), "--target", "coreai", "--force", "-q", "-o", str(path)]
    command += ["--resolution", str(side)]
    command += ["--fp16" if fp16 else "--fp32"] + ([] if check else ["--no-check"])
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[0])
    return time.monotonic() - start


def row(model, who, seconds, path, x, expected):
    count, value = run(path, x)
    error = np.abs(value - expected).max()
    print(f"| {model} | {who} | {seconds} | {count} | {size(path):,} | {error:.1e} of {np.abs(expected).max():.2f} |", flush=True)


def failed(model, who, error):
    print(f"| {model} | {who} | fails: {' '.join(str(error).split())[:160]} | | | |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vitc")
    parser.add_argument("models", nargs="+", metavar="MODEL=SOURCE")
    parser.add_argument("--fp16", action="store_true")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    print("| model | converter | seconds | operations | bytes | largest error |\n|---|---|---|---|---|---|", flush=True)
    for word in args.models:
        model, source = word.split("=", 1)
        made = module(source)
        sizes = getattr(made, "default_cfg", None) or {}
        x = torch.randn(1, *sizes.get("input_size", (3, 224, 224)), generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            expected = made(x)
        expected = (expected[0] if isinstance(expected, (tuple, list)) else expected).numpy()
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            weights, ours, theirs = folder / "weights.pth", folder / "ours.aimodel", folder / "theirs.aimodel"
            torch.save(made.state_dict(), weights)
            try:
                quick, checked = (by_vitc(args.vitc, model, weights, x.shape[-1], ours, args.fp16, check) for check in (False, True))
                row(model, "vitc", f"{quick:.1f}, checked {checked:.1f}", ours, x, expected)
            except Exception as error:
                failed(model, "vitc", error)
            try:
                given = made.half() if args.fp16 else made
                seconds = by_torch(given, x.half() if args.fp16 else x, theirs)
                row(model, "coreai-torch", f"{seconds:.1f}", theirs, x, expected)
            except Exception as error:
                failed(model, "coreai-torch", error)


if __name__ == "__main__":
    main()
