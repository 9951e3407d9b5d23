"""A foreign reader over an emitted CoreML package: coremltools loads and type-checks the program, numpy runs it.

    mil_run.py PACKAGE [--input x.npy] [--expect y.npy] [--atol A] [--dtype fp32|fp16]
    mil_run.py FOLDER      every NAME.mlpackage in it, with NAME.input.npy and NAME.expect.npy where they lie beside it

Fails with exit code 1 and one line per finding. With --expect the first output (of a classifier: its probabilities) must lie within --atol
of the array; the default is 1e-5 of its largest magnitude (or of 1, if that is more), 2e-3 for a program that computes in fp16. Without
--input seeded noise is fed. Arithmetic is fp32. With --dtype fp16, the default, each value that the program declares fp16 is rounded to it;
with --dtype fp32 none is.

Each operator here is written from its documentation in coremltools, over the inputs that stand in the file: coremltools fills in the ones
that are left out, but systems do not, so a missing input is a finding.
"""

import argparse
import math
import os
import pathlib
import shutil
import sys
import tempfile
import warnings

import numpy as np

warnings.filterwarnings("ignore")
with open(os.devnull, "w") as devnull:  # off macOS, importing coremltools complains about its own native parts
    stderr, keep = sys.stderr.fileno(), os.dup(sys.stderr.fileno())
    os.dup2(devnull.fileno(), stderr)
    import coremltools
    from coremltools.converters.mil.frontend.milproto.load import load as load_program
    from coremltools.converters.mil.mil import types
    os.dup2(keep, stderr)


# ---- operators -------------------------------------------------------------------------------------------------------

