#!/usr/bin/env python3
"""Other people's models by the road of ONNX files: timm models through both exporters of PyTorch, then through vitc to every target.

    exports.py VITC [--models A,B] [--targets onnx,coreml] [--kinds legacy-static,dynamo-dynamic] [--kernels] [--keep DIR]

Any other model of timm is named with its side: `--models mvitv2_tiny@224,hiera_tiny_224@224`; it has no bars.

Needs torch, timm, onnx and onnxscript, which `tests/run` does not install; a model of a family also its package (fastervit). `--kernels` builds engines with the
Python of tests/interop. Weights are random with a fixed seed. Each file is exported with its check; nodes are counted in what lies on disk. The bars are
the fewest nodes that the exporters or onnxslim reach on the same model at opset 17 to 20, the fewest kernels of TensorRT-RTX 1.7.1 (SM80, half precision, exported
by either exporter) and the operations that coremltools 9.0 makes of the PyTorch model; `-` where they fail. A model that is one of vitc's own families is
measured against its export from a checkpoint. Exit 1 if an export or a check fails.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

# Name: maker, model, side, keyword arguments, reparameterised first; bars: nodes, kernels, CoreML operations.
TIMM = {
    "cait_xxs24": ("cait_xxs24_224", 224, {"depth": 6}, (292, 151, 232)),
    "convnext_atto": ("convnext_atto", 160, {}, (125, 64, 118)),
    "deit_tiny_distilled": ("deit_tiny_distilled_patch16_224", 224, {}, (408, 101, 264)),
    "edgenext_xx_small": ("edgenext_xx_small", 256, {}, (313, 109, 225)),
    "efficientformer_l1": ("efficientformer_l1", 224, {}, (153, 83, 148)),
    "efficientnet_b0": ("efficientnet_b0", 160, {}, (239, 116, 190)),
    "efficientnet_lite0": ("efficientnet_lite0", 160, {}, (94, 52, 94)),
    "efficientvit_b0": ("efficientvit_b0", 224, {}, (154, 75, 198)),
    "efficientvit_m0": ("efficientvit_m0", 224, {}, (523, 347, 477)),
    "fastvit_t8": ("fastvit_t8", 256, {}, (186, 97, 186)),
    "fastvit_t8_reparam": ("fastvit_t8", 256, {}, (154, 62, 86)),
    "levit_128s": ("levit_128s", 224, {}, (369, 184, 516)),
    "mobilenetv2_100": ("mobilenetv2_100", 160, {}, (100, 55, 100)),
    "mobilenetv3_small_100": ("mobilenetv3_small_100", 160, {}, (122, 77, 160)),
    "mobilenetv4_conv_small": ("mobilenetv4_conv_small", 160, {}, (89, 49, 89)),
    "mobileone_s0": ("mobileone_s0", 224, {}, (455, 194, 455)),
    "mobilevit_xxs": ("mobilevit_xxs", 256, {}, (397, 131, 291)),
    "mobilevitv2_050": ("mobilevitv2_050", 256, {}, (322, 181, 402)),
    "poolformer_s12": ("poolformer_s12", 224, {}, (273, 165, 346)),
    "pvt_v2_b0": ("pvt_v2_b0", 224, {}, (388, 181, 290)),
    "regnety_002": ("regnety_002", 160, {}, (178, 99, 178)),
    "repvit_m0_9": ("repvit_m0_9", 224, {}, (403, 150, 298)),
    "resnet18": ("resnet18", 160, {}, (49, 24, 49)),
    "swin_tiny": ("swin_tiny_patch4_window7_224", 224, {"embed_dim": 48, "depths": (2, 2, 2, 2)}, (351, 97, 279)),
    "tiny_vit_5m": ("tiny_vit_5m_224", 224, {}, (441, 134, 330)),
    "twins_svt_small": (
        "twins_svt_small", 224, {"embed_dims": (32, 64, 128, 256), "depths": (2, 2, 4, 2)}, (433, 150, None)),
    "vit_tiny_patch16_224": ("vit_tiny_patch16_224", 224, {}, (380, 101, 260)),
    "xcit_nano": ("xcit_nano_12_p16_224", 224, {"depth": 4}, (302, 121, 255)),
}
# vitc's own families in other people's code: package, model, side, vitc's name.
FAMILIES = {
    "efficientformerv2_s0": ("timm", "efficientformerv2_s0", 224, "efficientformerv2-s0"),
    "faster_vit_0_224": ("fastervit", "faster_vit_0_224", 224, "fastervit-0"),
}
KINDS = [f"{exporter}-{batch}" for exporter in ("legacy", "dynamo") for batch in ("static", "dynamic")]
# Target, suffix, options. Opset 20 is the first with a GELU, which most of the exports have. coremltools 9.0 gives a program in half precision
# for iOS 16, what the bars are, inputs and outputs in half precision too: FLOAT16 in the description of a converted convolution.
TARGETS = {
    "onnx": (".onnx", []),
    "onnx-20": (".onnx", ["--opset", "20"]),
    "tensorrt-onnx": (".onnx", ["--fp16"]),
    "coreml": (".mlpackage", ["--fp16", "--io", "fp16"]),
    "coreai": (".aimodel", ["--fp16"]),
}


def sane(model, side):
    """Random weights under which nothing explodes or dies out, with the statistics that two noisy images give."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    norms = (nn.modules.batchnorm._BatchNorm,)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() >= 2:
                p.copy_(torch.randn_like(p) / max(1, p[0].numel()) ** 0.5)
            elif name.endswith("bias"):
                p.copy_(0.1 * torch.randn_like(p))
            else:
                p.copy_(0.5 + torch.rand_like(p))
        for m in model.modules():
            if isinstance(m, norms):
                m.reset_running_stats()
                m.momentum = None
        model.train()
        for m in model.modules():
            if isinstance(m, nn.Dropout) or "Drop" in type(m).__name__:
                m.training = False  # of this module alone: a residual block with a drop has norms inside
        for _ in range(2):
            model(torch.randn(2, 3, side, side))
    return model.eval()


