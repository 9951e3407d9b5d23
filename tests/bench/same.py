"""Two builds of vitc export the same artifacts: every variant in every form, compared node by node and constant by constant.

    same.py OLD NEW [--only PREFIX] [--forms few|all] [--large]

OLD and NEW are binaries. `few` (the default) covers each target and precision, `all` also sizes of the batch, results, spellings of attention, opsets,
releases, pictures, labels and data files. FasterViT-5 and -6 take minutes and 22 GB, so they run only with --large, in four forms. Weights are seeded.

Each pair is of one kind: equal bytes; other names of constants (or another order of them); other entries of the metadata; another message where both
refuse; or a difference in nodes, attributes, types, shapes or the bytes of constants, which is shown and makes the exit code 1. Needs the readers
of `tests/run` (target/interop/venv).
"""
import argparse
import collections
import contextlib
import logging
import hashlib
import json
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

import onnx

FEW = [
    ("onnx", [], ".onnx"),
    ("onnx", ["--fp16"], ".onnx"),
    ("tensorrt-onnx", [], ".onnx"),
    ("tensorrt-onnx", ["--fp16"], ".onnx"),
    ("coreml", [], ".mlpackage"),
    ("coreml", ["--fp32"], ".mlpackage"),
]
ALL = FEW + [
    ("onnx", ["--batch", "dynamic"], ".onnx"),
    ("onnx", ["--batch", "8"], ".onnx"),
    ("onnx", ["--batch", "8", "--fp16"], ".onnx"),
    ("onnx", ["--opset", "20"], ".onnx"),
    ("onnx", ["--opset", "23", "--attention", "sdpa"], ".onnx"),
    ("onnx", ["--external-data"], ".onnx"),
    ("onnx", ["--output", "pyramid"], ".onnx"),
    ("onnx", ["--output", "features"], ".onnx"),
    ("onnx", ["--input", "image", "--softmax"], ".onnx"),
    ("tensorrt-onnx", ["--batch", "dynamic", "--fp16"], ".onnx"),
    ("tensorrt-onnx", ["--batch", "8", "--fp16"], ".onnx"),
    ("tensorrt-onnx", ["--output", "pyramid", "--fp16"], ".onnx"),
    ("tensorrt-onnx", ["--fp16", "--opset", "20"], ".onnx"),
    ("tensorrt-onnx", ["--talking-heads", "fuse"], ".onnx"),
    ("tensorrt-onnx", ["--talking-heads", "keep"], ".onnx"),
    ("coreml", ["--batch", "8"], ".mlpackage"),
    ("coreml", ["--output", "pyramid"], ".mlpackage"),
    ("coreml", ["--output", "features"], ".mlpackage"),
    ("coreml", ["--input", "image", "--softmax"], ".mlpackage"),
    ("coreml", ["--ios", "18", "--attention", "sdpa"], ".mlpackage"),
    ("coreml", ["--attention", "split"], ".mlpackage"),
    ("coreml", ["--spectral", "dense"], ".mlpackage"),
    ("onnx", ["--spectral", "separable"], ".onnx"),
    ("onnx", ["--fold-tables", "never"], ".onnx"),
    ("coreml", ["--fold-tables", "never"], ".mlpackage"),
]
HUGE = ("fastervit-5", "fastervit-6")


def digest(data):
    return hashlib.blake2b(data, digest_size=12).hexdigest()


def tensor(t, folder):
    """Type, sizes and bytes of an initializer."""
    if t.data_location == onnx.TensorProto.EXTERNAL:
        place = {e.key: e.value for e in t.external_data}
        with open(folder / place["location"], "rb") as f:
            f.seek(int(place["offset"]))
            data = f.read(int(place["length"]))
    else:
        data = t.raw_data or t.SerializeToString()
    return ("constant", t.data_type, tuple(t.dims), digest(data))


def port(value):
    t = value.type.tensor_type
    return value.name, t.elem_type, tuple(d.dim_param or d.dim_value for d in t.shape.dim)


