"""The vendor's own reader, compiler and runtime over emitted Core AI assets.

    coreai_run.py ASSET [--input x.npy] [--expect y.npy] [--atol A] [--psnr DB] [--snr DB]
    coreai_run.py FOLDER      every NAME.aimodel in it, with NAME.input.npy and NAME.expect.npy beside it

Fails with exit code 1 and one line per finding. Every asset is read, verified and compiled, and the vendor's summary must name the release. Every
function runs: on the input if it has the function's shape, else on seeded noise. With --expect the first output of the function that takes the input must lie within --atol of the array. The default is 1e-5 of its largest magnitude (or of 1, if that is more), 1e-2 for a
program that computes in fp16: the runtime accumulates fp16 products in fp16. Without --input seeded noise is fed; a picture cannot be fed off
the vendor's systems, so such an asset is compiled only. The runtime ends its whole process at a wrong file, so assets run in processes of their
own, one after the other as long as they last.
"""
import argparse
import asyncio
import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np

RELEASE = "27.0"


def run(path, x):
    """The outputs by name of each function that takes no picture, whether it took x, and the release that the asset's summary names."""
    import coreai.authoring  # noqa: F401  first: the modules import each other in a circle
    from coreai.authoring import AIModelAsset
    from coreai.runtime import NDArray

    asset = AIModelAsset.load(path)
    program = asset.program
    program._module._mlir_module.operation.verify()
    summary = asset.summary(include_statistics=False)

    async def values():
        found = []
        async with asset.executable() as model:
            for word in model.function_names:
                function = model.load_function(word)
                (name,) = function.desc.input_names
                described = str(function.desc.input_descriptor(name))
                sizes = re.match(r"\[([-\d, ]*)\], (float\d+)", described)
                if not sizes:
                    continue
                shape = [int(n) for n in sizes[1].split(",") if n.strip()]
                # A size that the caller chooses is -1.
                fits = lambda: len(x.shape) == len(shape) and all(n in (m, -1) for m, n in zip(x.shape, shape))
                takes = x is not None and fits()
                given = x if takes else np.random.default_rng(0).standard_normal([2 if n == -1 else n for n in shape])
                out = await function({name: NDArray(np.array(given, dtype=sizes[2], order="C"))})
                found.append((takes, {k: np.array(v.numpy()) for k, v in out.items()}))
        return found

    return asyncio.run(values()), summary._compatibility_version if summary else None


def findings(asset, x, expect, atol, psnr=None, snr=None):
    """What is wrong with one asset. With `psnr` the output's peak, with `snr` the output must be as many decibels above its error."""
    functions, release = run(asset, x)
    if release != RELEASE:
        yield f"is for release {release}"
    if not functions:
        return
    if not all(np.isfinite(v).all() for _, outputs in functions for v in outputs.values()):
        yield "is not finite"
    if expect is None:
        return
    answers = [outputs for takes, outputs in functions if takes]
    if not answers:
        yield "takes no such input"
        return
    (y,) = list(answers[0].values())[:1]
    half = y.dtype == np.float16 or json.loads((asset / "metadata.json").read_text())["creatorDefinedMetadata"]["vitc.precision"] == "f16"
    bound = (1e-2 if half else 1e-5) * max(1.0, float(np.abs(expect).max())) if atol is None else atol
    if y.shape != expect.shape:
        yield f"has the shape {y.shape} instead of {expect.shape}"
    elif snr is not None:
        found = 10 * np.log10((expect.astype(np.float64) ** 2).sum() / max(((y.astype(np.float64) - expect) ** 2).sum(), 1e-300))
        print(f"{found:.1f} dB")
        if not found >= snr:
            yield f"lies {found:.1f} dB above its error instead of {snr}"
    else:
        error = float(np.abs(y.astype(np.float64) - expect).max()) if y.size else 0.0
        if not error <= bound:
            yield f"differs by {error:.2e} of {bound:.2e}"
        noise = float(np.sqrt(np.mean((y.astype(np.float64) - expect) ** 2))) if y.size else 0.0
        if psnr is not None and noise > 0:
            found = 20 * np.log10(float(np.abs(expect).max()) / noise)
            print(f"{found:.1f} dB")
            if found < psnr:
                yield f"lies {found:.1f} dB above its error instead of {psnr}"


def worker(assets):
    """Prints a line of JSON before and after each asset."""
    for asset in assets:
        print(json.dumps({"begin": asset}), flush=True)
        try:
            stem = asset[: -len(".aimodel")]
            x, expect = (np.load(f"{stem}.{part}.npy") for part in ("input", "expect"))
            found = list(findings(pathlib.Path(asset), x, expect, None))
        except Exception as e:  # the runtime's errors have no common class
            found = [f"{type(e).__name__}: {str(e)[:300]}"]
        print(json.dumps({"end": asset, "findings": found}), flush=True)


def folder(path):
    """All samples of a folder; the number of failures."""
    left = sorted(str(p) for p in path.glob("*.aimodel"))
    if not left:
        print(f"no assets in {path}")
        return 1
    total, failed = len(left), 0
    while left:
        child = subprocess.run([sys.executable, __file__, "--worker", *left], capture_output=True, text=True)
        begun = None
        for line in child.stdout.splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if "begin" in record:
                begun = record["begin"]
            elif "end" in record:
                left.remove(begun)
                begun = None
                failed += bool(record["findings"])
                for what in record["findings"]:
                    print(f"{pathlib.Path(record['end']).name}: {what}")
        if begun is None and left:
            print(f"the runtime did not start: {child.stderr[-400:]}")
            return failed + len(left)
        if begun is not None:
            left.remove(begun)
            failed += 1
            why = [line for line in child.stderr.splitlines() if "rror" in line]
            print(f"{pathlib.Path(begun).name}: ended the runtime ({child.returncode}): {(why or ['no message'])[0][:300]}")
    print(f"{total - failed} of {total} assets run in the vendor's runtime as the evaluator says")
    return failed


def main():
    if sys.argv[1:2] == ["--worker"]:
        return worker(sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("asset", type=pathlib.Path)
    parser.add_argument("--input", type=np.load)
    parser.add_argument("--expect", type=np.load)
    parser.add_argument("--atol", type=float)
    parser.add_argument("--psnr", type=float)
    parser.add_argument("--snr", type=float)
    options = parser.parse_args()
    if options.asset.suffix != ".aimodel":
        return 1 if folder(options.asset) else 0
    found = list(findings(options.asset, options.input, options.expect, options.atol, options.psnr, options.snr))
    print(*found, sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    status = main()
    # Everything was said; threads of the runtime that outlast the interpreter may end the process with another status.
    sys.stdout.flush()
    os._exit(status or 0)
