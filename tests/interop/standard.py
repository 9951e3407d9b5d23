"""The ONNX standard's own node tests through `vitc export`: what is written must compute what the standard says, or not be written.

    python standard.py VITC FOLDER [onnx|coreml|coreai] [WORD]

Operands after the first become constants, as exporters write them; a test of one operand stays as it is. WORD keeps the tests that have it in their name.
What vitc wrote is run by ONNX Runtime with its optimiser off, by mil_run.py, or by coreai_run.py; the last two take tests of one float input and one
float output. Refusals are counted by exit code; the standard has operators for training, text and sequences.
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
LEAST = {"onnx": 1200, "coreml": 500, "coreai": 500}
ENDINGS = {"onnx": "onnx", "coreml": "mlpackage", "coreai": "aimodel"}


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
        if not inputs[0].size:  # a size of 0 stands for an open one in files that people have
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
    kinds = {"float": np.float32, "int32": np.int32, "int64": np.int64, "uint8": np.uint8, "int8": np.int8, "bool": np.bool_}
    feed = {name: np.ascontiguousarray(x.astype(kinds[types[name].removeprefix("tensor(").removesuffix(")")])) for name, x in feed.items() if name in types}
    return dict(zip([port.name for port in session.get_outputs()], session.run(None, feed)))


def export(vitc, case, target, out):
    """The exit code, and what was said if it is none that vitc may end with."""
    command = [vitc, "export", case[1], "--target", target, "--fp32", "-o", out] + (["--io", "fp32"] if target == "coreai" else [])
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.returncode, None if done.returncode in (0, 1, 2, 3) else done.stderr[-300:]


def judge(vitc, case):
    """How a case ended as an ONNX file, and what is wrong with it if something is."""
    _, path, feed, expected, rtol, atol = case
    out = path.with_suffix(".out.onnx")
    code, wrong = export(vitc, case, "onnx", out)
    if code:
        return f"exit {code}", wrong
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
        # What masks hold as infinite stands as the largest half, and numbers are added to it.
        hidden = np.isinf(want) & (np.sign(want) == np.sign(have)) & (np.abs(have) > 6e4)
        have = np.where(hidden, want, have)
        if not np.allclose(have, want, rtol=rtol, atol=atol, equal_nan=True):
            return "converted", f"{port}: off by {np.nanmax(np.abs(have - want)):.3g} of {np.nanmax(np.abs(want)):.3g}"
    return "converted", None


def sampled(vitc, case, target):
    """How a case ended as a sample in the folder of a reader that runs all of them."""
    name, path, feed, expected, _, _ = case
    out = path.parent / target / f"{name}.{ENDINGS[target]}"
    code, wrong = export(vitc, case, target, out)
    if code:
        return f"exit {code}", wrong
    for word, (value,) in (("input", feed.values()), ("expect", expected.values())):
        np.save(out.with_suffix(f".{word}.npy"), value.astype(np.float32))
    return "converted", None


def plain(case):
    """Whether a case has one float input and one float output, of full precision and finite."""
    arrays = [*case[2].values(), *case[3].values()]
    # The standard writes the numbers of some pools with four digits.
    exact = "starts_on_pad" not in case[0]
    return exact and len(arrays) == 2 and all(a.dtype in (np.float32, np.float64) and np.isfinite(a).all() for a in arrays)


def main():
    ort.set_default_logger_severity(4)
    vitc, folder = sys.argv[1], pathlib.Path(sys.argv[2]) / "standard"
    target, word = (sys.argv[3:] + ["onnx", ""][len(sys.argv) - 3:])[:2]
    (folder / target).mkdir(parents=True, exist_ok=True)
    ends, failed = collections.Counter(), []
    one = (lambda case: judge(vitc, case)) if target == "onnx" else (lambda case: sampled(vitc, case, target))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        every = [case for case in cases(folder, word) if target == "onnx" or plain(case)]
        for case, (end, wrong) in zip(every, pool.map(one, every)):
            ends[end] += 1
            if wrong:
                failed.append(f"{case[0]}: {wrong}")
    right = ends["converted"] - len(failed)
    print("\n".join(failed))
    print(f"{len(every)} tests of the ONNX standard for {target}: " + ", ".join(f"{n} {end}" for end, n in sorted(ends.items())))
    if not word and right < LEAST[target]:
        failed.append(f"only {right} are converted and right, where {LEAST[target]} were")
    if target != "onnx":
        reader = pathlib.Path(__file__).with_name({"coreml": "mil_run.py", "coreai": "coreai_run.py"}[target])
        if subprocess.run([sys.executable, reader, folder / target]).returncode:
            failed.append(f"{reader.name} has findings")
    print(f"{right} passed, {len(failed)} failed")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
