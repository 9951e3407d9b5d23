"""The installed package: its commands on models as people hold them, its errors, its manners."""
import copy
import json
import os
import pathlib
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types
import unittest
import warnings

import numpy as np

import people
import vitc

NAME = "efficientformerv2-s0"


class Package(unittest.TestCase):
    """One model, published once: its weights are everybody's."""

    @classmethod
    def setUpClass(cls):
        warnings.simplefilter("ignore")
        cls.folder = pathlib.Path(tempfile.mkdtemp())
        cls.weights = people.weights(program("ir", NAME).stdout)
        people.save_safetensors(cls.folder / "trained.safetensors", cls.weights)
        done = program(
            "publish", cls.folder / "hub", "--weights", cls.folder / "trained.safetensors", "--targets", "onnx", "--license", "mit", "-q"
        )
        assert done.returncode == 0, done.stderr
        cls.onnx = next((cls.folder / "hub/onnx").iterdir())

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def export(self, model, name="m.onnx", **options):
        return vitc.export(model, self.folder / name, **{"target": "onnx", "force": True, **options})


def program(*words, **options):
    """The program of the wheel."""
    words = [str(word) for word in words]
    return subprocess.run([shutil.which("vitc"), *words], capture_output=True, text=True, **options)


class Environment(unittest.TestCase):
    def test_there_is_no_rust_here(self):
        self.assertIsNone(shutil.which("cargo"))
        self.assertIsNone(shutil.which("rustc"))
        self.assertTrue(vitc.__file__.startswith(sys.prefix))

    def test_the_program_is_the_library(self):
        self.assertEqual(program("--version").stdout, f"vitc {vitc.__version__}\n")
        refused = program("export", NAME)
        self.assertEqual(refused.returncode, 2)
        self.assertIn("--target is missing", refused.stderr)

    def test_torch_is_not_imported(self):
        self.assertNotIn("torch", sys.modules)

    def test_types_are_shipped(self):
        folder = pathlib.Path(vitc.__file__).parent
        for name in ("py.typed", "__init__.pyi", "_options.pyi", "_vitc.pyi"):
            self.assertTrue((folder / name).is_file(), name)
        stub = (folder / "__init__.pyi").read_text()
        for name in vitc.__all__:
            self.assertTrue(f"def {name}(" in stub or f"class {name}(" in stub or f"{name}: " in stub, name)


