"""Build ``build/view``: the packages as the import system sees them, for static tools.

The four folders at the top level are the subpackages ``dcc.*`` by setuptools' ``package-dir``, which mypy cannot follow
in an editable install. ``PYTHONPATH=build/view`` also runs everything without an installation.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Replace ``build/view`` by links to the package folders."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"][
        "package-dir"
    ]
    view = ROOT / "build" / "view"
    shutil.rmtree(view, ignore_errors=True)
    for package, folder in sorted(table.items()):
        target = view / package.replace(".", "/")
        if "." in package:
            target.symlink_to(ROOT / folder, target_is_directory=True)
            continue
        target.mkdir(parents=True)
        for path in (ROOT / folder).iterdir():
            if path.name != "__pycache__":
                (target / path.name).symlink_to(path, target_is_directory=path.is_dir())


if __name__ == "__main__":
    main()
