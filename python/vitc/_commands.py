"""The commands."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any, Optional, Sequence, Union

from . import _vitc
from ._arguments import PATHS, Arguments, keywords
from ._errors import BY_EXIT_CODE, RefusedError, UsageError
from ._models import Held, held, is_module
from ._module import Witness
from ._progress import Asked, Progress
from ._report import Report


def export(
    model: Any,
    path: Union[str, os.PathLike, None] = None,
    *,
    target: str = "coreml",
    architecture: Optional[str] = None,
    verify: bool = False,
    progress: Asked = None,
    **options: Any,
) -> Report:
    """Export a trained model to a file that a device runs, and prove that it computes the same.

    The file appears in its place only when it is complete and has passed its check.

    Parameters
    ----------
    model : str, os.PathLike, Mapping or torch.nn.Module
        What to export: a checkpoint's path, an ONNX file's, the name of an architecture (generated weights, for measuring latency), a dict of tensors
        as `state_dict()` gives it (PyTorch, NumPy, anything with DLPack or a buffer; nothing is copied where it is dense), or a module.
    path : str or os.PathLike, optional
        Where the file goes; a folder, or nothing, takes the default name.
    target : str
        What the file is for: ``onnx``, ``tensorrt-onnx``, ``coreml`` or ``coreai``.
    architecture : str, optional
        Which model, as `vitc.models` names it. Recognised from the tensors if left out.
    verify : bool
        Run the module itself on the inputs of the check, as it is, in `eval()` mode and without gradients, and compare the file with it too.
    progress : callable or bool, optional
        Called with a line for each step. ``True`` shows a bar if `tqdm` is installed, ``False`` nothing; by default a bar is shown on a terminal.
    **options
        Those of the command ``vitc export``, with underscores: ``fp16=True``, ``resolution=(192, 256)``, ``ignore=["aux.*"]``, ``labels=["cat", "dog"]``,
        ``check=False``. `vitc.options("export")` lists them all.

    Returns
    -------
    Report
        What was made: every field of ``--json``.

    Raises
    ------
    vitc.RefusedError
        The model or the machine does not allow it.
    vitc.UsageError
        The arguments contradict each other.
    vitc.CheckError
        The file does not compute what the model computes; nothing was put in its place.

    Examples
    --------
    >>> vitc.export(model, "model.onnx", target="onnx", verify=True)
    """
    if verify and not is_module(model):
        raise UsageError("verify=True needs the module itself: vitc.export(module, verify=True)")
    with Arguments("export") as arguments:
        given = arguments.model(model, architecture)
        if path is not None:
            arguments.add("out", path)
        arguments.add("target", target)
        arguments.options(options)
        return _run(arguments, given, Witness(model) if verify else None, progress)


def check(
    artifact: Union[str, os.PathLike],
    model: Any = None,
    *,
    architecture: Optional[str] = None,
    progress: Asked = None,
    **options: Any,
) -> Report:
    """Check a file that lies on the disk: against the model it was made from, or against values from outside.

    Parameters
    ----------
    artifact : str or os.PathLike
        The file.
    model : str, os.PathLike, Mapping or torch.nn.Module, optional
        Its trained weights, as for `export`.
    architecture : str, optional
        Which model, if the file does not say.
    progress : callable or bool, optional
        As for `export`.
    **options
        Those of the command ``vitc check``: ``input=array, expect=array, atol=1e-3``.

    Returns
    -------
    Report
        What was found.

    Raises
    ------
    vitc.CheckError
        They differ; `report` of the error has the figures.
    """
    with Arguments("check") as arguments:
        arguments.place(artifact)
        given = arguments.model(model, architecture) if model is not None else None
        if model is None and architecture is not None:
            arguments.place(architecture)
        arguments.options(options)
        return _run(arguments, given, None, progress)


def inspect(model: Any, *, progress: Asked = None, **options: Any) -> Report:
    """What is in a model, a file or a checkpoint: size, cost, stages, operations, interface.

    Parameters
    ----------
    model : str, os.PathLike, Mapping or torch.nn.Module
        A file, the name of an architecture, or what `export` takes.
    progress : callable or bool, optional
        As for `export`.
    **options
        Those of the command ``vitc inspect``: ``tensors=True``, ``resolution=256``.

    Returns
    -------
    Report
        What was found.
    """
    with Arguments("inspect") as arguments:
        given = None
        if isinstance(model, PATHS):
            arguments.place(model)
        else:
            given = held(model)
            arguments.place(given.name)
        arguments.options(options)
        return _run(arguments, given, None, progress)


def run(
    artifact: Union[str, os.PathLike],
    pictures: Union[str, os.PathLike, Sequence[Union[str, os.PathLike]]],
    *,
    progress: Asked = None,
    **options: Any,
) -> Report:
    """What a file says about pictures.

    Parameters
    ----------
    artifact : str or os.PathLike
        The file.
    pictures : str, os.PathLike or a sequence of them
        PNG or JPEG files.
    progress : callable or bool, optional
        As for `export`.
    **options
        Those of the command ``vitc run``: ``out=FOLDER``, ``function=NAME``.

    Returns
    -------
    Report
        ``pictures`` has the classes, boxes or drawings of each.
    """
    with Arguments("run") as arguments:
        arguments.place(artifact)
        for picture in [pictures] if isinstance(pictures, PATHS) else pictures:
            arguments.place(picture)
        arguments.options(options)
        return _run(arguments, None, None, progress)


def evaluate(
    artifact: Union[str, os.PathLike],
    folder: Union[str, os.PathLike],
    *,
    progress: Asked = None,
    **options: Any,
) -> Report:
    """How often a file is right about pictures whose classes are known.

    Parameters
    ----------
    artifact : str or os.PathLike
        The file.
    folder : str or os.PathLike
        A folder of pictures: one folder a class, or any with ``list=FILE`` or ``masks=FOLDER``.
    progress : callable or bool, optional
        As for `export`.
    **options
        Those of the command ``vitc evaluate``: ``against=FILE``.

    Returns
    -------
    Report
        ``judged`` has the figures.
    """
    with Arguments("evaluate") as arguments:
        arguments.place(artifact)
        arguments.place(folder)
        arguments.options(options)
        return _run(arguments, None, None, progress)


def models() -> list[dict[str, Any]]:
    """Every architecture that is known by its paper.

    Returns
    -------
    list of dict
        ``model``, ``aliases``, ``parameters``, ``macs``, ``resolution``, ``top1``, ``classes``, ``paper`` and ``code`` of each.
    """
    with Arguments("list") as arguments:
        return _run(arguments, None, None, False).json["models"]


def options(command: str) -> dict[str, str]:
    """The keyword arguments of a command, and what each does.

    Parameters
    ----------
    command : str
        ``export``, ``check``, ``inspect``, ``run`` or ``evaluate``.

    Returns
    -------
    dict
        Name and help of each, in the order of the command line.
    """
    return {name: option["help"] for name, option in keywords(command).items()}


# The process that ran the first command.
_first: Optional[int] = None


def _run(arguments: Arguments, given: Optional[Held], witness: Optional[Witness], progress: Asked) -> Report:
    _check_process()
    weights = None if given is None else (given.name, given.entries, given.settings)
    asked = None if witness is None else (witness, witness.is_half)
    with Progress(progress, arguments.shown) as told, witness or contextlib.nullcontext():
        exit_code, text, summary, message, page = _vitc.call(arguments.words, weights, asked, told)
        report = Report(json.loads(arguments.shown(text)), arguments.shown(summary), page)
        if exit_code == 0:
            if message:
                told.notice(message)
            return report
    raise BY_EXIT_CODE[exit_code](arguments.shown(message or text), report)


def _check_process() -> None:
    """Refuse to run where the threads of an earlier command are missing: it would wait for them for good."""
    global _first
    if _first is None:
        _first = os.getpid()
    if _first != os.getpid():
        raise RefusedError(
            "vitc was used before this process was forked, and its threads stayed behind\n"
            "  start processes with multiprocessing.get_context('spawn'), or use vitc in the new process only"
        )