class Models(Package):

    def test_every_form_of_a_model_is_the_same_model(self):
        plain = lambda r: json.dumps([r.model, r.artifact["nodes"], r.check["runs"], r.rounding])
        path = self.export(self.folder / "hub")
        forms = {
            "arrays": self.weights,
            "tensors": {name: people.Tensor(array) for name, array in self.weights.items()},
            "on another device": {name: people.Tensor(array, device=2) for name, array in self.weights.items()},
            "views": {name: np.asfortranarray(array) for name, array in self.weights.items()},
            "backwards": {name: array[::-1].copy()[::-1] for name, array in self.weights.items()},
            "buffers": {name: memoryview(np.ascontiguousarray(array)) for name, array in self.weights.items()},
            "big-endian": {name: array.astype(array.dtype.newbyteorder(">")) for name, array in self.weights.items()},
            "wrapped": {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in self.weights.items()}},
            "module": people.Module(self.weights),
        }
        for name, model in forms.items():
            with self.subTest(name):
                self.assertEqual(plain(self.export(model)), plain(path))

    def test_a_report_does_not_keep_the_tensors(self):
        array = self.weights["patch_embed.0.weight"].copy()
        before = sys.getrefcount(array)
        report = self.export({**self.weights, "patch_embed.0.weight": array})
        self.assertEqual(sys.getrefcount(array), before)
        self.assertIn("<!DOCTYPE html>", report.to_html())

    def test_halves_are_read_as_they_are(self):
        half = self.export({name: people.Tensor(array.astype(np.float16)) for name, array in self.weights.items()})
        self.assertTrue(half.ok)
        listed = vitc.inspect({name: people.bfloat16(array) for name, array in self.weights.items()}, tensors=True)
        self.assertEqual({tensor["type"] for tensor in listed["tensors"]}, {"bf16"})
        self.assertEqual(len(listed["tensors"]), len(self.weights))
        self.assertTrue(self.export({name: people.bfloat16(array) for name, array in self.weights.items()}).ok)

    def test_settings_come_with_the_model(self):
        module = people.Module(self.weights)
        module.pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25), "num_classes": 1000}
        module.num_classes = 1000
        report = self.export(module)
        self.assertIn("mean <- Module: pretrained_cfg.mean", report.settings)
        self.assertIn("minus mean [0.5,0.5,0.5]", report.preprocessing)
        script = types.SimpleNamespace(mean=[0.1, 0.2, 0.3], lr=1e-3)
        self.assertIn("mean <- state_dict: args.mean", self.export({"args": script, "model": self.weights}).settings)
        given = self.export({"args": script, "model": self.weights}, mean=(0.4, 0.4, 0.4))
        self.assertIn("minus mean [0.4,0.4,0.4]", given.preprocessing)

    def test_tensors_without_numbers_are_named(self):
        for name, lost in (("Meta", people.Meta), ("Hollow", people.Hollow), ("Freed", people.Freed)):
            # Without its second head the model is another one, so what has no numbers may not be left out.
            state = {**self.weights, "dist_head.bias": lost(self.weights["dist_head.bias"])}
            with self.subTest(name), self.assertRaisesRegex(vitc.UsageError, "dist_head.bias"):
                self.export({"model": state})
        masked = np.ma.masked_array(self.weights["head.bias"], mask=np.arange(len(self.weights["head.bias"])) == 3)
        for odd in (masked, np.zeros(3, "V0")):
            with self.assertRaisesRegex(vitc.UsageError, "tensor head.bias"):
                self.export({**self.weights, "head.bias": odd})
        self.assertTrue(self.export({"model": self.weights, "empty": people.Hollow(np.zeros((0, 3), np.float32))}).ok)

    def test_containers_may_hold_themselves_and_modules(self):
        saved, shape = {"model": people.Module(self.weights), "mean": [0.1, 0.2, 0.3]}, []
        shape.append(shape)
        saved["self"], saved["args"] = saved, {"list": shape, "space": types.SimpleNamespace(up=saved)}
        self.assertIn("mean <- state_dict: mean", self.export(saved).settings)

    def test_what_is_a_model_file_is_the_program_s_to_say(self):
        package = self.export(NAME, "named.mlpackage", target="coreml").path
        self.assertTrue(self.export(str(package), "back.onnx").ok)
        self.assertTrue(self.export(os.fsencode(self.folder / "trained.safetensors"), "bytes.onnx").ok)

    def test_a_stranger_is_refused(self):
        for model in (3, [1, 2], object(), people.Module):
            with self.assertRaises(vitc.UsageError):
                vitc.export(model, target="onnx")
        with self.assertRaisesRegex(vitc.UsageError, "tensor x: its type"):
            vitc.inspect({"x": np.array(["a"])})
        with self.assertRaisesRegex(vitc.UsageError, "tensor x: .* on another device"):
            vitc.inspect({"x": people.Lost(np.ones(3))})
        with self.assertRaises(vitc.RefusedError) as caught:
            self.export({name: array for name, array in self.weights.items() if "patch_embed" not in name})
        self.assertNotIn("--", str(caught.exception))


class Verify(Package):
    def module(self, change=lambda answer: answer):
        """A module that answers as the check's reference does."""
        folder = self.folder / "io"
        self.export(self.weights, save_io=folder, output_name="logits")
        answers = []
        for given in sorted(folder.rglob("*.input.npy")):
            answer = given.with_name(given.name.replace(".input.", ".logits."))
            answers.append((np.load(given), change(np.load(answer))))
        self.assertTrue(answers, sorted(folder.rglob("*")))
        return people.Module(self.weights, answers)

    def test_the_module_itself_is_the_reference(self):
        module = self.module()
        report = self.export(module, verify=True)
        self.assertTrue(report.verify["passed"] and len(report.verify["runs"]) == 3)
        self.assertIn("Against the module itself", report.to_html())
        self.assertEqual(module.modes, [(False, False)] * 3)
        self.assertEqual((module.training, module.part.training), (True, False))

    def test_a_module_that_answers_otherwise_stops_the_export(self):
        with self.assertRaises(vitc.CheckError) as caught:
            self.export(self.module(lambda answer: answer + 1.0), "never.onnx", verify=True)
        self.assertFalse((self.folder / "never.onnx").exists())
        self.assertFalse(caught.exception.report.ok)
        self.assertTrue(caught.exception.report.check["passed"])
        self.assertIn("against the module", str(caught.exception))

    def test_other_shapes_and_its_own_errors_are_said(self):
        with self.assertRaisesRegex(vitc.Error, "the module answers with"):
            self.export(self.module(lambda answer: answer[:, :7]), verify=True)
        module = people.Module(self.weights)
        with self.assertRaisesRegex(RuntimeError, "nobody showed"):
            self.export(module, verify=True)
        self.assertEqual((module.training, module.part.training), (True, False))
        with self.assertRaises(vitc.UsageError):
            self.export(self.weights, verify=True)

    def test_of_a_quantised_file_the_model_before_is_compared(self):
        report = self.export(self.module(), verify=True, quantize="w8")
        self.assertTrue(report.verify["passed"] and report.verify["precision"] == "f32")
        self.assertIn("before it was", " ".join(report.verify["notes"]))
        with self.assertRaisesRegex(vitc.CheckError, "against the module"):
            self.export(self.module(lambda answer: answer + 1.0), "never.onnx", verify=True, quantize="w8")


