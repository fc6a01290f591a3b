"""The import contracts of pyproject.toml hold, and each of them can fail."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]

# For each contract, modules that break it: the path of each, and what it says.
BREACHES = {
    "Data flows one way": {"storage/breach.py": "import analytics"},
    "The domain knows the standard library only": {"domain/breach.py": "import polars"},
    "Analytics is frames in, findings out: only its jobs touch the store": {"analytics/breach.py": "import storage"},
    "Only storage talks to the database": {"api/breach.py": "import clickhouse_connect"},
    "The simulator is heard only over the wire": {"simulator/breach.py": "import storage"},
    "Nothing imports in a circle": {
        "alerts/breach.py": "import alerts.told",
        "alerts/told.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import alerts.breach",
    },
}


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts of the pyproject.toml in `folder`; return exit code and printed verdicts."""
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"],
        cwd=folder,
        env=os.environ | {"COLUMNS": "200"},  # a verdict stays on the line of its contract
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def skeleton(tmp_path: Path) -> Path:
    """The root packages, empty but for the imports that contracts allow by name: they obey all contracts."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in SETTINGS["root_packages"]:
        write_module(tmp_path / package / "__init__.py", "")
    for contract in SETTINGS["contracts"]:
        for allowed in contract.get("ignore_imports", []):
            importer, imported = (name.removesuffix(".**").split(".") for name in allowed.split(" -> "))
            module = Path(*importer).with_suffix(".py")
            for package in list(module.parents)[:-1]:
                write_module(tmp_path / package / "__init__.py", "")
            write_module(tmp_path.joinpath(*imported, "named.py"), "")
            write_module(tmp_path / module, f"import {'.'.join(imported)}.named")
    return tmp_path


def write_module(path: Path, source: str) -> None:
    """Write `source` as the module `path`, making its package's folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{source}\n", encoding="utf-8")


def test_this_repository_keeps_its_import_contracts() -> None:
    verdict = lint_imports(ROOT)

    assert verdict.returncode == 0, verdict.stdout + verdict.stderr


def test_packages_that_import_nothing_forbidden_keep_all_contracts(skeleton: Path) -> None:
    verdict = lint_imports(skeleton)

    assert verdict.returncode == 0, verdict.stdout + verdict.stderr


def test_every_contract_has_a_breach_to_try() -> None:
    assert {contract["name"] for contract in SETTINGS["contracts"]} == set(BREACHES)


@pytest.mark.parametrize("contract", BREACHES)
def test_a_forbidden_import_breaks_the_contract(contract: str, skeleton: Path) -> None:
    for path, source in BREACHES[contract].items():
        write_module(skeleton / path, source)

    verdict = lint_imports(skeleton)

    assert verdict.returncode == 1
    assert f"{contract} BROKEN" in verdict.stdout


def test_every_package_is_looked_at_for_circles() -> None:
    (circles,) = (contract for contract in SETTINGS["contracts"] if contract["type"] == "acyclic_siblings")

    assert set(circles["ancestors"]) == set(SETTINGS["root_packages"])
