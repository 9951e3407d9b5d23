"""Modules of PyTorch's and timm's, as people train them: the installed package against the real thing."""
import pathlib
import tempfile
import unittest

import timm
import torch

import vitc

NAME = "efficientformerv2_s0"


class Modules(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        torch.manual_seed(0)
        self.module = timm.create_model(NAME, num_classes=10)

    def export(self, model, name="m.onnx", target="onnx", **options):
        return vitc.export(model, pathlib.Path(self.folder.name) / name, target=target, force=True, **options)

    def test_the_module_is_the_reference_and_is_left_as_it_was(self):
        self.module.train()
        self.module.stem.eval()
        for parameter in list(self.module.parameters())[:3]:
            parameter.requires_grad_(False)
        before = [part.training for part in self.module.modules()]
        gradients = [parameter.requires_grad for parameter in self.module.parameters()]
        state = {name: tensor.clone() for name, tensor in self.module.state_dict().items()}
        for name, target, options in [("m.onnx", "onnx", {}), ("m.mlpackage", "coreml", {}), ("h.onnx", "tensorrt-onnx", {"fp16": True})]:
            report = self.export(self.module, name, target, verify=True, **options)
            self.assertTrue(report.ok and report.verify["passed"])
            self.assertIn("mean <- EfficientFormerV2: pretrained_cfg.mean", report.settings)
        self.assertEqual(before, [part.training for part in self.module.modules()])
        self.assertEqual(gradients, [parameter.requires_grad for parameter in self.module.parameters()])
        self.assertTrue(all(torch.equal(tensor, state[name]) for name, tensor in self.module.state_dict().items()))

    def test_half_precision_has_its_own_bound(self):
        report = self.export(self.module.bfloat16(), verify=True)
        self.assertTrue(report.verify["passed"])
        self.assertIn("half precision", " ".join(report.verify["notes"]))

    def test_what_a_wrapper_adds_is_found(self):
        class Wrapper(torch.nn.Module):
            def __init__(self, model):
                super().__init__()
                self.model = model

            def forward(self, image):
                return 2 * self.model(image)

        with self.assertRaises(vitc.CheckError):
            self.export(Wrapper(self.module), verify=True)

    def test_a_training_script_s_dict(self):
        saved = {"epoch": 3, "state_dict": self.module.state_dict(), "args": {"mean": [0.5, 0.5, 0.5]}}
        report = self.export(saved, labels=list("abcdefghij"))
        self.assertIn("mean <- state_dict: args.mean", report.settings)
        self.assertEqual(report.outputs[0]["shape"], "1x10")


if __name__ == "__main__":
    unittest.main()