def read_onnx(path):
    """What an ONNX file computes, with constants by content; and its metadata."""
    model = onnx.load(path, load_external_data=False)
    constants = {t.name: tensor(t, path.parent) for t in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        attributes = sorted((a.name, a.SerializeToString()) for a in node.attribute)
        nodes.append((node.op_type, node.name, attributes, [constants.get(i, i) for i in node.input], list(node.output)))
    ports = [[port(v) for v in part] for part in (model.graph.input, model.graph.output)]
    types = sorted(port(v) for v in model.graph.value_info)
    versions = (model.ir_version, [(o.domain, o.version) for o in model.opset_import])
    return {"versions": versions, "ports": ports, "types": types, "nodes": nodes}, {p.key: p.value for p in model.metadata_props}


def read_package(path):
    """What a CoreML package computes, with constants by content; and its metadata."""
    with contextlib.redirect_stderr(None):  # off macOS it complains about its own native parts
        from coremltools.proto import Model_pb2

    data = path / "Data/com.apple.CoreML"
    model = Model_pb2.Model()
    model.ParseFromString((data / "model.mlmodel").read_bytes())
    weights = data / "weights/weight.bin"
    blobs = weights.read_bytes() if weights.exists() else b""

    def constant(value):
        if value.HasField("blobFileValue"):
            at = value.blobFileValue.offset
            _, code, size, start = struct.unpack_from("<IIQQ", blobs, at)
            return ("constant", value.type.SerializeToString(), code, digest(blobs[start:start + size]))
        return ("constant", digest(value.SerializeToString()))

    (function,) = model.mlProgram.functions.values()
    (block,) = function.block_specializations.values()
    constants, nodes = {}, []
    for op in block.operations:
        if op.type == "const":
            constants[op.outputs[0].name] = constant(op.attributes["val"])
            continue
        inputs = {}
        for key, argument in sorted(op.inputs.items()):
            inputs[key] = [constants.get(b.name, b.name) if b.name else constant(b.value) for b in argument.arguments]
        nodes.append((op.type, inputs, [(o.name, o.type.SerializeToString()) for o in op.outputs]))
    metadata = dict(model.description.metadata.userDefined)
    for key in ("shortDescription", "author", "license", "versionString"):
        metadata[key] = getattr(model.description.metadata, key)
    model.description.ClearField("metadata")
    outline = {"specification": model.specificationVersion, "opset": function.opset, "nodes": nodes, "outputs": list(block.outputs)}
    return {**outline, "description": model.description.SerializeToString(deterministic=True)}, metadata


def export(binary, model, form, path):
    target, options, _ = form
    command = [binary, "export", model, "--target", target, *options, "--no-check", "--force", "--json", "-o", str(path)]
    child = subprocess.run(command, capture_output=True, text=True)
    return child.returncode, (json.loads(child.stdout) if child.stdout.startswith("{") else {}), child.stderr


def files(path):
    """Relative names and contents of all files of an artifact."""
    found = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else sorted(path.parent.glob(path.name + "*"))
    return [(str(p.relative_to(path.parent)), digest(p.read_bytes())) for p in found]


def first_difference(a, b):
    for key in a:
        if a[key] != b[key]:
            if isinstance(a[key], list) and isinstance(b[key], list):
                for x, y in zip(a[key], b[key]):
                    if x != y:
                        return f"{key}: {x} became {y}"[:600]
                return f"{key}: {len(a[key])} became {len(b[key])}"
            return f"{key}: {a[key]} became {b[key]}"[:600]
    return "nothing"


def compare(old, new, model, form, folder):
    """The kind of a pair, and what differs in form."""
    suffix, results, places = form[2], [], []
    for name, binary in (("old", old), ("new", new)):
        place = folder / name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        places.append(place / f"m{suffix}")
        results.append(export(binary, model, form, places[-1]))
    (code, _, errors), (new_code, _, new_errors) = results
    if code != new_code:
        return "another exit code", f"{code} became {new_code}: {(errors + new_errors)[-400:]}"
    if code != 0:
        return ("refused alike", None) if errors == new_errors else ("another message", f"{errors[-300:]} became {new_errors[-300:]}")
    if files(places[0]) == files(places[1]):
        return "equal bytes", None
    read = read_package if suffix == ".mlpackage" else read_onnx
    (a, said), (b, says) = read(places[0]), read(places[1])
    if a != b:
        return "ANOTHER FORM", first_difference(a, b)
    if said != says:
        changed = sorted(k for k in {**said, **says} if said.get(k) != says.get(k))
        return "other metadata: " + ", ".join(changed), None
    return "other names or order of constants", None


def main():
    logging.disable(logging.WARNING)
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("old")
    args.add_argument("new")
    args.add_argument("--only", default="")
    args.add_argument("--forms", choices=["few", "all"], default="few")
    args.add_argument("--large", action="store_true")
    a = args.parse_args()
    listed = json.loads(subprocess.run([a.old, "list", "--json"], capture_output=True, text=True).stdout)["models"]
    kinds, failed = collections.Counter(), 0
    with tempfile.TemporaryDirectory() as folder:
        for model in [m["model"] for m in listed if m["model"].startswith(a.only)]:
            huge = model.startswith(HUGE)
            if huge and not a.large:
                continue
            for form in FEW[:4] if huge else (ALL if a.forms == "all" else FEW):
                kind, what = compare(a.old, a.new, model, form, pathlib.Path(folder))
                kinds[kind] += 1
                if what is not None:
                    failed += 1
                    print(f"{model} {form[0]} {' '.join(form[1])}: {kind}: {what}", flush=True)
    for kind, count in kinds.most_common():
        print(f"{count:5} {kind}")
    print(f"same: {sum(kinds.values()) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
