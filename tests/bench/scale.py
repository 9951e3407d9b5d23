#!/usr/bin/env python3
"""Time, memory and disk of the largest exports, without check. Needs numpy and a built vitc.

    scale.py VITC [MODEL ...] [--folder DIR] [--runs 3] [--seeded]

For each MODEL (fastervit-4, fastervit-6) writes a safetensors checkpoint with random numbers to DIR (a temporary folder), and exports it to ONNX in fp32, to
CoreML and to Core AI in fp16; --seeded exports without a checkpoint, which also measures the generator. Minimum of the runs, which take turns with the copies, caches as
warm as memory allows. Copies and exports write to places that are free, because a file system may flush what replaces a file. A row says

    seconds, and how many copies (`cp`) of the checkpoint take as long      at most 3, and 0.05 s
    peak resident memory                 at most the checkpoint, whose mapped pages count, 64 MiB and four times the largest constant
    bytes written; an export that replaces files of its own name needs that much disk beside them

Seeded rows have no copy to compare with. Exit status 1 where a bound is missed; a MODEL for which the disk has no room is an error.
"""
import argparse
import pathlib
import shutil
import sys
import tempfile

import export

TARGETS = (("onnx", "--fp32", "onnx"), ("coreml", "--fp16", "mlpackage"), ("coreai", "--fp16", "aimodel"))
MIB = 2**20


def described(vitc, model):
    """Bytes of the weights of a model and of its largest one."""
    sizes = [4 * export.elements(shape) for shape in export.weights(export.paper(vitc, model)).values()]
    return sum(sizes), max(sizes)


def written(path):
    """Bytes of an artifact with its data files."""
    files = path.rglob("*") if path.is_dir() else path.parent.glob(f"{path.stem}*")
    return sum(f.stat().st_size for f in files if f.is_file())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vitc")
    parser.add_argument("models", nargs="*", metavar="MODEL", default=["fastervit-4", "fastervit-6"])
    parser.add_argument("--folder", type=pathlib.Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seeded", action="store_true")
    args = parser.parse_args()
    missed = False
    for model in args.models:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            missed |= measure(args, model, pathlib.Path(folder))
    sys.exit(missed)


def remove(path):
    """An artifact with its data files, or nothing."""
    if path.is_dir():
        shutil.rmtree(path)
    for file in path.parent.glob(f"{path.stem}*"):
        file.unlink()


def measure(args, model, folder):
    size, largest = described(args.vitc, model)
    free, needed = shutil.disk_usage(folder).free, (1 if args.seeded else 2) * size
    if free < needed:
        sys.exit(f"{model} needs {needed / 1e9:.1f} GB in {folder}, and {free / 1e9:.1f} GB are free: choose another --folder")
    source, copies = [], []
    if not args.seeded:
        path = folder / "weights.safetensors"
        export.checkpoint(args.vitc, model, path)
        source, size = ["--weights", str(path)], path.stat().st_size
    rows = {}
    for _ in range(args.runs):
        if not args.seeded:
            copies.append(export.run(["cp", str(path), str(folder / "copy")])[0])
            (folder / "copy").unlink()
        for target, precision, suffix in TARGETS:
            place = folder / f"artifact.{suffix}"
            command = [args.vitc, "export", model, *source, "--target", target, precision, "--no-check", "-q", "-o", str(place)]
            rows.setdefault(target, []).append((*export.run(command), written(place)))
            remove(place)
    copied = min(copies, default=None)
    print(f"{model}, {'seeded' if args.seeded else f'checkpoint {size / 1e9:.2f} GB, cp {copied:.2f} s'}, largest weight {largest / MIB:.0f} MiB")
    missed = False
    for target, runs in rows.items():
        seconds, memory, bytes_written = min(s for s, _, _ in runs), max(m for _, m, _ in runs), runs[0][2]
        bound = (0 if args.seeded else size) + 64 * MIB + 4 * largest
        late = copied is not None and seconds > 3 * copied + 0.05
        ratio = "" if copied is None else f" = {seconds / copied:.2f} copies{' MISSED' if late else ''}"
        large = memory > bound
        print(f"  {target:7} {seconds:7.2f} s{ratio}, peak memory {memory / MIB:.0f} MiB of {bound / MIB:.0f}{' MISSED' if large else ''}, "
              f"writes {bytes_written / 1e9:.2f} GB", flush=True)
        missed |= late or large
    return missed


if __name__ == "__main__":
    main()
