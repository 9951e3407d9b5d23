"""What the wheel costs: its size, the time to a first export, the API's overhead over the program, and the memory of a state dict.

    wheel.py WHEEL [PROGRAM]

WHEEL is what `tests/wheel/run` builds in target/wheel/dist; PROGRAM a static one, for its size. Makes a clean virtual environment; numpy comes from wherever
pip has it.
"""
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import venv
import zipfile

NAME = "efficientformerv2-s0"
RUNS = 9

# Weights of efficientformerv2-l, about 100 MB.
WEIGHTS = """
import pathlib, people, subprocess, sys
graph = subprocess.run([sys.argv[1], "ir", "efficientformerv2-l"], capture_output=True, text=True, check=True).stdout
people.save_safetensors(pathlib.Path(sys.argv[2]), people.weights(graph))
"""

# They as a state dict of arrays. Prints bytes of the dict and the growth of the process's peak during the export.
MEMORY = """
import resource, subprocess, sys, numpy, people, vitc
weights = people.weights(subprocess.run([sys.argv[1], "ir", "efficientformerv2-l"], capture_output=True, text=True, check=True).stdout)
size = sum(v.nbytes for v in weights.values())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
vitc.export(weights, sys.argv[2], target="onnx", check=False, force=True)
print(size, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""

# Median of whole exports without check, in milliseconds, in one process.
TIMES = """
import sys, time, statistics, warnings, vitc
warnings.simplefilter("ignore")
times = []
for _ in range(int(sys.argv[3])):
    start = time.perf_counter()
    vitc.export(sys.argv[1], sys.argv[2], target="onnx", check=False, force=True)
    times.append(time.perf_counter() - start)
print(1e3 * statistics.median(times))
"""


def main():
    wheel = pathlib.Path(sys.argv[1]).resolve()
    print(f"wheel {wheel.stat().st_size / 1e6:.2f} MB")
    for info in sorted(zipfile.ZipFile(wheel).infolist(), key=lambda i: -i.compress_size)[:3]:
        print(f"  {info.filename} {info.file_size / 1e6:.2f} MB, compressed {info.compress_size / 1e6:.2f} MB")
    if len(sys.argv) > 2:
        print(f"program {pathlib.Path(sys.argv[2]).stat().st_size / 1e6:.2f} MB")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        venv.create(folder / "venv", with_pip=True)
        python, program = folder / "venv/bin/python", folder / "venv/bin/vitc"
        subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "numpy"], check=True)
        start = time.perf_counter()
        subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", wheel], check=True)
        first = f"import vitc; vitc.export({NAME!r}, {str(folder / 'first.onnx')!r}, target='onnx')"
        subprocess.run([python, "-W", "ignore", "-c", first], check=True)
        print(f"from installing the wheel to the first checked export: {time.perf_counter() - start:.1f} s (10 asked; numpy was there)")

        environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parent.parent / "wheel")}
        weights = folder / "weights.safetensors"
        subprocess.run([python, "-c", WEIGHTS, program, weights], check=True, env=environment)
        times = []
        for _ in range(RUNS):
            start = time.perf_counter()
            subprocess.run([program, "export", "--weights", weights, "--target", "onnx", "--no-check", "--force", "-q", "-o", folder / "a.onnx"], check=True)
            times.append(1e3 * (time.perf_counter() - start))
        start = time.perf_counter()
        subprocess.run([program, "--version"], capture_output=True, check=True)
        launch = 1e3 * (time.perf_counter() - start)
        api = subprocess.run([python, "-c", TIMES, weights, folder / "b.onnx", str(RUNS)], capture_output=True, text=True, check=True)
        print(f"export of {weights.stat().st_size / 1e6:.0f} MB without check: program {statistics.median(times):.0f} ms of which {launch:.0f} are Python's launch, API {float(api.stdout):.0f} ms")
        said = subprocess.run([python, "-W", "ignore", "-c", MEMORY, program, folder / "c.onnx"], capture_output=True, text=True, env=environment)
        size, grown = map(int, said.stdout.split())
        print(f"peak memory of exporting a state dict of {size / 1e6:.0f} MB: {grown / 2**20:.0f} MiB above the dict")


if __name__ == "__main__":
    main()