def other(name):
    """A model of timm that is none of the listed ones: `NAME@SIDE`."""
    arch, at, side = name.partition("@")
    if not at or not side.isdecimal():
        sys.exit(f"{name}: neither a listed model nor NAME@SIDE, a model of timm and the side of its pictures")
    return arch, int(side), {}, ()


def built(name):
    """The PyTorch model and its side."""
    import warnings

    warnings.filterwarnings("ignore")
    if name in FAMILIES:
        package, arch, side, _ = FAMILIES[name]
        maker = __import__(package).create_model
        return sane(maker(arch, pretrained=False), side), side
    import timm
    from timm.utils import reparameterize_model

    arch, side, options, _ = TIMM[name] if name in TIMM else other(name)
    model = sane(timm.create_model(arch, pretrained=False, **options), side)
    return (reparameterize_model(model) if name.endswith("_reparam") else model), side


def write(name, kinds, folder):
    """Export one model in each kind; what cannot be exported is printed."""
    import torch

    model, side = built(name)
    x = torch.randn(2, 3, side, side)
    if name in FAMILIES:
        torch.save(model.state_dict(), f"{folder}/{name}.pth")
    for kind in kinds:
        exporter, batch = kind.split("-")
        options = {"input_names": ["image"], "output_names": ["logits"]}
        if exporter == "legacy":
            options |= {"dynamo": False, "opset_version": 17}
            if batch == "dynamic":
                options["dynamic_axes"] = {"image": {0: "batch"}, "logits": {0: "batch"}}
        else:
            options |= {"dynamo": True, "opset_version": 20, "external_data": False, "verbose": False}
            if batch == "dynamic":
                options["dynamic_shapes"] = ({0: torch.export.Dim("batch", min=1, max=64)},)
        sample = x if batch == "dynamic" else x[:1]
        try:
            torch.onnx.export(model, (sample,), f"{folder}/{name}.{kind}.onnx", **options)
        except Exception as e:  # noqa: BLE001: whatever the exporter does not take
            print(f"{name} {kind}: not exported by PyTorch: {str(e).strip().splitlines()[0][:120]}", flush=True)


