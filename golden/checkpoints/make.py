#!/usr/bin/env python3
"""Write the small checkpoints beside this file: what torch.save really produces, a few hundred bytes of tensors each.

make.py [FOLDER]      needs torch; the files are committed, so tests need neither torch nor Python.

Every file but the ones that must be refused holds the state dict of `net()`: patch_embed.0 (convolution), patch_embed.1
(BatchNorm) and head. Values are small whole numbers, exact in every element type.
"""
import argparse
import collections
import io
import os
import sys
import zipfile

import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.patch_embed = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
        self.head = torch.nn.Linear(4, 5)

    def forward(self, x):
        return self.head(self.patch_embed(x).mean((2, 3)))


def net():
    model = Net().eval()
    with torch.no_grad():
        for i, t in enumerate(t for t in model.state_dict().values() if t.is_floating_point()):
            t.copy_((torch.arange(t.numel()) % 17 + i + 1).reshape(t.shape))
    return model


def pruned():
    from torch.nn.utils import prune
    model = net()
    prune.custom_from_mask(model.head, "weight", torch.arange(20).reshape(5, 4) % 2)
    return model


def weight_norm(module):
    model = net()
    module(model.head, "weight", dim=0)
    return model


def main():
    out = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))

    def save(name, obj, **options):
        torch.save(obj, os.path.join(out, name), **options)

    model, state = net(), net().state_dict()
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.zeros(1, 3, 4, 4)).sum().backward()
    optimizer.step()
    args = argparse.Namespace(model="efficientformerv2_s0", input_size=224, nb_classes=5, lr=1e-3, output_dir="", ema=None)
    ema = collections.OrderedDict(("module." + k, v + 1) for k, v in state.items())

    save("plain.pth", state)
    save("wrapped.pth.tar", {"epoch": 299, "model": state, "optimizer": optimizer.state_dict(), "args": args,
                             "model_ema": ema, "scaler": {"scale": 65536.0}, "history": {1, 2, 3}, "big": 2 ** 80})
    save("legacy.pth", {"state_dict": state, "epoch": 3}, _use_new_zipfile_serialization=False)
    save("protocol5.pth", {"state_dict": state, "epoch": 3, "args": args}, pickle_protocol=5)
    save("bfloat16.pth", {k: v.bfloat16() if v.is_floating_point() else v for k, v in state.items()})
    save("float64.pth", {k: v.double() if v.is_floating_point() else v for k, v in state.items()})
    save("parameters.pth", dict(net().named_parameters()) | dict(net().named_buffers()))
    save("pruned.pth", pruned().state_dict())
    save("weight_norm.pth", weight_norm(torch.nn.utils.weight_norm).state_dict())
    save("weight_norm_parametrized.pth", weight_norm(torch.nn.utils.parametrizations.weight_norm).state_dict())

    strided = dict(state)
    base = torch.zeros(2, 4, 5)
    base[1] = state["head.weight"].t()
    strided["head.weight"] = base[1].t()  # offset 20, strides (1, 5)
    strided["patch_embed.0.weight"] = state["patch_embed.0.weight"].to(memory_format=torch.channels_last)
    save("strided.pth", strided)
    save("strided_legacy.pth", strided, _use_new_zipfile_serialization=False)

    save("whole_module.pth", model)
    save("optimizer_only.pth", optimizer.state_dict())
    script = io.BytesIO()
    torch.jit.save(torch.jit.script(model), script)
    with zipfile.ZipFile(script) as full, zipfile.ZipFile(os.path.join(out, "torchscript.pt"), "w") as lean:
        for name in full.namelist():
            if not name.endswith(".debug_pkl"):  # source paths of the machine that ran this
                lean.writestr(zipfile.ZipInfo(name), full.read(name))


if __name__ == "__main__":
    main()
