"""``ctmar new FOLDER``: a project of one's own, laid out."""

import argparse
import importlib.util
import keyword
import re
import sys
from pathlib import Path

from ctmar.errors import CtmarError
from ctmar.files import write_text

TEMPLATE = Path(__file__).with_name("project")
NAME = "mine"
"""What the project is called in the template."""
KINDS = (".py", ".yaml", ".md")


def run(arguments: argparse.Namespace) -> None:
    """Lays the project out, and says what to do next."""
    written = lay_out(arguments.folder)
    print(f"{', '.join(str(path.relative_to(arguments.folder)) for path in written)} in {arguments.folder}")
    print(f"cd {arguments.folder}, and follow its README.md")


def lay_out(folder: Path) -> list[Path]:
    """Writes a project called after its folder: a method, a network, their configs, a test, a README.

    Args:
        folder: A new or an empty one.

    Returns:
        The files.

    Raises:
        CtmarError: The folder holds something, or its name is none that Python can import.
    """
    name = folder.resolve().name
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CtmarError(f"FOLDER must be new or empty, got {folder}, which is not")
    if not name.isidentifier() or keyword.iskeyword(name) or _is_taken(name):
        raise CtmarError(
            f"FOLDER's last part must be a name for a module of your own, such as my_mar, got {name!r}"
        )
    files = [
        path for path in sorted(TEMPLATE.rglob("*")) if path.is_file() and "__pycache__" not in path.parts
    ]
    written = [folder / _called(str(path.relative_to(TEMPLATE)), name) for path in files]
    for path, target in zip(files, written, strict=True):
        write_text(target, _called(path.read_text(encoding="utf-8"), name))
    return written


def _called(text: str, name: str) -> str:
    return re.sub(rf"(?<![a-z]){NAME}(?![a-z])", name, text)


def _is_taken(name: str) -> bool:
    """Whether something that is installed has that name: it would be imported in place of the project's."""
    found = importlib.util.find_spec(name)
    return name in sys.stdlib_module_names or (found is not None and found.origin is not None)