class Reports(Package):
    def test_a_report_has_every_field_of_the_program(self):
        told = json.loads(program("export", NAME, "--target", "onnx", "--json", "-o", self.folder / "p.onnx").stdout)
        report = self.export(NAME, "q.onnx")
        self.assertEqual(list(report), list(told))
        for field in told:
            if field not in ("artifact", "next"):
                self.assertEqual(report[field], told[field], field)
        self.assertEqual(report.path, self.folder / "q.onnx")
        stub = (pathlib.Path(vitc.__file__).parent / "__init__.pyi").read_text()
        for field in told:
            self.assertTrue(f"    {field}: " in stub or f"def {field}(" in stub, field)

    def test_reports_and_errors_are_copied_and_pickled(self):
        report = self.export(NAME)
        with self.assertRaises(vitc.UsageError) as caught:
            self.export(NAME, opset=99)
        for again in (copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))):
            self.assertEqual((again(report).json, again(report).to_html()), (report.json, report.to_html()))
            error = again(caught.exception)
            self.assertEqual((type(error), str(error)), (vitc.UsageError, str(caught.exception)))
            self.assertEqual(error.report.json, caught.exception.report.json)

    def test_it_is_shown(self):
        report = self.export(NAME)
        self.assertIn("logits fp32 1x1000", repr(report))
        self.assertIn("<table>", report._repr_html_())
        page = report.to_html()
        self.assertTrue(page.startswith("<!DOCTYPE html>") and "http" not in page.split("<main>")[0])
        with self.assertRaises(TypeError):
            vitc.inspect(NAME).to_html()
        with self.assertRaises(AttributeError):
            report.no_such_field

    def test_commands_alike(self):
        with self.assertRaisesRegex(vitc.UsageError, "give them again: model="):
            vitc.check(self.onnx)
        self.assertTrue(vitc.check(self.onnx, self.weights).check["passed"])
        self.assertEqual(vitc.inspect(self.weights).model, NAME)
        self.assertIn(NAME, [model["model"] for model in vitc.models()])
        picture = self.folder / "cat" / "1.png"
        picture.parent.mkdir(exist_ok=True)
        picture.write_bytes(png(np.full((240, 240, 3), 128, np.uint8)))
        self.assertEqual(len(vitc.run(self.onnx, picture).pictures[0]["top"]), 5)
        (self.folder / "pictures").mkdir(exist_ok=True)
        shutil.copytree(picture.parent, self.folder / "pictures/cat", dirs_exist_ok=True)
        self.assertEqual(vitc.evaluate(self.onnx, self.folder / "pictures").pictures, 1)
        answer = np.load(self.answer())
        given = np.load(self.given())
        self.assertTrue(vitc.check(self.onnx, input=given, expect=answer).expect["passed"])
        with self.assertRaises(vitc.CheckError):
            vitc.check(self.onnx, input=given, expect={"logits": answer + 1})

    def io(self):
        folder = self.folder / "io2"
        if not folder.exists():
            self.export(self.folder / "hub", "io2.onnx", save_io=folder)
        return sorted(folder.rglob("*.npy"))

    def given(self):
        return next(path for path in self.io() if ".input." in path.name)

    def answer(self):
        given = self.given()
        return given.with_name(given.name.replace(".input.", ".logits."))


