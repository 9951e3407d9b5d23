"""Packages as coremltools writes them, one operation each, through vitc into ONNX.

    packages.py VITC FOLDER

Each row builds a program with coremltools' own builder, saves it as a package, exports that to ONNX with its check and runs the file in ONNX Runtime: the
answer must be what numpy computes by the operation's documentation. One line per row; the last one counts them.
"""
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import onnxruntime

with open(os.devnull, "w") as devnull:  # off macOS, importing coremltools complains about its own native parts
    stderr, keep = sys.stderr.fileno(), os.dup(sys.stderr.fileno())
    os.dup2(devnull.fileno(), stderr)
    import coremltools
    from coremltools.converters.mil import Builder as mb
    os.dup2(keep, stderr)

MAP = (1, 6, 8, 8)
RNG = np.random.default_rng(5)
W = RNG.standard_normal((4, 6, 3, 3)).astype(np.float32)
C = [RNG.uniform(0.5, 1.5, 6).astype(np.float32) for _ in range(4)]


def windows(x, k, s):
    views = np.lib.stride_tricks.sliding_window_view(x, (k, k), (2, 3))
    return views[:, :, ::s, ::s]


def conv(x, w, pad=(0, 0, 0, 0), s=1):
    x = np.pad(x, [(0, 0), (0, 0), (pad[0], pad[1]), (pad[2], pad[3])])
    return np.einsum("bchwuv,ocuv->bohw", windows(x, w.shape[2], s), w)


def normal(x, axes, eps):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def per_channel(v):
    return v.reshape(1, -1, 1, 1)


def shuffled(x, r):
    b, c, h, w = x.shape
    return x.reshape(b, c, h // r, r, w // r, r).transpose(0, 1, 3, 5, 2, 4).reshape(b, c * r * r, h // r, w // r)


ROWS = {
    "conv_defaults": (lambda x: mb.conv(x=x, weight=W), lambda x: conv(x, W)),
    "conv_same": (lambda x: mb.conv(x=x, weight=W, pad_type="same", strides=[2, 2]), lambda x: conv(x, W, (0, 1, 0, 1), 2)),
    "avg_pool_counts": (lambda x: mb.avg_pool(x=x, kernel_sizes=[3, 3], strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1]),
                        lambda x: windows(np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)]), 3, 2).mean((-1, -2))),
    "max_pool_defaults": (lambda x: mb.max_pool(x=x, kernel_sizes=[2, 2], pad_type="valid"), lambda x: windows(x, 2, 1).max((-1, -2))),
    "batch_norm": (lambda x: mb.batch_norm(x=x, mean=C[0], variance=C[1], gamma=C[2], beta=C[3]),
                   lambda x: (x - per_channel(C[0])) / np.sqrt(per_channel(C[1]) + 1e-5) * per_channel(C[2]) + per_channel(C[3])),
    "instance_norm": (lambda x: mb.instance_norm(x=x, gamma=C[2], beta=C[3]),
                      lambda x: normal(x, (2, 3), 1e-5) * per_channel(C[2]) + per_channel(C[3])),
    "layer_norm_plain": (lambda x: mb.layer_norm(x=x, axes=[1, 2, 3]), lambda x: normal(x, (1, 2, 3), 1e-5)),
    "rsqrt": (lambda x: mb.rsqrt(x=mb.square(x=x), epsilon=0.01), lambda x: 1 / np.sqrt(x * x + 0.01)),
    "inverse": (lambda x: mb.inverse(x=mb.square(x=x), epsilon=0.1), lambda x: 1 / (x * x + 0.1)),
    "log": (lambda x: mb.log(x=mb.square(x=x), epsilon=0.5), lambda x: np.log(x * x + 0.5)),
    "relu6": (lambda x: mb.relu6(x=x), lambda x: np.clip(x, 0, 6)),
    "threshold": (lambda x: mb.threshold(x=x, alpha=0.3), lambda x: np.maximum(x, 0.3)),
    "linear_activation": (lambda x: mb.linear_activation(x=x, alpha=0.3, beta=-2.0), lambda x: 0.3 * x - 2),
    "softsign": (lambda x: mb.softsign(x=x), lambda x: x / (1 + np.abs(x))),
    "gelu_sigmoid": (lambda x: mb.gelu(x=x, mode="SIGMOID_APPROXIMATION"), lambda x: x / (1 + np.exp(-1.702 * x))),
    "expand_and_squeeze": (lambda x: mb.squeeze(x=mb.expand_dims(x=mb.relu(x=x), axes=[2]), axes=[0]), lambda x: np.maximum(x, 0)[0][:, None]),
    "reshape_open": (lambda x: mb.reshape(x=x, shape=[0, -1, 4]), lambda x: x.reshape(1, -1, 4)),
    "stack": (lambda x: mb.stack(values=[x, mb.relu(x=x)], axis=1), lambda x: np.stack([x, np.maximum(x, 0)], 1)),
    "split_equal": (lambda x: mb.add(x=mb.split(x=x, num_splits=2, axis=1)[0], y=mb.split(x=x, num_splits=2, axis=1)[1]), lambda x: x[:, :3] + x[:, 3:]),
    "slice_negative": (lambda x: mb.slice_by_index(x=x, begin=[0, 1, -3, 0], end=[1, 5, -1, 0], end_mask=[False, False, False, True]), lambda x: x[:, 1:5, -3:-1]),
    "slice_squeeze": (lambda x: mb.slice_by_index(x=x, begin=[0, 2, 0, 0], end=[0, 3, 8, 8], stride=[1, 1, 2, 1], end_mask=[True, False, False, False],
                                                  squeeze_mask=[False, True, False, False]), lambda x: x[:, 2, ::2]),
    "slice_by_size": (lambda x: mb.slice_by_size(x=x, begin=[0, 1, 2, 0], size=[-1, 3, 4, -1]), lambda x: x[:, 1:4, 2:6]),
    "reduce_all": (lambda x: mb.reduce_sum_square(x=x, axes=[2, 3]), lambda x: (x * x).sum((2, 3))),
    "reduce_l2": (lambda x: mb.reduce_l2_norm(x=x, axes=[-1], keep_dims=True), lambda x: np.sqrt((x * x).sum(-1, keepdims=True))),
    "reduce_log_sum_exp": (lambda x: mb.reduce_log_sum_exp(x=x, axes=[1], keep_dims=True), lambda x: np.log(np.exp(x).sum(1, keepdims=True))),
    "pixel_unshuffle": (lambda x: mb.pixel_unshuffle(x=x, downscale_factor=np.uint32(2)), lambda x: shuffled(x, 2)),
    "softmax_default": (lambda x: mb.softmax(x=x), lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)),
}