def converted(vitc, source, out, target, options):
    """Nodes of what vitc makes of a source, or why it makes nothing."""
    suffix, own = TARGETS[target]
    command = [vitc, "export", *source, "--target", target.removesuffix("-20"), *own, *options]
    r = subprocess.run([*command, "-o", f"{out}{suffix}", "--force", "--json"], capture_output=True, text=True)
    if r.returncode != 0:
        return None, " ".join((r.stderr or r.stdout).split())[:200]
    answer = json.loads(r.stdout)
    if answer["check"] is None or not answer["check"]["passed"]:
        return None, "no check"
    return answer, ""


def kernels(path):
    interop = pathlib.Path(__file__).resolve().parent.parent / "interop"
    python = interop.parent.parent / "target/interop/venv/bin/python"
    r = subprocess.run([python, interop / "trt_build.py", path], capture_output=True, text=True)
    return r.stdout.strip().replace("\n", " ") if r.returncode == 0 else "engine: " + r.stdout.strip()[-80:]


def judged(arguments, name, folder):
    """The row of one model; the number of failures."""
    failed, shown = 0, {}
    for target in arguments.targets:
        bars = dict(zip(("onnx", "tensorrt-onnx", "coreml"), TIMM[name][3])) if name in TIMM else {}
        bar = bars.get("onnx" if target == "onnx-20" else target)
        if name in FAMILIES:
            source = [FAMILIES[name][3], "--weights", f"{folder}/{name}.pth"]
            own, why = converted(arguments.vitc, source, f"{folder}/own", target, [])
            bar = own["artifact"]["nodes"] if own else why
        cells = []
        for kind in arguments.kinds:
            path = f"{folder}/{name}.{kind}.onnx"
            if not os.path.exists(path):
                cells.append("-")
                continue
            batch = ["--batch", "dynamic"] if kind.endswith("dynamic") and target.startswith("onnx") else []
            answer, why = converted(arguments.vitc, [path], f"{folder}/out", target, batch)
            if answer is None:
                failed += 1
                cells.append("FAILED")
                print(f"{name} {kind} {target}: {why}", flush=True)
                continue
            cells.append(str(answer["artifact"]["nodes"]))
            if arguments.kernels and target == "tensorrt-onnx":
                cells[-1] += f" ({kernels(f'{folder}/out.onnx')})"
        shown[target] = f"{name:22} {target:14} {bar if bar is not None else '-'!s:>6} | {' '.join(f'{c:>7}' for c in cells)}"
    print("\n".join(shown.values()), flush=True)
    return failed


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("vitc")
    p.add_argument("--models", default=",".join([*TIMM, *FAMILIES]))
    p.add_argument("--targets", default=",".join(TARGETS))
    p.add_argument("--kinds", default=",".join(KINDS))
    p.add_argument("--kernels", action="store_true")
    p.add_argument("--keep", help="a folder for the files that PyTorch exports")
    p.add_argument("--write", help=argparse.SUPPRESS)
    a = p.parse_args()
    a.models, a.targets, a.kinds = (s.split(",") for s in (a.models, a.targets, a.kinds))
    if a.write:
        write(a.write, a.kinds, a.keep)
        return 0
    failed = 0
    print(f"{'model':22} {'target':14} {'bar':>6} | {' '.join(a.kinds)}")
    for name in a.models:
        with tempfile.TemporaryDirectory() as folder:
            folder = a.keep or folder
            # One process a model: the exporters keep what they traced.
            if not all(os.path.exists(f"{folder}/{name}.{kind}.onnx") for kind in a.kinds):
                own = [sys.executable, __file__, a.vitc, "--write", name, "--kinds", ",".join(a.kinds), "--keep", folder]
                r = subprocess.run(own, stderr=subprocess.PIPE, text=True)
                if r.returncode != 0:
                    print(f"{name}: PyTorch: {r.stderr.strip().splitlines()[-1][:200]}", flush=True)
            failed += judged(a, name, folder)
    print(f"{failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
