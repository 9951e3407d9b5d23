"""Every variant of every family, exported with its check, and read by programs that are not ours.

    variants.py VITC FOLDER [PREFIX ...]

VITC is the binary, FOLDER takes what is written, PREFIX picks models by the start of their names. A row is a model in one form: its largest error as a fraction
of the largest value that it is compared with, the share that this is of the allowed error, seconds and peak memory of the export with its check. Models
of many multiply-accumulates are checked in part (--check quick) and skip the foreign readers. Last comes the largest error of each family and
precision, over the rows checked whole: the basis of src/check/bounds.rs.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import time
import traceback

import interop
import table

# Multiply-accumulates beyond which a check would take more than three minutes, and beyond which the interpreters of the foreign readers would.
QUICK, UNREAD = 150e9, 12e9


def run(command):
    """Parsed stdout, seconds and peak MiB of a process."""
    start = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    text = child.stdout.read()
    _, _, usage = os.wait4(child.pid, 0)
    child.stdout.close()
    return json.loads(text), time.monotonic() - start, usage.ru_maxrss / 1024


def row(vitc, model, family, macs, form, folder, largest):
    """Findings and the row's text; keeps the family's largest error."""
    target, options, suffix = form
    path = folder / f"variant{suffix}"
    effort = "quick" if macs > QUICK else "full"
    command = [vitc, "export", model, "--target", target, *options, "--check", effort, "--force", "--json", "-o", str(path)]
    result, seconds, memory = run(command)
    check = result.get("check")
    if not check:
        return [json.dumps(result.get("error", result))], f"{seconds:6.1f} s"
    # Figures that are not finite are words.
    runs = [{k: float(r[k]) for k in ("max_error", "max_reference", "allowed")} for r in check["runs"] if r["max_reference"]]
    error = max(r["max_error"] / r["max_reference"] for r in runs)
    share = max(r["max_error"] / r["allowed"] for r in runs)
    if effort == "full":
        key = (family, check["precision"])
        largest[key] = max(largest.get(key, (0.0, 0.0, "")), (error, share, model))
    findings = [] if result["ok"] else [json.dumps(r) for r in check["runs"] if not r["passed"]]
    if not findings and macs <= UNREAD:
        findings = interop.read(path) or (interop.engine(path) if target == "tensorrt-onnx" else [])
    return findings, f"error {error:.1e}  share {share:5.3f}  {seconds:6.1f} s  {memory:6.0f} MiB  {effort} {' '.join(check['notes'])}"


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("vitc")
    args.add_argument("folder", type=pathlib.Path)
    args.add_argument("prefixes", nargs="*", default=[""])
    a = args.parse_args()
    a.folder.mkdir(parents=True, exist_ok=True)
    models = {m["model"]: m["code"].split()[0] for m in run([a.vitc, "list", "--json"])[0]["models"]}
    rows, largest = interop.Rows(), {}
    for model in [m for m in models if m.startswith(tuple(a.prefixes))]:
        macs = run([a.vitc, "inspect", model, "--json"])[0]["macs"]
        for form in table.CHECKED:
            label = f"{model:24} {form[0]:13} {form[1][0]}"
            try:
                findings, text = row(a.vitc, model, models[model], macs, form, a.folder, largest)
            except Exception:  # a row that breaks is a row that fails
                findings, text = [traceback.format_exc()], ""
            rows.count(f"{label}  {text}", findings)
    for (family, precision), (error, share, model) in sorted(largest.items()):
        print(f"{family:28} {precision}  largest error {error:.1e} of the largest value, {share:.3f} of the allowed, in {model}")
    print(f"variants: {rows.passed} passed, {rows.failed} failed")
    sys.exit(1 if rows.failed else 0)


if __name__ == "__main__":
    main()
