"""Our import names are plain words: nothing else installed may bear one, or one would hide the other."""

import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ROOT_PACKAGES = PYPROJECT["tool"]["importlinter"]["root_packages"]
NOT_SHIPPED = {"benchmarks", "tests"}


def test_the_root_folders_are_the_packages_that_the_import_contracts_know() -> None:
    folders = {init.parent.name for init in ROOT.glob("[!.]*/__init__.py")}

    assert folders - NOT_SHIPPED == set(ROOT_PACKAGES)


def test_the_build_and_the_type_checker_know_the_same_packages() -> None:
    assert set(PYPROJECT["tool"]["uv"]["build-backend"]["module-name"]) == set(ROOT_PACKAGES)
    assert set(PYPROJECT["tool"]["mypy"]["packages"]) == set(ROOT_PACKAGES)


def test_no_installed_distribution_bears_a_root_name() -> None:
    installed = packages_distributions()
    ours = {PYPROJECT["project"]["name"]}

    collisions = {name: set(installed.get(name, [])) - ours for name in ROOT_PACKAGES}

    assert not any(collisions.values()), f"these bring a top-level module of our name: {collisions}"


def test_no_module_of_the_standard_library_bears_a_root_name() -> None:
    assert not sys.stdlib_module_names & set(ROOT_PACKAGES)
