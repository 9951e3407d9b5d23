"""Keyword arguments as the arguments of a command, by the command's own definition of its options."""

from __future__ import annotations

import difflib
import functools
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Optional

from . import _vitc
from ._errors import UsageError
from ._models import Held, held

# What has a parameter of its own, or no meaning for a program.
APART = {"json", "quiet", "out", "target", "weights"}


@functools.lru_cache(maxsize=None)
def options_of(command: str) -> dict[str, dict[str, Any]]:
    """The options of a command by name: `flag`, `switch`, `repeatable`, `delimiter`, `value`, `values`, `help`."""
    return {option["name"]: option for option in json.loads(_vitc.options(command))}


def keywords(command: str) -> dict[str, dict[str, Any]]:
    """The options that are keyword arguments."""
    own = APART if command == "export" else APART - {"out", "target"}
    return {name: option for name, option in options_of(command).items() if option["flag"] and name not in own}


class Arguments:
    """The words of a command line, and the files that some of them name for as long as the command runs."""

    def __init__(self, command: str) -> None:
        self.command = command
        self.words = [command]
        self._known = options_of(command)
        self._places: list[str] = []
        self._folder: Optional[tempfile.TemporaryDirectory] = None

    def __enter__(self) -> "Arguments":
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def place(self, word: Any) -> None:
        """Add an argument that has its place."""
        word = os.fspath(word)
        # A name that begins with a dash is no option.
        self.words.append(f"./{word}" if word.startswith("-") else word)

    def add(self, name: str, value: Any) -> None:
        """Add an option with its value."""
        # With `=`, so that a value may begin with a dash.
        flag = self._known[name]["flag"]
        self.words.append(f"{flag}={value if isinstance(value, str) else os.fspath(value)}")

    def model(self, model: Any, architecture: Optional[str]) -> Optional[Held]:
        """Add what says which model; the tensors, if the model is in memory."""
        if isinstance(model, (str, os.PathLike)):
            text = os.fspath(model)
            if _is_named(model, text):
                if architecture is not None:
                    raise UsageError(f"{text} names the model already\n  leave architecture out, or give a checkpoint")
                self.place(text)
                return None
            found = None
        else:
            found = held(model)
            text = found.name
        if architecture is not None:
            self.place(architecture)
        self.add("weights", text)
        return found

    def options(self, given: Mapping[str, Any]) -> None:
        """Add keyword arguments."""
        known = keywords(self.command)
        for name, value in given.items():
            negation = known.get(f"no_{name}")
            if value is False and negation is not None:
                self.words.append(negation["flag"])
            elif name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise UsageError(f"vitc.{self.command} has no option {name}{hint}\n  options: {', '.join(known)}")
            elif value is None or value is False:
                continue
            elif known[name]["switch"]:
                if value is not True:
                    raise UsageError(f"{name} is True or False, not {value!r}")
                self.words.append(known[name]["flag"])
            else:
                for text in self._values(name, known[name], value):
                    self.add(name, text)

    def _values(self, name: str, option: Mapping[str, Any], value: Any) -> Iterable[str]:
        """The words that a value is on the command line."""
        if name == "shape":
            return _shapes(value)
        if name == "labels" and not isinstance(value, (str, os.PathLike)):
            return [self._file("labels.json", lambda file: Path(file).write_text(json.dumps(list(value))))]
        if name in ("input", "expect"):
            return [self._array(name, one) for one in _several(value)]
        if isinstance(value, Mapping):
            return [f"{key}={_word(one)}" for key, one in value.items()]
        if "HxW" in option["value"]:
            sizes = [value] if isinstance(value, (str, int)) or _is_size(value) else list(value)
            return [",".join("x".join(map(_word, s)) if _is_size(s) else _word(s) for s in sizes)]
        if not isinstance(value, (str, os.PathLike)) and isinstance(value, Iterable):
            words = [_word(one) for one in value]
            return words if option["repeatable"] and option["delimiter"] is None else [",".join(words)]
        return [_word(value)]

    def _array(self, name: str, value: Any) -> str:
        """A word, a path, or an array as a file."""
        if isinstance(value, tuple):
            output, value = value
            return f"{output}={self._array(name, value)}"
        if isinstance(value, (str, os.PathLike)):
            return os.fspath(value)
        import numpy

        if hasattr(value, "detach"):
            value = value.detach().cpu().float().numpy()
        array = numpy.ascontiguousarray(value, dtype=numpy.float32)
        return self._file(f"{name}.npy", lambda file: numpy.save(file, array))

    def _file(self, name: str, write: Any) -> str:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="vitc-")
        folder = Path(tempfile.mkdtemp(dir=self._folder.name))
        write(folder / name)
        return str(folder / name)


def _is_named(model: Any, text: str) -> bool:
    """Whether a word is an architecture's name or an ONNX file, not a checkpoint."""
    if text.endswith(".onnx"):
        return True
    return isinstance(model, str) and not any(mark in text for mark in "/\\") and not os.path.exists(text)


def _is_size(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(isinstance(side, int) for side in value)


def _several(value: Any) -> list[Any]:
    """Values for outputs in their order or, of a dict, by name; one array is one."""
    if isinstance(value, Mapping):
        return list(value.items())
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _shapes(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [f"{name}={_sizes(sizes)}" for name, sizes in value.items()]
    return [_sizes(value)] if isinstance(value, (str, tuple)) else [_sizes(one) for one in value]


def _sizes(value: Any) -> str:
    return value if isinstance(value, str) else "x".join(map(_word, value)) if isinstance(value, Iterable) else _word(value)


def _word(value: Any) -> str:
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)