class Errors(Package):
    WRONG = [
        (dict(softmaks=True), vitc.UsageError, "did you mean softmax"),
        (dict(fp16=True, fp32=True), vitc.UsageError, "fp16 cannot be given with fp32"),
        (dict(opset=99), vitc.UsageError, "opset"),
        (dict(target="onx"), vitc.UsageError, "`onx` is none of onnx"),
        (dict(attention="none"), vitc.UsageError, "`none` is none of auto"),
        (dict(mean=(128, 128, 128)), vitc.UsageError, "divide them by 255"),
        (dict(ios=17), vitc.UsageError, "ios is for target"),
        (dict(resolution=(100, 100)), vitc.RefusedError, "heights that fit"),
        (dict(atol=1e-3), vitc.UsageError, "expect"),
        (dict(fp16="yes"), vitc.UsageError, "True or False"),
        (dict(input="image", batch="many"), vitc.UsageError, "batch"),
        (dict(resolution=False), vitc.UsageError, "resolution takes a value, not False"),
        (dict(opset=True), vitc.UsageError, "opset takes a value, not True"),
        (dict(labels={"cat", "dog"}), vitc.UsageError, "a set has no order"),
        (dict(labels=["a", "b"]), vitc.RefusedError, r"labels=[...]: has 2 names"),
        (dict(labels=object()), vitc.UsageError, "labels: "),
        (dict(mean={"r": 0.5}), vitc.UsageError, "a dict is no value of it"),
        (dict(mean=[[0.5], 0.5, 0.5]), vitc.UsageError, "a list is no value of it"),
        (dict(calibrate=["a"], quantize="w8"), vitc.UsageError, "give an array of numbers"),
        (dict(input={"image": [1.0]}, expect=[1.0]), vitc.UsageError, "a dict is no array"),
        (dict(resolution=[(192, 256), 224]), vitc.UsageError, "resolution=[(192, 256), (224, 224)]: an ONNX file"),
    ]

    def test_errors_are_in_the_words_of_keyword_arguments(self):
        for options, kind, text in self.WRONG:
            with self.subTest(options), self.assertRaises(kind) as caught:
                self.export(NAME, **options)
            self.assertIn(text, str(caught.exception), options)
            self.assertNotIn("--", str(caught.exception), options)
            self.assertEqual(caught.exception.exit_code, kind.exit_code)

    def test_what_is_stored_beside_the_model_is_named(self):
        with self.assertRaises(vitc.RefusedError) as caught:
            self.export({**self.weights, "extra.proj.weight": np.ones((7, 3), np.float32)})
        self.assertIn("left out with ignore", str(caught.exception))
        self.assertNotIn("--", str(caught.exception))
        self.assertTrue(self.export({**self.weights, "extra.proj.weight": np.ones((7, 3), np.float32)}, ignore=["extra.*"]).ok)

    def test_options_in_python_forms(self):
        report = self.export(
            NAME, resolution=(192, 256), labels=[f"class {i}" for i in range(1000)], set={"a": "b"}, check="quick", choice=None,
            spectral="auto", output_name=["scores"], softmax=False,
        )
        self.assertEqual((report.resolution, report.outputs[0]["name"]), ([192, 256], "scores"))
        self.assertIsNone(self.export(NAME, check=False).check)
        self.assertTrue(self.export(NAME, check=True).check["passed"])
        for fp16, fp32, wanted in [(False, None, "fp32"), (None, False, "fp16"), (np.True_, np.False_, "fp16")]:
            made = self.export(NAME, "m.mlpackage", target="coreml", fp16=fp16, fp32=fp32, check=False)
            self.assertEqual(made.precision["compute"], wanted)
        with self.assertRaises(vitc.UsageError):
            self.export(NAME, fp16=False, fp32=False)
        numbers = self.export(NAME, resolution=(np.int64(192), np.int32(256)), mean=np.full(3, 0.5), opset=np.int64(17), check=False)
        self.assertEqual(numbers.resolution, [192, 256])
        self.assertIn("minus mean [0.5,0.5,0.5]", numbers.preprocessing)

    def test_labels_are_numbered_as_they_say(self):
        names = [f"class {i}" for i in range(1000)]
        said = {"a list": names, "by number": dict(enumerate(names)), "by name": {name: np.int64(i) for i, name in reversed([*enumerate(names)])}}
        for form, labels in said.items():
            with self.subTest(form):
                entries = vitc.inspect(self.export(NAME, labels=labels, check=False).path).metadata
                self.assertEqual(json.loads(entries["labels"]), names)

    def test_the_options_of_the_program(self):
        known = vitc.options("export")
        self.assertIn("fp16", known)
        self.assertNotIn("json", known)


