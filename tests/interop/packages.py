"""Packages as coremltools writes them, one operation each, through vitc into ONNX.

    packages.py VITC FOLDER

Each row builds a program with coremltools' own builder, saves it as a package, exports that to ONNX with its check and runs the file in ONNX Runtime: the
answer must be what numpy computes by the operation's documentation. Then every input that says what coremltools' definition of the operation takes where it is
left out is taken out of the package, and the answer must stay: both sides' defaults are compared that way. One line per row; the last one counts them.
"""
import math
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
    from coremltools.converters.mil.mil import types
    import coremltools.optimize.coreml as compress
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry
    os.dup2(keep, stderr)

MAP = (1, 6, 8, 8)
RNG = np.random.default_rng(5)
W = RNG.standard_normal((4, 6, 3, 3)).astype(np.float32)
C = [RNG.uniform(0.5, 1.5, 6).astype(np.float32) for _ in range(4)]


C4 = RNG.standard_normal((8, 5)).astype(np.float32)


def corners(n, m):
    return np.arange(m) * (n - 1) / (m - 1)


def centres(n, m):
    return np.clip((np.arange(m) + 0.5) * n / m - 0.5, 0, n - 1)


def sampled(x, axis, at):
    low = np.floor(at).astype(int)
    high, share = np.minimum(low + 1, x.shape[axis] - 1), (at - low).reshape([-1 if i == axis else 1 for i in range(4)])
    return (x.take(low, axis) * (1 - share) + x.take(high, axis) * share).astype(np.float32)


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
    "reshape_open": (lambda x: mb.reshape(x=x, shape=[1, -1, 4]), lambda x: x.reshape(1, -1, 4)),
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
    "conv_transpose": (lambda x: mb.conv_transpose(x=x, weight=W.transpose(1, 0, 2, 3)), lambda x: conv(np.pad(x, [(0, 0), (0, 0), (2, 2), (2, 2)]), W[:, :, ::-1, ::-1])),
    "matmul": (lambda x: mb.matmul(x=x, y=C4), lambda x: x @ C4),
    "concat": (lambda x: mb.concat(values=[x, mb.relu(x=x)], axis=1), lambda x: np.concatenate([x, np.maximum(x, 0)], 1)),
    "pad": (lambda x: mb.pad(x=x, pad=[1, 0, 0, 2]), lambda x: np.pad(x, [(0, 0), (0, 0), (1, 0), (0, 2)])),
    "gelu": (lambda x: mb.gelu(x=x), lambda x: x / 2 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))),
    "gather": (lambda x: mb.gather(x=mb.squeeze(x=x, axes=[0]), indices=[4, 0, 4]), lambda x: x[0][[4, 0, 4]]),
    "top_k": (lambda x: mb.topk(x=x)[0], lambda x: x.max(-1, keepdims=True)),
    "argmax": (lambda x: mb.cast(x=mb.reduce_argmax(x=x), dtype="fp32"), lambda x: x.argmax(-1)),
    "upsample_nearest": (lambda x: mb.upsample_nearest_neighbor(x=x, scale_factor_height=2.0), lambda x: x.repeat(2, 2)),
    "upsample_corners": (lambda x: mb.upsample_bilinear(x=x, scale_factor_height=2.0, scale_factor_width=3.0), lambda x: sampled(sampled(x, 2, corners(8, 16)), 3, corners(8, 24))),
    "upsample_centres": (lambda x: mb.upsample_bilinear(x=x, scale_factor_height=2.0, scale_factor_width=3.0, align_corners=False),
                         lambda x: sampled(sampled(x, 2, centres(8, 16)), 3, centres(8, 24))),
    "resize_default": (lambda x: mb.resize_bilinear(x=x, target_size_height=12, target_size_width=6), lambda x: sampled(sampled(x, 2, np.arange(12) * 8 / 12), 3, np.arange(6) * 8 / 6)),
    "softmax_default": (lambda x: mb.softmax(x=x), lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)),
}


