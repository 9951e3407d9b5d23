"""The book's Python does what its page says: the blocks in `python`, one after the other. Those marked `pytorch` need what is not here."""
import contextlib
import os
import pathlib
import tempfile
import unittest
import warnings

PAGES = pathlib.Path(__file__).parent.parent.parent / "docs/src"


def blocks(page):
    """The blocks that can be run."""
    inside, found = False, []
    for line in page.read_text().splitlines():
        if line.startswith("```"):
            inside = line == "```python"
            found += [""] if inside else []
        elif inside:
            found[-1] += line + "\n"
    return found


class Book(unittest.TestCase):
    def test_every_block_runs(self):
        warnings.simplefilter("ignore")
        pages = {page.name: blocks(page) for page in sorted(PAGES.glob("*.md"))}
        self.assertGreaterEqual(len(pages["python.md"]), 4)
        before = os.getcwd()
        self.addCleanup(os.chdir, before)
        for name, code in pages.items():
            with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(None):
                os.chdir(folder)
                scope = {}
                for i, block in enumerate(code):
                    exec(compile(block, f"{name}, block {i + 1}", "exec"), scope)
                os.chdir(before)
