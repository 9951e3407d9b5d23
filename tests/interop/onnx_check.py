"""Foreign readers over an emitted ONNX file: onnx.checker, strict shape inference, ONNX Runtime.

    onnx_check.py FILE [--input x.npy] [--expect y.npy] [--atol A]
    onnx_check.py FOLDER      every NAME.onnx in it, with NAME.input.npy and NAME.expect.npy where they lie beside it

Fails with exit code 1 and one line per finding. With --expect the first output must lie within --atol of the array; the default is
1e-5 of its largest magnitude (or of 1, if that is more), 2e-3 for a file that computes in f16. Without --input seeded noise is fed, and a
symbolic batch is tried at 1 and 3.
"""

import argparse
import pathlib
import sys
from collections import Counter

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto

NUMPY = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16, TensorProto.INT64: np.int64}


def typed(info):
    """True if a value's element type is known, and each dimension as a number or a name."""
    tensor = info.type.tensor_type
    return tensor.elem_type != 0 and tensor.HasField("shape") and all(
        d.HasField("dim_value") or d.dim_param for d in tensor.shape.dim)


def structure(path):
    """Findings about the file itself."""
    try:
        onnx.checker.check_model(path, full_check=True)
        model = onnx.load(path)
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except Exception as error:  # every kind of refusal is a finding
        return [f"onnx: {error}"]
    graph = model.graph
    findings = []
    names = Counter(node.name for node in graph.node)
    findings += [f"{n} nodes are named {name!r}" for name, n in names.items() if n > 1 or not name]

    known = {info.name for info in [*graph.value_info, *graph.output] if typed(info)}
    produced = [name for node in graph.node for name in node.output]
    findings += [f"{name} has no complete type" for name in produced if name not in known]

    read = {name for node in graph.node for name in node.input} | {info.name for info in graph.output}
    contents = {}
    for tensor in graph.initializer:
        if tensor.name not in read:
            findings.append(f"nothing reads the initializer {tensor.name}")
        key = (tensor.data_type, tuple(tensor.dims), onnx.numpy_helper.to_array(tensor).tobytes())
        if contents.setdefault(key, tensor.name) != tensor.name:
            findings.append(f"initializer {tensor.name} repeats {contents[key]}")
    return findings


def feeds(model, path, batch):
    """One array per input."""
    noise = np.random.default_rng(0)
    constants = {tensor.name for tensor in model.graph.initializer}
    arrays = {}
    for info in model.graph.input:
        if info.name in constants:
            continue
        tensor = info.type.tensor_type
        shape = [d.dim_value if d.HasField("dim_value") else batch for d in tensor.shape.dim]
        array = np.load(path) if path and not arrays else noise.standard_normal(shape)
        arrays[info.name] = array.astype(NUMPY[tensor.elem_type])
    return arrays


def loses(path, given, expect, snr):
    """Findings about a quantised file: as its pairs mean it, and half as many decibels in whatever kernels this processor has for them."""
    wanted, found = np.load(expect).astype(np.float64), []
    for level, least in ((onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL, snr), (onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL, snr / 2)):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level, options.log_severity_level = level, 3
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        noise = ((session.run(None, feeds(onnx.load(path), given, 1))[0] - wanted) ** 2).sum()
        decibels = 10 * np.log10((wanted**2).sum() / max(noise, 1e-300))
        print(f"{decibels:.1f} dB")
        if not decibels >= least:
            found.append(f"lies {decibels:.1f} dB above its error instead of {least}")
    return found


def run(path, given, expect, atol):
    """Findings of ONNX Runtime."""
    model = onnx.load(path, load_external_data=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    findings = []
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        symbolic = any(d.dim_param for info in model.graph.input for d in info.type.tensor_type.shape.dim)
        for batch in [1, 3] if symbolic and not given else [1]:
            results = session.run(None, feeds(model, given, batch))
            for info, result in zip(session.get_outputs(), results):
                if not np.isfinite(result).all():
                    findings.append(f"{info.name} is not finite at batch {batch}")
                declared = [d if isinstance(d, int) else None for d in info.shape]
                if len(declared) != result.ndim or any(d not in (None, n) for d, n in zip(declared, result.shape)):
                    findings.append(f"{info.name} has shape {result.shape}, declared {info.shape}")
    except Exception as error:  # every kind of refusal is a finding
        return [f"ONNX Runtime: {error}"]
    if expect:
        wanted = np.load(expect)
        if wanted.shape != results[0].shape:
            return findings + [f"result has shape {results[0].shape}, expected {wanted.shape}"]
        if atol is None:
            half = any(info.type.tensor_type.elem_type == TensorProto.FLOAT16 for info in model.graph.value_info)
            atol = (2e-3 if half else 1e-5) * max(1.0, float(np.abs(wanted).max()))
        error = float(np.abs(results[0].astype(np.float64) - wanted).max())
        if not error <= atol:
            findings.append(f"result differs by {error:.3e}, allowed {atol:.1e}")
    return findings


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=pathlib.Path, help="an ONNX file, or a folder of them")
    parser.add_argument("--input", help="array for the first input")
    parser.add_argument("--expect", help="array that the first output must equal")
    parser.add_argument("--atol", type=float, help="allowed difference")
    parser.add_argument("--snr", type=float, help="decibels that the expected array lies above the error, of a quantised file")
    args = parser.parse_args()
    if args.file.is_dir():
        def beside(file, suffix):
            array = file.with_suffix(suffix)
            return str(array) if array.exists() else None
        files = sorted(args.file.glob("*.onnx"))
        cases = [(str(f), beside(f, ".input.npy"), beside(f, ".expect.npy")) for f in files]
    else:
        cases = [(str(args.file), args.input, args.expect)]
    count = 0
    for path, given, expect in cases:
        judged = run(path, given, None, None) + loses(path, given, expect, args.snr) if args.snr else run(path, given, expect, args.atol)
        for finding in structure(path) or judged:
            count += 1
            print(f"{path}: {finding}")
    print(f"{len(cases)} files, {count} findings")
    sys.exit(1 if count or not cases else 0)


if __name__ == "__main__":
    main()