def palettes(bits, **more):
    return compress.palettize_weights, compress.OpPalettizerConfig(mode="uniform", nbits=bits, weight_threshold=1, **more)


def steps(dtype="int8", mode="linear_symmetric", **more):
    return compress.linear_quantize_weights, compress.OpLinearQuantizerConfig(mode=mode, dtype=dtype, weight_threshold=1, **more)


def pruned(target):
    return compress.prune_weights, compress.OpMagnitudePrunerConfig(target_sparsity=target, weight_threshold=1)


GROUPS, BLOCKS = dict(granularity="per_grouped_channel", group_size=4), dict(granularity="per_block", block_size=4)
# What coremltools' own compressor makes of a package, before iOS 18 and from there on.
COMPRESSED = {
    "palettes_1": (palettes(1), 16), "palettes_4": (palettes(4), 16), "palettes_6": (palettes(6), 16), "palettes_8": (palettes(8), 16),
    "palettes_3_groups": (palettes(3, **GROUPS), 18), "palettes_4_scales": (palettes(4, enable_per_channel_scale=True), 18),
    "steps": (steps(), 16), "steps_shifted": (steps(mode="linear"), 16), "steps_unsigned": (steps("uint8"), 16),
    "steps_int4_blocks": (steps("int4", **BLOCKS), 18), "steps_uint4_blocks": (steps("uint4", **BLOCKS), 18), "steps_int8_blocks": (steps(**BLOCKS), 18),
    "pruned": (pruned(0.5), 16), "pruned_18": (pruned(0.7), 18),
}


def compressed(vitc, folder, name, form, release):
    """A compressed package answers as the one that coremltools decompresses."""
    target = getattr(coremltools.target, f"iOS{release}")
    w, v = RNG.standard_normal((8, 16, 3, 3)).astype(np.float32), RNG.standard_normal((24, 64)).astype(np.float32)
    program = mb.program(input_specs=[mb.TensorSpec(shape=(1, 16, 10, 10))], opset_version=target)(lambda x: mb.linear(x=mb.reshape(x=mb.conv(x=x, weight=w), shape=[1, 8, 64]), weight=v))
    model = coremltools.convert(program, convert_to="mlprogram", minimum_deployment_target=target, compute_precision=coremltools.precision.FLOAT32, skip_model_load=True)
    squeeze, config = form
    small = squeeze(model, compress.OptimizationConfig(global_config=config))
    answers = []
    x = RNG.standard_normal((1, 16, 10, 10)).astype(np.float32)
    for key, one in ((name, small), (f"{name}_plain", compress.decompress_weights(small))):
        package = folder / f"{key}.mlpackage"
        shutil.rmtree(package, ignore_errors=True)
        one.save(str(package))
        done = subprocess.run([vitc, "export", str(package), "--target", "onnx", "--fp32", "--force", "-o", str(package.with_suffix(".onnx"))], capture_output=True, text=True)
        if done.returncode != 0:
            return [done.stderr.strip()]
        if key == name and "compressed constants" not in done.stderr:
            return ["is not said to be compressed"]
        session = onnxruntime.InferenceSession(str(package.with_suffix(".onnx")), providers=["CPUExecutionProvider"])
        answers.append(session.run(None, {session.get_inputs()[0].name: x})[0])
    error = np.abs(answers[0] - answers[1]).max()
    return [] if error <= 1e-4 * np.abs(answers[1]).max() else [f"differs by {error} of {np.abs(answers[1]).max()}"]


TARGETS = {"pixel_unshuffle": coremltools.target.iOS16, "gather": coremltools.target.iOS16, "top_k": coremltools.target.iOS16}


def defaults(kind):
    """What coremltools takes for inputs of an operation that are left out."""
    class Operand:
        rank, dtype = 4, types.fp32

    classes = SSAOpRegistry.core_ops[kind]
    operation = object.__new__(classes[min(classes)])
    operation.x, operation.y, operation.weight = Operand(), Operand(), np.zeros((1, 1))
    return dict(type(operation).default_inputs(operation).items())


