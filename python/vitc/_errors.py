"""What ends a command, by the program's exit codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from ._report import Report


class Error(Exception):
    """A command did not do what was asked. The text says what, where, why and what to do.

    Attributes
    ----------
    exit_code : int
        What the program `vitc` would end with.
    report : Report or None
        What is known all the same.
    """

    exit_code = 1

    def __init__(self, message: str, report: Optional["Report"] = None) -> None:
        super().__init__(message)
        self.report = report


class RefusedError(Error):
    """The model, the file or the machine does not allow it (exit code 1)."""

    exit_code = 1


class UsageError(Error, ValueError):
    """The arguments contradict each other, or are none (exit code 2)."""

    exit_code = 2


class CheckError(Error):
    """The artifact does not compute what its model computes (exit code 3); nothing was put in its place."""

    exit_code = 3


BY_EXIT_CODE = {1: RefusedError, 2: UsageError, 3: CheckError}
