"""Keyword arguments as the arguments of a command, by the command's own definition of its options."""

from __future__ import annotations

import difflib
import functools
import json
import numbers
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Callable, Optional

from . import _vitc
from ._errors import UsageError
from ._models import Held, held

# What names a place on the disk.
PATHS = (str, bytes, os.PathLike)
# Where an array may stand for a file.
ARRAYS = ("input", "expect", "calibrate", "evaluate")
# What `False` says of one of two.
OPPOSITES = {"fp16": "fp32", "fp32": "fp16"}
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
        # Files of ours and what they stand for.
        self._made: dict[str, str] = {}

    def __enter__(self) -> "Arguments":
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def place(self, word: Any) -> None:
        """Add an argument that has its place."""
        word = os.fsdecode(word)
        # A name that begins with a dash is no option.
        self.words.append(f"./{word}" if word.startswith("-") else word)

    def add(self, name: str, value: Any) -> None:
        """Add an option with its value."""
        # With `=`, so that a value may begin with a dash.
        flag = self._known[name]["flag"]
        self.words.append(f"{flag}={os.fsdecode(value)}")

    def shown(self, text: str) -> str:
        """A text of the program's, with what the person gave where it names a file of ours."""
        for path, given in self._made.items():
            for spelled in (path, json.dumps(path)[1:-1]):
                text = text.replace(f'{given.partition("=")[0]}="{spelled}"', given).replace(spelled, given)
        return text

    def model(self, model: Any, architecture: Optional[str]) -> Optional[Held]:
        """Add what says which model; the tensors, if the model is in memory."""
        if isinstance(model, PATHS):
            text = os.fsdecode(model)
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
            if name not in known and negation is None:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise UsageError(f"vitc.{self.command} has no option {name}{hint}\n  options: {', '.join(known)}")
            value = value if name in ARRAYS else _plain(value)
            if value is None:
                continue
            option = known.get(name, negation)
            if isinstance(value, bool):
                self._switch(name, value, option, negation)
            elif option is negation or option["switch"]:
                raise UsageError(f"{name} is True or False, not {value!r}")
            else:
                for text in self._values(name, option, value):
                    self.add(name, text)

    def _switch(self, name: str, on: bool, option: Mapping[str, Any], negation: Optional[Mapping[str, Any]]) -> None:
        """Add an option that is switched on or off."""
        flag = option["flag"] if on and option["switch"] else None
        if not on and negation is not None:
            flag = negation["flag"]
        elif not on and name in OPPOSITES:
            flag = self._known[OPPOSITES[name]]["flag"]
        elif not option["switch"] and negation is None:
            raise UsageError(f"{name} takes a value, not {on}\n  leave it out for what happens without it")
        if flag is not None and flag not in self.words:
            self.words.append(flag)

    def _values(self, name: str, option: Mapping[str, Any], value: Any) -> Iterable[str]:
        """The words that a value is on the command line."""
        if isinstance(value, (set, frozenset)):
            raise UsageError(f"{name}: a set has no order\n  give a list")
        word = functools.partial(_word, name)
        if name == "shape":
            return _shapes(word, value)
        if name == "labels" and not isinstance(value, PATHS):
            return [self._labels(value)]
        if name in ARRAYS:
            return [self._array(name, one) for one in (_several(name, value) if option["repeatable"] else [value])]
        if isinstance(value, Mapping):
            if "=" not in option["value"]:
                raise UsageError(f"{name}: a dict is no value of it\n  it takes {option['value'] or 'a word'}")
            return [f"{key}={word(one)}" for key, one in value.items()]
        if "HxW" in option["value"]:
            sizes = [value] if isinstance(value, (str, int)) or _is_size(value) else list(value)
            return [",".join("x".join(map(word, s)) if _is_size(s) else word(s) for s in sizes)]
        if not isinstance(value, PATHS) and isinstance(value, Iterable):
            words = [word(one) for one in value]
            return words if option["repeatable"] and option["delimiter"] is None else [",".join(words)]
        return [word(value)]

    def _labels(self, value: Any) -> str:
        """Names of classes as a file: a list in their order, or a dict from numbers to names or from names to numbers."""
        try:
            named = {key: _plain(one) for key, one in value.items()} if isinstance(value, Mapping) else list(value)
            text = json.dumps(named)
        except (TypeError, ValueError) as error:
            raise UsageError(f"labels: {error}\n  give a list of names, or names by class number") from error
        return self._file("labels", "labels.json", lambda file: file.write_text(text))

    def _array(self, name: str, value: Any) -> str:
        """A word, a path, or an array as a file."""
        if isinstance(value, tuple):
            output, value = value
            return f"{output}={self._array(name, value)}"
        if isinstance(value, PATHS):
            return os.fsdecode(value)
        import numpy

        if hasattr(value, "detach"):
            value = value.detach().cpu().float().numpy()
        try:
            array = numpy.ascontiguousarray(value, dtype=numpy.float32)
        except (TypeError, ValueError) as error:
            raise UsageError(f"{name}: {error}\n  give an array of numbers, or a file") from error
        return self._file(name, f"{name}.npy", lambda file: numpy.save(file, array))

    def _file(self, name: str, file_name: str, write: Callable[[Path], Any]) -> str:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="vitc-")
        path = Path(tempfile.mkdtemp(dir=self._folder.name)) / file_name
        write(path)
        self._made[str(path)] = f"{name}=[...]"
        return str(path)


def _plain(value: Any) -> Any:
    """Numbers and arrays of NumPy's and PyTorch's as Python's, in lists and tuples too."""
    if isinstance(value, (list, tuple)):
        kind = list if isinstance(value, list) else tuple
        return kind(map(_plain, value))
    return value.tolist() if hasattr(value, "tolist") else value


def _is_named(model: Any, text: str) -> bool:
    """Whether a word is an architecture's name or a file with a whole model, not a checkpoint."""
    if text.endswith(".onnx") or _vitc.is_model_file(text):
        return True
    return isinstance(model, str) and not any(mark in text for mark in "/\\") and not os.path.exists(text)


def _is_size(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(isinstance(side, numbers.Integral) for side in value)


def _several(name: str, value: Any) -> list[Any]:
    """Values for outputs in their order or, of a dict, by name; one array is one."""
    if isinstance(value, Mapping):
        if name != "expect":
            raise UsageError(f"{name}: a dict is no array\n  give the array itself")
        return list(value.items())
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _shapes(word: Callable[[Any], str], value: Any) -> list[str]:
    def sizes(value: Any) -> str:
        return "x".join(map(word, value)) if isinstance(value, (list, tuple)) else word(value)

    if isinstance(value, Mapping):
        return [f"{name}={sizes(_plain(one))}" for name, one in value.items()]
    return [sizes(value)] if isinstance(value, (str, tuple)) else [sizes(one) for one in value]


def _word(name: str, value: Any) -> str:
    value = _plain(value)
    if isinstance(value, PATHS):
        return os.fsdecode(value)
    if isinstance(value, numbers.Real):
        return str(value)
    raise UsageError(f"{name}: a {type(value).__name__} is no value of it")