def number(operation):
    """The value of a constant that stands in place."""
    tensor = operation.attributes["val"].immediateValue.tensor
    kind = tensor.WhichOneof("value")
    if kind == "bytes":
        values = np.frombuffer(tensor.bytes.values, np.float16).tolist()
    else:
        values = list(getattr(tensor, kind).values) if kind else []
    return values[0] if len(values) == 1 and not operation.outputs[0].type.tensorType.rank else values


def strip(package):
    """Take out what says the default; what was taken out, as pairs of operation and input."""
    path = package / "Data" / "com.apple.CoreML" / "model.mlmodel"
    spec = coremltools.proto.Model_pb2.Model()
    spec.ParseFromString(path.read_bytes())
    (block,) = spec.mlProgram.functions["main"].block_specializations.values()
    constants = {o.outputs[0].name: number(o) for o in block.operations if o.type == "const"}
    taken = set()
    for operation in block.operations:
        if operation.type in ("const", "cast", "identity"):
            continue
        for name, usual in defaults(operation.type).items():
            bound = operation.inputs[name].arguments[0].name if name in operation.inputs else None
            usual = list(usual) if isinstance(usual, (list, range)) else usual
            same = constants.get(bound) == usual or isinstance(usual, (float, np.floating)) and np.isclose(constants.get(bound, np.nan), float(usual), rtol=1e-3, atol=0)
            if bound is not None and usual is not None and same:
                del operation.inputs[name]
                taken.add((operation.type, name))
    path.write_bytes(spec.SerializeToString())
    return taken


def answered(vitc, package, wanted, x, tolerance):
    artifact = package.with_suffix(".onnx")
    done = subprocess.run([vitc, "export", str(package), "--target", "onnx", "--fp32", "--force", "-q", "-o", str(artifact)], capture_output=True, text=True)
    if done.returncode != 0:
        return [done.stderr.strip()]
    session = onnxruntime.InferenceSession(str(artifact), providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: x})[0]
    error = np.abs(found - wanted).max() if found.shape == wanted.shape else np.inf
    return [] if error <= tolerance * max(1, np.abs(wanted).max()) else [f"differs by {error}, {found.shape} for {wanted.shape}"]


def findings(vitc, folder, name, build, answer, taken):
    package = folder / f"{name}.mlpackage"
    program = mb.program(input_specs=[mb.TensorSpec(shape=MAP)], opset_version=TARGETS.get(name, coremltools.target.iOS15))(lambda x: build(x))
    half = name in ("softmax_default", "conv_defaults")
    precision = coremltools.precision.FLOAT16 if half else coremltools.precision.FLOAT32
    shutil.rmtree(package, ignore_errors=True)
    target = TARGETS.get(name, coremltools.target.iOS15)
    model = coremltools.convert(program, convert_to="mlprogram", minimum_deployment_target=target, compute_precision=precision, skip_model_load=True)
    model.save(str(package))
    x, tolerance = RNG.standard_normal(MAP).astype(np.float32), 2e-3 if half else 1e-4
    wrong = answered(vitc, package, answer(x), x, tolerance)
    bare = strip(package)
    taken |= bare
    return wrong or ([f"without {sorted(bare)}: {what}" for what in answered(vitc, package, answer(x), x, tolerance)] if bare else [])


def main():
    vitc, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    failed, taken = 0, set()
    for name, (build, answer) in ROWS.items():
        wrong = findings(vitc, folder, name, build, answer, taken)
        failed += bool(wrong)
        print("FAILED" if wrong else "ok", f" {name}", *wrong, sep="\n    " if wrong else "")
    for name, (form, release) in COMPRESSED.items():
        wrong = compressed(vitc, folder, name, form, release)
        failed += bool(wrong)
        print("FAILED" if wrong else "ok", f" {name}", *wrong, sep="\n    " if wrong else "")
    print(f"{len(ROWS) + len(COMPRESSED) - failed} passed, {failed} failed; left out: {len(taken)} inputs of {len({kind for kind, _ in taken})} operations")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