def findings(vitc, folder, name, build, answer):
    package, artifact = folder / f"{name}.mlpackage", folder / f"{name}.onnx"
    target = coremltools.target.iOS16 if name == "pixel_unshuffle" else coremltools.target.iOS15
    program = mb.program(input_specs=[mb.TensorSpec(shape=MAP)], opset_version=target)(lambda x: build(x))
    half = name in ("softmax_default", "conv_defaults")
    precision = coremltools.precision.FLOAT16 if half else coremltools.precision.FLOAT32
    shutil.rmtree(package, ignore_errors=True)
    model = coremltools.convert(program, convert_to="mlprogram", minimum_deployment_target=target, compute_precision=precision, skip_model_load=True)
    model.save(str(package))
    done = subprocess.run([vitc, "export", str(package), "--target", "onnx", "--fp32", "--force", "-q", "-o", str(artifact)], capture_output=True, text=True)
    if done.returncode != 0:
        return [done.stderr.strip()]
    x = RNG.standard_normal(MAP).astype(np.float32)
    session = onnxruntime.InferenceSession(str(artifact), providers=["CPUExecutionProvider"])
    found, wanted = session.run(None, {session.get_inputs()[0].name: x})[0], answer(x)
    error = np.abs(found - wanted).max() if found.shape == wanted.shape else np.inf
    return [] if error <= (2e-3 if half else 1e-4) * max(1, np.abs(wanted).max()) else [f"differs by {error}, {found.shape} for {wanted.shape}"]


def main():
    vitc, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name, (build, answer) in ROWS.items():
        wrong = findings(vitc, folder, name, build, answer)
        failed += bool(wrong)
        print("FAILED" if wrong else "ok", f" {name}", *wrong, sep="\n    " if wrong else "")
    print(f"{len(ROWS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
