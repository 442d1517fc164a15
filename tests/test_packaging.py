"""The wheel has every package, imports go one way, and no submodule hides a public function."""

import ast
import sys
from pathlib import Path

import pytest

import dcc

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
LAYERS = ("dcc.targets", "dcc.codegen", "dcc.schedules", "dcc.passes", "dcc")  # lowest first


def packages_on_disk():
    for package, folder in SETUPTOOLS["package-dir"].items():
        for init in (ROOT / folder).rglob("__init__.py"):
            parts = init.parent.relative_to(ROOT / folder).parts
            if all(part.isidentifier() for part in parts):
                yield ".".join((package, *parts))


def source_files():
    for package, folder in SETUPTOOLS["package-dir"].items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield package, path


def layer_of(module):
    return next(layer for layer in LAYERS if module == layer or module.startswith(layer + "."))


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the absolute one"
            yield node.module
            if node.module == "dcc":  # `from dcc import passes` reaches a layer, too
                yield from (f"dcc.{alias.name}" for alias in node.names)


def test_every_package_is_listed():
    assert sorted(packages_on_disk()) == sorted(SETUPTOOLS["packages"])


def test_shipped_data_are_listed():
    patterns = SETUPTOOLS["package-data"]["dcc.data"]
    folder = ROOT / "dcc" / "data"
    listed = {path for pattern in patterns for path in folder.glob(pattern)}
    there = {
        path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }
    assert there - listed == {folder / "__init__.py"}


def test_what_the_page_of_a_report_is_made_of_is_listed():
    (pattern,) = SETUPTOOLS["package-data"]["dcc.reporting"]
    folder = ROOT / "dcc" / "reporting"
    listed = set(folder.glob(pattern))
    assert {path for path in folder.iterdir() if path.is_file() and path.suffix != ".py"} <= listed
    assert {path.name for path in listed} == {
        "charts.html.j2",
        "page.html.j2",
        "sort.js",
        "style.css",
    }


@pytest.mark.parametrize(
    ("package", "path"), list(source_files()), ids=lambda value: getattr(value, "stem", str(value))
)
def test_imports_go_one_way(package, path):
    rank = LAYERS.index(package)
    for module in imported_modules(path):
        top = module.split(".")[0]
        assert top not in ("passes", "codegen", "schedules", "targets"), f"import dcc.{module}"
        if top == "dcc" and not module.startswith("dcc.errors"):
            assert LAYERS.index(layer_of(module)) <= rank, (
                f"{path} imports {module}, which is above it"
            )


FAMILIES = ("cpu", "cuda", "vta", "mca")


@pytest.mark.parametrize("family", FAMILIES)
def test_kernels_of_one_family_use_none_of_another(family):
    others = tuple(f"dcc.schedules.{each}" for each in FAMILIES if each != family)
    for path in (ROOT / "schedules" / family).glob("*.py"):
        assert [m for m in imported_modules(path) if m.startswith(others)] == [], path


def test_errors_import_nothing():
    modules = set(imported_modules(ROOT / "dcc" / "errors.py"))
    assert modules == {"__future__"}


def test_no_submodule_bears_a_public_name():
    submodules = {path.stem for path in (ROOT / "dcc").glob("*.py")}
    submodules |= {path.name for path in (ROOT / "dcc").iterdir() if path.is_dir()}
    submodules |= {package.split(".")[1] for package in SETUPTOOLS["packages"] if "." in package}
    assert not submodules & set(dcc.__all__)


def test_public_names_are_there():
    for name in dcc.__all__:
        assert getattr(dcc, name) is not None


def test_unknown_public_name():
    with pytest.raises(AttributeError, match="no attribute 'decompres'"):
        _ = dcc.decompres


def test_version_is_that_of_the_distribution():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert dcc.__version__ == project["version"]
