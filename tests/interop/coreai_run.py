"""The vendor's own reader, compiler and runtime over emitted Core AI assets.

    coreai_run.py ASSET --input x.npy --out y.npz
    coreai_run.py FOLDER      every NAME.aimodel in it, with NAME.input.npy and NAME.expect.npy beside it

Fails with exit code 1 and one line per finding. In a folder the first output must lie within 1e-5 of the array's largest magnitude (or of 1, if
that is more), within 1e-2 for a program that computes in fp16, whose products the runtime accumulates in fp16; and the vendor's summary must name
the release. The runtime ends its whole process at a wrong file, so assets run in processes of their own, one after the other as long as they last.
"""

import argparse
import asyncio
import json
import pathlib
import subprocess
import sys

import numpy as np

RELEASE = "27.0"


def run(asset, x):
    """The outputs of an asset's function `main` by name, and the release that its summary names."""
    import coreai.authoring  # noqa: F401  first: the modules import each other in a circle
    from coreai.authoring import AIModelAsset
    from coreai.runtime import NDArray

    asset = AIModelAsset.load(asset)
    program = asset.program
    program._module._mlir_module.operation.verify()
    summary = asset.summary(include_statistics=False)

    async def values():
        async with asset.executable() as model:
            function = model.load_function("main")
            (name,) = function.desc.input_names
            out = await function({name: NDArray(np.array(x, order="C"))})
            return {k: np.array(v.numpy()) for k, v in out.items()}

    return asyncio.run(values()), summary._compatibility_version if summary else None


def findings(asset):
    """What is wrong with one sample."""
    stem = str(asset)[: -len(".aimodel")]
    x, expect = np.load(stem + ".input.npy"), np.load(stem + ".expect.npy")
    outputs, release = run(asset, x)
    if release != RELEASE:
        yield f"is for release {release}"
    (y,) = list(outputs.values())[:1]
    half = asset.name.endswith("f16.aimodel")
    bound = (1e-2 if half else 1e-5) * max(1.0, float(np.abs(expect).max()))
    if y.shape != expect.shape:
        yield f"has the shape {y.shape} instead of {expect.shape}"
    else:
        error = float(np.abs(y.astype(np.float64) - expect).max()) if y.size else 0.0
        if not error <= bound:
            yield f"differs by {error:.2e} of {bound:.2e}"


def worker(assets):
    """Prints a line of JSON before and after each asset."""
    for asset in assets:
        print(json.dumps({"begin": asset}), flush=True)
        try:
            found = list(findings(pathlib.Path(asset)))
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
    parser.add_argument("--input", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--half", action="store_true", help="feed the input as fp16")
    options = parser.parse_args()
    if options.input is None:
        return 1 if folder(options.asset) else 0
    x = np.load(options.input)
    outputs, release = run(options.asset, x.astype(np.float16) if options.half else x)
    if release != RELEASE:
        print(f"is for release {release}")
        return 1
    np.savez(options.out, **outputs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