class Manners(Package):
    def test_progress_is_told(self):
        steps = []
        self.export(NAME, progress=steps.append)
        self.assertIn("checking the artifact", steps)
        with self.assertRaisesRegex(RuntimeError, "enough"):
            self.export(NAME, "stopped.onnx", progress=lambda step: (_ for _ in ()).throw(RuntimeError("enough")))
        self.assertFalse((self.folder / "stopped.onnx").exists())

    def test_other_threads_go_on(self):
        ticks, done = [], threading.Event()

        def tick():
            while not done.is_set():
                ticks.append(time.perf_counter())
                time.sleep(0.001)

        thread = threading.Thread(target=tick)
        thread.start()
        started = time.perf_counter()
        self.export(NAME)
        took = time.perf_counter() - started
        done.set()
        thread.join()
        longest = max(b - a for a, b in zip(ticks, ticks[1:]))
        self.assertLess(longest, max(0.5 * took, 0.2))

    def test_an_interrupt_ends_the_export_and_leaves_nothing(self):
        folder = self.folder / "interrupted"
        folder.mkdir()
        # Python keeps an interrupt ignored that was ignored when it began, as in jobs that a shell runs in the background.
        script = (
            "import signal, sys, vitc; signal.signal(signal.SIGINT, signal.default_int_handler); "
            "vitc.export('fastervit-3', sys.argv[1], target='onnx', progress=lambda step: print(step, flush=True))"
        )
        run = subprocess.Popen([sys.executable, "-c", script, folder / "m.onnx"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        # The longest step, in which nothing is said: the model is run.
        while "checking" not in run.stdout.readline():
            pass
        run.send_signal(signal.SIGINT)
        _, errors = run.communicate(timeout=60)
        self.assertIn("KeyboardInterrupt", errors)
        self.assertNotEqual(run.returncode, 0)
        self.assertEqual(os.listdir(folder), [])

    @unittest.skipUnless(hasattr(os, "fork"), "nothing is forked on this system")
    def test_a_fork_says_so_and_does_not_wait_for_good(self):
        script = (
            "import os, sys, vitc; vitc.export(sys.argv[1], sys.argv[2], target='onnx'); child = os.fork()\n"
            "if child: sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
            "try: vitc.export(sys.argv[1], sys.argv[2], target='onnx')\n"
            "except vitc.RefusedError as error: print(error)"
        )
        run = subprocess.run([sys.executable, "-c", script, NAME, self.folder / "f.onnx"], capture_output=True, text=True, timeout=60)
        self.assertIn("forked", run.stdout, run.stderr)


class Publishing(Package):
    def test_a_folder_is_whole_and_read_back(self):
        hub = self.folder / "hub"
        self.assertEqual({p.name for p in hub.iterdir()}, {"README.md", "BLAKE3SUMS", "config.json", "model.safetensors", "onnx"})
        card = (hub / "README.md").read_text()
        self.assertIn("license: mit", card)
        self.assertIn("| synthetic noise, seed 0 | logits |", card)
        again = self.export(hub, "again.onnx", license="mit")
        self.assertEqual(again.weights["kind"], "checkpoint")
        self.assertEqual(again.artifact["ops"], json.loads(program("inspect", self.onnx, "--json").stdout)["ops"])

    def test_all_or_none(self):
        done = program("publish", self.folder / "none", NAME, "--targets", "onnx,coreml", "--batch", "dynamic")
        self.assertEqual(done.returncode, 2)
        self.assertFalse((self.folder / "none").exists())
        (self.folder / "own").mkdir()
        (self.folder / "own/mine.txt").write_text("mine")
        done = program("publish", self.folder / "own", NAME, "--targets", "onnx")
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(os.listdir(self.folder / "own"), ["mine.txt"])


def png(pixels):
    """A picture as PNG."""
    import struct
    import zlib

    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


