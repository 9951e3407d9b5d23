"""The program `vitc`: the native library's command line, with this interpreter around it."""

import signal
import sys

from . import _vitc


def main() -> int:
    """Run the program on the process's arguments."""
    # Ctrl-C ends it as it ends any program: at once.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _vitc.main(["vitc", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
