"""The ONNX standard's own node tests through `vitc export`: what is written must compute what the standard says, or not be written.

    python standard.py VITC FOLDER [WORD]

Operands after the first become constants, as exporters write them; a test of one operand stays as it is. WORD keeps the tests that have it in their name.
ONNX Runtime runs what vitc wrote, with its optimiser off. Refusals are counted by exit code; the standard has operators for training, text and sequences.
"""

import collections
import concurrent.futures
import os
import pathlib
import subprocess
import sys
import warnings

warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime as ort  # noqa: E402
from onnx import numpy_helper  # noqa: E402
from onnx.backend.test.case.node import collect_testcases  # noqa: E402

# So many tests are converted and right in onnx 1.23; fewer mean that something is refused that was not.
LEAST = 900


def arrays(values):
    """The values as arrays; None if one is a sequence or an optional."""
    made = []
    for value in values:
        if isinstance(value, onnx.TensorProto):
            value = numpy_helper.to_array(value)
        if not isinstance(value, (np.ndarray, np.generic, float, int, bool)):
            return None
        made.append(np.asarray(value))
    return made


def cases(folder, word):
    """Files in `folder`: name, path, the inputs that are left, and what the standard computes."""
    for test in collect_testcases(None):
        if word not in test.name or not test.data_sets or test.model is None:
            continue
        inputs, outputs = (arrays(side) for side in test.data_sets[0])
        names = [port.name for port in test.model.graph.input]
        if inputs is None or outputs is None or not inputs or len(names) != len(inputs):
            continue
        model = onnx.ModelProto()
        model.CopyFrom(test.model)
        rest = list(zip(names[1:], inputs[1:]))
        model.graph.initializer.extend(numpy_helper.from_array(np.ascontiguousarray(a), n) for n, a in rest)
        del model.graph.input[1:]
        path = folder / f"{test.name}.onnx"
        onnx.save(model, path)
        expected = dict(zip([port.name for port in model.graph.output], outputs))
        yield test.name, path, {names[0]: inputs[0]}, expected, max(test.rtol, 1e-3), max(test.atol, 1e-5)


def answers(path, feed):
    """What ONNX Runtime computes."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    types = {port.name: port.type for port in session.get_inputs()}
    kinds = {"tensor(float)": np.float32, "tensor(int32)": np.int32, "tensor(int64)": np.int64, "tensor(bool)": np.bool_}
    feed = {name: np.ascontiguousarray(x.astype(kinds[types[name]])) for name, x in feed.items() if name in types}
    return dict(zip([port.name for port in session.get_outputs()], session.run(None, feed)))


def judge(vitc, case):
    """How a case ended, and what is wrong with it if something is."""
    name, path, feed, expected, rtol, atol = case
    out = path.with_suffix(".out.onnx")
    command = [vitc, "export", path, "--target", "onnx", "--fp32", "-o", out]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode:
        known = done.returncode in (1, 2, 3)
        return f"exit {done.returncode}", None if known else done.stderr[-300:]
    try:
        got = answers(out, feed)
    except Exception as error:  # noqa: BLE001 (whatever it is, it is reported)
        return "converted", f"does not run: {error}"
    for port, want in expected.items():
        have = got.get(port)
        if have is None or have.shape != want.shape:
            return "converted", f"{port}: shape {None if have is None else have.shape}, not {want.shape}"
        if want.dtype.name == "bfloat16":  # the standard rounds each step; what vitc writes is finer
            rtol, atol = 1e-2, 1e-2
        have, want = have.astype(np.float64), want.astype(np.float64)
        if not np.allclose(have, want, rtol=rtol, atol=atol, equal_nan=True):
            return "converted", f"{port}: off by {np.nanmax(np.abs(have - want)):.3g} of {np.nanmax(np.abs(want)):.3g}"
    return "converted", None


def main():
    ort.set_default_logger_severity(4)
    vitc, folder = sys.argv[1], pathlib.Path(sys.argv[2]) / "standard"
    word = sys.argv[3] if len(sys.argv) > 3 else ""
    folder.mkdir(parents=True, exist_ok=True)
    ends, failed = collections.Counter(), []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        every = list(cases(folder, word))
        for case, (end, wrong) in zip(every, pool.map(lambda case: judge(vitc, case), every)):
            ends[end] += 1
            if wrong:
                failed.append(f"{case[0]}: {wrong}")
    right = ends["converted"] - len(failed)
    print("\n".join(failed))
    print(f"{len(every)} tests of the ONNX standard: " + ", ".join(f"{n} {end}" for end, n in sorted(ends.items())))
    if not word and right < LEAST:
        failed.append(f"only {right} are converted and right, where {LEAST} were")
    print(f"{right} passed, {len(failed)} failed")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
