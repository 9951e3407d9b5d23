"""Seeded checkpoints: weights as a function of their keys, so that none has to be stored.

Stream.  The state of key K is FNV-1a-64 of its UTF-8 bytes. Element i (row-major, from 0) is SplitMix64 number i+1 of that state; its top 24 bits
make u in [-1, 1). FasterViT stores one convolution under two keys; both draw from the same stream.
Value.   By the last part of the key, first match: `num_batches_tracked` 0; index tables what the model builds; `running_mean` 2^e u/10;
`running_var` 4^e (1 + u/2); `gamma…` and `layer_scale…` 0.3 + u/10; `weight` of one dimension 1 + u/4; other `weight` u sqrt(3/fan_in); `bias` u/10;
anything else u/5. In f64, rounded once to f32. e is the manifest's third element, 0 if absent.
Input.   The stream `input`, u itself.

`write_safetensors` makes the file from a manifest; run as a program it does so: seeded.py MANIFEST OUT.safetensors
"""
import json
import math
import struct
import sys

import numpy as np

STEP, WORD = 0x9E3779B97F4A7C15, 2**64
BLOCK = 1 << 20


def state(key):
    key = key.replace("global_tokenizer.to_global_feature.pos.", "global_tokenizer.pos_embed.")
    h = 0xCBF29CE484222325
    for byte in key.encode():
        h = (h ^ byte) * 0x100000001B3 % WORD
    return h


def stream(key, count):
    """u of the first `count` elements of a key, as f64."""
    u = np.empty(count)
    first = state(key)
    with np.errstate(over="ignore"):
        for start in range(0, count, BLOCK):
            index = np.arange(start + 1, min(start + BLOCK, count) + 1, dtype=np.uint64)
            z = np.uint64(first) + index * np.uint64(STEP)
            z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
            z ^= z >> np.uint64(31)
            u[start : start + len(index)] = (z >> np.uint64(40)) / 2.0**23 - 1.0
    return u


def bias_indices(queries, keys):
    """EfficientFormerV2: offsets |dy|, |dx| numbered as they first occur; fewer queries than keys: every second key."""
    side, step = math.isqrt(keys), math.ceil(math.isqrt(keys) / math.isqrt(queries))
    grid = lambda n: np.stack(np.divmod(np.arange(n), math.isqrt(n)), -1)
    d = np.abs(grid(queries)[:, None] * step - grid(keys)[None])
    seen = {}
    numbered = [seen.setdefault(o, len(seen)) for o in (d[..., 0] * side + d[..., 1]).ravel().tolist()]
    return np.array(numbered, np.int64).reshape(queries, keys)


def window_indices(tokens):
    """Swin: (dy + w - 1)(2w - 1) + dx + w - 1 on a square window."""
    w = math.isqrt(tokens)
    y, x = np.divmod(np.arange(tokens), w)
    return ((y[:, None] - y + w - 1) * (2 * w - 1) + x[:, None] - x + w - 1).astype(np.int64)


def window_coordinates(shape):
    """Swin V2: sign(t) log2(|t| + 1) / 3 with t = 8 offset / (w - 1)."""
    w = (shape[1] + 1) // 2
    t = np.arange(1 - w, w) / (w - 1) * 8.0
    t = np.sign(t) * np.log2(np.abs(t) + 1.0) / 3.0
    return np.stack(np.meshgrid(t, t, indexing="ij"), -1)[None].astype(np.float32)


def tensor(key, shape, dtype, e=0):
    leaf = key.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if leaf == "attention_bias_idxs":
        return bias_indices(*shape)
    if leaf == "relative_position_index":
        return window_indices(shape[0])
    if leaf == "relative_coords_table":
        return window_coordinates(shape)
    offset, factor = 0.0, 0.2
    if leaf == "running_mean":
        factor = 0.1 * 2.0**e
    elif leaf == "running_var":
        offset, factor = 4.0**e, 0.5 * 4.0**e
    elif leaf.startswith(("gamma", "layer_scale")):
        offset, factor = 0.3, 0.1
    elif leaf == "weight" and len(shape) == 1:
        offset, factor = 1.0, 0.25
    elif leaf == "weight":
        factor = math.sqrt(3.0 / math.prod(shape[1:]))
    elif leaf == "bias":
        factor = 0.1
    values = offset + factor * stream(key, math.prod(shape))
    return values.astype(np.float32).astype(dtype).reshape(shape)


def image(shape):
    return stream("input", math.prod(shape)).astype(np.float32).reshape(shape)


def write_safetensors(manifest, path):
    names = {"float32": "F32", "float16": "F16", "int64": "I64"}
    header, offset = {}, 0
    for key, (shape, dtype, *_) in manifest["tensors"].items():
        size = math.prod(shape) * np.dtype(dtype).itemsize
        header[key] = {"dtype": names[dtype], "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for key, (shape, dtype, *e) in manifest["tensors"].items():
            out.write(np.ascontiguousarray(tensor(key, shape, dtype, *e)).tobytes())


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        write_safetensors(json.load(file), sys.argv[2])
