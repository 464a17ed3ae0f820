"""A user's folder away from the checkout: Python files, configs, and jobs as a shell runs them there."""

import subprocess
import sys
from pathlib import Path

from tests.children import run
from tests.outside.folder import write

ROOT = Path(__file__).parents[2]
SMALL = (
    "geometry=tiny",
    "anatomy=procedural_small",
    "data.num_cases={train: 4, val: 2, test: 2}",
    "data.num_workers=0",
    "extras.progress_bar=false",
    "trainer.max_epochs=1",
    "evaluation.num_panels=0",
    "evaluation.lesions=false",
    "++callbacks.image_panels=null",
)
"""A run of seconds."""
SMALL_BENCHMARK = tuple(
    o for o in SMALL if not o.startswith(("anatomy", "data.num_cases", "trainer", "++callbacks"))
)


class Project:
    """Files of a user's, and the command line in their folder.

    Args:
        folder: A new folder; the package cannot be imported from it, nor it from the package.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def write(self, name: str, text: str) -> Path:
        """Writes a file, its text without the indentation that all its lines have."""
        write(self.folder, {name: text.lstrip("\n")})
        return self.folder / name

    def ctmar(self, *arguments: str, trust: str = "", limit: float = 300) -> subprocess.CompletedProcess[str]:
        """Runs a command; nothing but ctmar and the folder itself is where modules are looked for."""
        command = [sys.executable, str(ROOT / "ctmar" / "__main__.py"), *arguments]
        return run(command, cwd=self.folder, limit=limit, PYTHONPATH="", CTMAR_TRUST=trust)

    def passes(self, *arguments: str, trust: str = "", limit: float = 300) -> str:
        """What a command prints that must end well."""
        out = self.ctmar(*arguments, trust=trust, limit=limit)
        assert out.returncode == 0, f"{' '.join(arguments)}\n{out.stdout}\n{out.stderr}"
        return out.stdout

    def refused(self, *arguments: str, trust: str = "") -> str:
        """The one line of a command that must end with a user's mistake."""
        out = self.ctmar(*arguments, trust=trust)
        lines = [line for line in out.stderr.splitlines() if line.startswith("error: ")]
        assert out.returncode == 2 and len(lines) == 1, f"{out.stdout}\n{out.stderr}"
        return lines[0]