def conv(x, weight, strides, pad_type, pad, dilations, groups, bias=None):
    assert pad_type == "custom"
    x = np.pad(x, [(0, 0), (0, 0), (pad[0], pad[1]), (pad[2], pad[3])])
    out, inner, kh, kw = weight.shape
    batch, channels, height, width = x.shape
    dh, dw = (int(d) for d in dilations)
    h, w = (height - (kh - 1) * dh - 1) // strides[0] + 1, (width - (kw - 1) * dw - 1) // strides[1] + 1
    y = np.zeros((batch, out, h, w), np.float32)
    for u in range(kh):
        for v in range(kw):
            rows = slice(u * dh, u * dh + strides[0] * (h - 1) + 1, strides[0])
            columns = slice(v * dw, v * dw + strides[1] * (w - 1) + 1, strides[1])
            tap = x[:, :, rows, columns]
            kernel = weight[:, :, u, v]
            if inner == 1 and out == channels:
                y += tap * kernel.reshape(1, out, 1, 1)
            else:
                tap = np.ascontiguousarray(tap).reshape(batch, groups, inner, h * w)
                y += (kernel.reshape(groups, out // groups, inner) @ tap).reshape(y.shape)
    return y if bias is None else y + bias.reshape(1, out, 1, 1)


def conv_transpose(x, weight, strides, pad_type, pad, dilations, groups, bias=None):
    assert pad_type == "valid"
    inner, kh, kw = weight.shape[1:]
    batch, channels, height, width = x.shape
    (sh, sw), (dh, dw) = (map(int, strides), map(int, dilations))
    y = np.zeros((batch, groups * inner, sh * (height - 1) + dh * (kh - 1) + 1, sw * (width - 1) + dw * (kw - 1) + 1))
    each = channels // groups
    for group in range(groups):
        part, kernels = x[:, group * each:(group + 1) * each], weight[group * each:(group + 1) * each]
        for u in range(kh):
            for v in range(kw):
                target = y[:, group * inner:(group + 1) * inner, u * dh:, v * dw:]
                target[:, :, :sh * height:sh, :sw * width:sw][:, :, :height, :width] += np.einsum(
                    "bchw,co->bohw", part, kernels[:, :, u, v])
    return (y if bias is None else y + bias.reshape(1, -1, 1, 1)).astype(np.float32)


def linear(x, weight, bias):
    return x @ weight.T + bias


def matmul(x, y, transpose_x, transpose_y):
    return (np.swapaxes(x, -1, -2) if transpose_x else x) @ (np.swapaxes(y, -1, -2) if transpose_y else y)


def layer_norm(x, axes, epsilon, gamma=None, beta=None):
    axes = tuple(int(a) for a in axes)
    x64 = x.astype(np.float64)
    mean = x64.mean(axes, keepdims=True)
    y = (x64 - mean) / np.sqrt(((x64 - mean) ** 2).mean(axes, keepdims=True) + float(epsilon))
    if gamma is not None:
        shape = [x.shape[i] if i in axes else 1 for i in range(x.ndim)]
        y = y * gamma.reshape(shape) + beta.reshape(shape)
    return y.astype(np.float32)


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def scaled_dot_product_attention(query, key, value, attn_mask=None):
    scores = query @ np.swapaxes(key, -1, -2) / math.sqrt(query.shape[-1])
    return softmax(scores if attn_mask is None else scores + attn_mask, -1) @ value


def avg_pool(x, kernel_sizes, strides, pad_type, pad, exclude_padding_from_average, ceil_mode):
    assert pad_type == "custom" and exclude_padding_from_average and not ceil_mode
    pads = [(0, 0), (0, 0), (pad[0], pad[1]), (pad[2], pad[3])]
    window = (slice(None), slice(None), slice(None, None, strides[0]), slice(None, None, strides[1]))

    def sums(a):
        views = np.lib.stride_tricks.sliding_window_view(np.pad(a, pads), tuple(kernel_sizes), (2, 3))
        return views[window].sum((-1, -2))
    return sums(x) / sums(np.ones_like(x))


def max_pool(x, kernel_sizes, strides, pad_type, pad, ceil_mode):
    assert pad_type == "custom" and not ceil_mode
    pads = [(0, 0), (0, 0), (pad[0], pad[1]), (pad[2], pad[3])]
    wide = np.pad(x, pads, constant_values=-np.inf)
    views = np.lib.stride_tricks.sliding_window_view(wide, tuple(kernel_sizes), (2, 3))
    return views[:, :, ::strides[0], ::strides[1]].max((-1, -2))


def argmax(x, axis, keep_dims):
    found = np.argmax(x, axis)
    return (np.expand_dims(found, axis) if keep_dims else found).astype(np.int32)


def log(x, epsilon):
    return np.log(x + epsilon)


def softplus(x):
    return np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0)


def pixel_shuffle(x, upscale_factor):
    """Channels c, i, j: the column and row inside of a block are the channel's last digits."""
    b, c, h, w = x.shape
    r = int(upscale_factor)
    return x.reshape(b, c // r**2, r, r, h, w).transpose(0, 1, 4, 2, 5, 3).reshape(b, c // r**2, h * r, w * r)


def depth_to_space(x, block_size):
    """Channels i, j, c: the channel's first digits."""
    b, c, h, w = x.shape
    r = int(block_size)
    return x.reshape(b, r, r, c // r**2, h, w).transpose(0, 3, 4, 1, 5, 2).reshape(b, c // r**2, h * r, w * r)


def space_to_depth(x, block_size):
    b, c, h, w = x.shape
    r = int(block_size)
    return x.reshape(b, c, h // r, r, w // r, r).transpose(0, 3, 5, 1, 2, 4).reshape(b, c * r**2, h // r, w // r)


def erf(x):
    return np.frompyfunc(math.erf, 1, 1)(x).astype(np.float32)


def gelu(x, mode):
    if mode == "TANH_APPROXIMATION":
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))
    assert mode == "EXACT"
    return 0.5 * x * (1 + erf(x / math.sqrt(2)))


def sigmoid(x):
    return (0.5 * (1 + np.tanh(0.5 * x.astype(np.float64)))).astype(np.float32)


def prelu(x, alpha):
    return np.where(x >= 0, x, x * alpha.reshape(1, -1, *[1] * (x.ndim - 2)))


def reduction(function):
    return lambda x, axes, keep_dims: function(x, axis=tuple(int(a) for a in axes), keepdims=bool(keep_dims))


def split(x, split_sizes, axis):
    return np.split(x, np.cumsum(split_sizes)[:-1], axis)


def slice_by_index(x, begin, end, stride, begin_mask, end_mask, squeeze_mask):
    assert not any(squeeze_mask)
    return x[tuple(slice(None if bm else b, None if em else e, s)
                   for b, e, s, bm, em in zip(begin, end, stride, begin_mask, end_mask))]


def pad(x, pad, mode, constant_val):
    pairs = [(0, 0)] * (x.ndim - len(pad) // 2) + [(b, a) for b, a in zip(pad[::2], pad[1::2])]
    if mode == "constant":
        return np.pad(x, pairs, constant_values=constant_val)
    return np.pad(x, pairs, {"reflect": "reflect", "replicate": "edge"}[mode])


def gather(x, indices, axis, batch_dims=0, validate_indices=False):
    assert batch_dims == 0 and (indices >= 0).all()
    return np.take(x, indices, axis)


def nearest(x, h, w):
    rows, columns = np.arange(h) * x.shape[2] // h, np.arange(w) * x.shape[3] // w
    return x[:, :, rows][:, :, :, columns]


def half_pixel(new, old):
    return (np.arange(new) + 0.5) * old / new - 0.5


def bilinear(x, h, w, place=half_pixel):
    """Sampled at the places of a grid, clamped at the border."""
    def matrix(old, new):
        at = np.clip(place(new, old), 0, old - 1)
        low = np.minimum(at.astype(int), old - 1)
        m = np.zeros((new, old))
        np.add.at(m, (np.arange(new), low), 1 - (at - low))
        np.add.at(m, (np.arange(new), np.minimum(low + 1, old - 1)), at - low)
        return m.astype(np.float32)
    return matrix(x.shape[2], h) @ x @ matrix(x.shape[3], w).T


def scaled(x, height, width):
    return math.floor(x.shape[2] * height), math.floor(x.shape[3] * width)


def upsample_bilinear(x, scale_factor_height, scale_factor_width, align_corners, half_pixel_centers=True):
    assert not align_corners and half_pixel_centers
    return bilinear(x, *scaled(x, scale_factor_height, scale_factor_width))


def resize_bilinear(x, target_size_height, target_size_width, sampling_mode):
    def strict(new, old):
        assert new > 1, "one result has no spacing"
        return np.arange(new) * (old - 1) / (new - 1)

    def usual(new, old):
        return np.arange(new) * (old - old / new) / (new - 1) if new > 1 else np.array([(old - 1) / 2])

    place = {"UNALIGN_CORNERS": half_pixel, "STRICT_ALIGN_CORNERS": strict, "DEFAULT": usual}[sampling_mode]
    return bilinear(x, target_size_height, target_size_width, place)


def cast(x, dtype):
    return x.astype({"fp16": np.float32, "fp32": np.float32, "int32": np.int32, "bool": np.bool_}[dtype])


def topk(x, k, axis, ascending, sort=True, return_indices=True, output_indices_dtype="int32"):
    assert sort and return_indices and output_indices_dtype == "int32"
    order = np.argsort(x if ascending else -x, axis, kind="stable").take(range(int(k)), axis)
    return np.take_along_axis(x, order, axis), order.astype(np.int32)


def concat(values, axis, interleave):
    assert not interleave
    return np.concatenate(values, axis)


def quantize(input, scale, output_dtype, zero_point=0, axis=None):
    lo, hi = {"int8": (-128, 127), "uint8": (0, 255)}[output_dtype]
    codes = np.clip(np.round(input / np.float32(scale)) + zero_point, lo, hi)
    return codes.astype(np.int8 if output_dtype == "int8" else np.uint8)


def dequantize(input, scale, zero_point=0, axis=None):
    return (input.astype(np.float32) - zero_point) * np.float32(scale)


def batch_norm(x, mean, variance, epsilon, gamma, beta):
    mean, variance, gamma, beta = (v.reshape(-1, *[1] * (x.ndim - 2)) for v in (mean, variance, gamma, beta))
    return gamma * (x - mean) / np.sqrt(variance + epsilon) + beta


def resample(x, coordinates, sampling_mode, padding_mode, padding_value, coordinates_mode, align_corners):
    assert (sampling_mode, coordinates_mode, padding_value) == ("bilinear", "normalized_minus_one_to_one", 0)

    def side(g, n):
        p = (g + 1) / 2 * (n - 1) if align_corners else ((g + 1) * n - 1) / 2
        low = np.floor(p)
        return [(low, 1 - (p - low)), (low + 1, p - low)]

    def inside(at, weight, n):
        if padding_mode == "constant":
            weight = np.where((at >= 0) & (at <= n - 1), weight, 0)
        elif padding_mode == "reflection":
            at = n - 1 - np.abs(np.mod(at, max(2 * (n - 1), 1)) - (n - 1))
        elif padding_mode == "symmetric":
            at = n - 0.5 - np.abs(np.mod(at + 0.5, 2 * n) - n)
        return np.clip(at, 0, n - 1).astype(int), weight

    y = 0
    for column, a in side(coordinates[..., 0], x.shape[3]):
        for row, b in side(coordinates[..., 1], x.shape[2]):
            (column_at, a_in), (row_at, b_in) = inside(column, a, x.shape[3]), inside(row, b, x.shape[2])
            taken = np.stack([image[:, r, c] for image, r, c in zip(x, row_at, column_at)])
            y = y + taken * (a_in * b_in)[:, None]
    return y.astype(np.float32)


OPERATORS = {
    "batch_norm": batch_norm, "resample": resample,
    "select": lambda cond, a, b: np.where(cond, a, b), "topk": topk,
    "quantize": quantize, "dequantize": dequantize,
    "conv_transpose": conv_transpose, "max_pool": max_pool, "reduce_argmax": argmax, "log": log, "softplus": softplus,
    "sin": lambda x: np.sin(x), "cos": lambda x: np.cos(x), "floor": lambda x: np.floor(x), "ceil": lambda x: np.ceil(x),
    "round": lambda x: np.round(x), "sign": lambda x: np.sign(x), "pow": lambda x, y: np.power(x, y),
    "elu": lambda x, alpha: np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x),
    "leaky_relu": lambda x, alpha: np.where(x < 0, alpha * x, x),
    "sigmoid_hard": lambda x, alpha, beta: np.clip(alpha * x + beta, 0, 1),
    "reduce_l2_norm": reduction(lambda x, **more: np.sqrt(np.sum(x * x, **more))),
    "reduce_min": reduction(np.min), "reduce_prod": reduction(np.prod),
    "pixel_shuffle": pixel_shuffle, "depth_to_space": depth_to_space, "space_to_depth": space_to_depth,
    "conv": conv, "linear": linear, "matmul": matmul, "layer_norm": layer_norm, "softmax": softmax, "avg_pool": avg_pool,
    "relu": lambda x: np.maximum(x, 0), "gelu": gelu, "silu": lambda x: x * sigmoid(x), "sigmoid": sigmoid,
    "tanh": lambda x: np.tanh(x), "erf": erf, "sqrt": lambda x: np.sqrt(x), "exp": lambda x: np.exp(x), "abs": lambda x: np.abs(x),
    "add": lambda x, y: x + y, "sub": lambda x, y: x - y, "mul": lambda x, y: x * y, "real_div": lambda x, y: x / y,
    "floor_div": lambda x, y: x // y,
    "maximum": lambda x, y: np.maximum(x, y), "minimum": lambda x, y: np.minimum(x, y),
    "clip": lambda x, alpha, beta: np.clip(x, alpha, beta), "prelu": prelu, "identity": lambda x: x, "cast": cast,
    "reduce_mean": reduction(np.mean), "reduce_sum": reduction(np.sum), "reduce_max": reduction(np.max),
    "reshape": lambda x, shape: x.reshape(shape), "transpose": lambda x, perm: x.transpose(perm),
    "concat": concat, "split": split, "slice_by_index": slice_by_index, "pad": pad, "gather": gather,
    "tile": lambda x, reps: np.tile(x, reps), "scaled_dot_product_attention": scaled_dot_product_attention,
    "upsample_nearest_neighbor": lambda x, scale_factor_height, scale_factor_width:
        nearest(x, *scaled(x, scale_factor_height, scale_factor_width)),
    "resize_nearest_neighbor": lambda x, target_size_height, target_size_width:
        nearest(x, target_size_height, target_size_width),
    "upsample_bilinear": upsample_bilinear, "resize_bilinear": resize_bilinear,
}


# ---- the program -----------------------------------------------------------------------------------------------------

def load(package, scratch):
    """The message of a package and coremltools' program of it; from a copy, for opening a package rewrites its manifest."""
    copy = pathlib.Path(scratch) / "copy.mlpackage"
    shutil.copytree(package, copy)
    spec = coremltools.utils.load_spec(str(copy))
    weights = str(copy / "Data" / "com.apple.CoreML" / "weights")
    return spec, load_program(spec, specification_version=spec.specificationVersion, file_weights_dir=weights)


def present(spec):
    """Names of the inputs that stand in the file, by the operation's first result."""
    function = spec.mlProgram.functions["main"]
    block = function.block_specializations[function.opset]
    return {operation.outputs[0].name: set(operation.inputs) for operation in block.operations}


class Value:
    """Turns what coremltools holds for a value into numpy arrays of fp32, int32 or bool, or a word."""

    def __init__(self, half):
        self.half = half

    def constant(self, var):
        value = var.val
        if isinstance(value, (str, bool)):
            return value
        value = np.asarray(value)
        return value.astype(np.float32) if value.dtype.kind == "f" else value

    def result(self, value, var):
        value = np.asarray(value)
        if tuple(var.shape) != value.shape:
            raise ValueError(f"{var.name} is declared {var.shape} and computed {value.shape}")
        if value.dtype.kind != "f":
            return value
        if self.half and types.nptype_from_builtin(var.dtype) == np.float16:
            with np.errstate(over="ignore"):
                value = value.astype(np.float16)
        value = value.astype(np.float32)
        if not np.isfinite(value).all():
            raise ValueError(f"{var.name} is not finite")
        return value


def execute(spec, program, feeds, half):
    """Results of the program by name."""
    value = Value(half)
    main = program.functions["main"]
    inputs_in_file = present(spec)
    values = {name: value.result(feeds[name], var) for name, var in main.inputs.items()}

    def look_up(bound):
        if isinstance(bound, (list, tuple)):
            return [look_up(b) for b in bound]
        return values[bound.name]

    for operation in main.operations:
        name = operation.outputs[0].name
        if operation.op_type == "const":
            values[name] = value.constant(operation.outputs[0])
            continue
        if operation.op_type.startswith("constexpr_"):  # decoded when the program is loaded, by coremltools' own rule
            values[name] = value.result(operation.materialized_val_inference(), operation.outputs[0])
            continue
        bound = {key: operation.inputs[key] for key in inputs_in_file[name]}
        if operation.op_type == "classify":
            probabilities = look_up(bound["probabilities"])
            labels = [str(v) for v in bound["classes"].val]
            values[name] = labels[int(probabilities.argmax())]
            values[operation.outputs[1].name] = probabilities
            continue
        inputs = {key: look_up(v) for key, v in bound.items()}
        try:
            results = OPERATORS[operation.op_type](**inputs)
            results = results if len(operation.outputs) > 1 else [results]
            for var, result in zip(operation.outputs, results, strict=True):
                values[var.name] = value.result(result, var)
        except Exception as error:
            raise ValueError(f"{operation.op_type} {name}: {type(error).__name__} {error}") from error
    return {var.name: values[var.name] for var in main.outputs}


def pictures(spec, program):
    """The inputs that are pictures. A picture is RGB of the size that the program's f32 input has."""
    found = set()
    for feature in spec.description.input:
        if feature.type.WhichOneof("Type") == "imageType":
            image, var = feature.type.imageType, program.functions["main"].inputs[feature.name]
            if image.colorSpace != image.RGB or tuple(var.shape) != (1, 3, image.height, image.width):
                raise ValueError(f"{feature.name} is no RGB picture of {var.shape}")
            found.add(feature.name)
    return found


def findings(package, given=None, expect=None, atol=None, half=True, snr=None):
    """What is wrong with a package."""
    try:
        with tempfile.TemporaryDirectory() as scratch:
            spec, program = load(package, scratch)
            noise = np.random.default_rng(0)
            feeds, coloured = {}, pictures(spec, program)
            for name, var in program.functions["main"].inputs.items():
                synthetic = noise.integers(0, 256, var.shape) if name in coloured else noise.standard_normal(var.shape)
                feeds[name] = (np.load(given) if given and not feeds else synthetic).astype(np.float32)
            results = execute(spec, program, feeds, half)
    except Exception as error:  # every kind of refusal is a finding
        return [str(error).strip() or type(error).__name__]
    described = [feature.name for feature in spec.description.output]
    if described != list(results):
        return [f"the program returns {list(results)}, the description says {described}"]
    if expect is None:
        return []
    result = next(value for value in results.values() if not isinstance(value, str))
    wanted = np.load(expect)
    if wanted.shape != result.shape:
        return [f"result has shape {result.shape}, expected {wanted.shape}"]
    if atol is None:
        in_half = any(types.nptype_from_builtin(var.dtype) == np.float16
                      for operation in program.functions["main"].operations if operation.op_type not in ("const", "classify")
                      for var in operation.outputs)
        atol = (2e-3 if in_half else 1e-5) * max(1.0, float(np.abs(wanted).max()))
    if snr is not None:
        noise = ((result.astype(np.float64) - wanted) ** 2).sum()
        decibels = 10 * np.log10((wanted.astype(np.float64) ** 2).sum() / max(noise, 1e-300))
        print(f"{decibels:.1f} dB")
        return [] if decibels >= snr else [f"lies {decibels:.1f} dB above its error instead of {snr}"]
    error = float(np.abs(result.astype(np.float64) - wanted).max())
    return [] if error <= atol else [f"result differs by {error:.3e}, allowed {atol:.1e}"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", type=pathlib.Path, help="a package, or a folder of them")
    parser.add_argument("--input", type=pathlib.Path, help="array for the first input")
    parser.add_argument("--expect", type=pathlib.Path, help="array that the first output must equal")
    parser.add_argument("--atol", type=float, help="allowed difference")
    parser.add_argument("--snr", type=float, help="decibels that the expected array lies above the error, of a quantised package")
    parser.add_argument("--dtype", choices=["fp32", "fp16"], default="fp16", help="fp16: round where the program says fp16")
    args = parser.parse_args()
    if args.package.suffix == ".mlpackage":
        cases = [(args.package, args.input, args.expect)]
    else:
        def beside(package, suffix):
            array = package.with_name(package.stem + suffix)
            return array if array.exists() else None
        packages = sorted(args.package.glob("*.mlpackage"))
        cases = [(p, beside(p, ".input.npy"), beside(p, ".expect.npy")) for p in packages]
    count = 0
    for package, given, expect in cases:
        for finding in findings(package, given, expect, args.atol, args.dtype == "fp16", args.snr):
            count += 1
            print(f"{package}: {finding}")
    print(f"{len(cases)} packages, {count} findings")
    sys.exit(1 if count or not cases else 0)


if __name__ == "__main__":
    main()
