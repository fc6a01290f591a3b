"""The unit for systemd starts what there is, with a configuration that holds, and has time enough to stop."""

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tailsight.cli import Exit
from tailsight.settings import Settings, listens_openly, read_settings
from tailsight.wiring import _DRAIN_SECONDS, _GRACE_SECONDS

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "deploy/systemd"
UNIT_FILE = FOLDER / "tailsight.service"
STATE = Path("/var/lib/tailsight")
COMMAND = Path("/opt/tailsight/bin/tailsight")
CONFIG = Path("/etc/tailsight/tailsight.yaml")
GIB = 1 << 30


@pytest.fixture
def unit() -> configparser.ConfigParser:
    """The unit: systemd's format is that of INI files, but that a key may stand twice, which here is an error."""
    parser = configparser.ConfigParser(interpolation=None, comment_prefixes=("#",), delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # keys are told apart by case
    parser.read_string(UNIT_FILE.read_text(encoding="utf-8"))
    return parser


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Those of the configuration beside it, with a token beside that."""
    (tmp_path / "token").write_text("a token")
    return read_settings(Path(shutil.copy(FOLDER / "tailsight.yaml", tmp_path)), {})


def bytes_of(size: str) -> int:
    assert size.endswith("G")
    return int(size[:-1]) * GIB


def test_the_unit_serves_with_the_configuration_that_is_installed(unit: configparser.ConfigParser) -> None:
    assert unit["Service"]["ExecStart"].split() == [str(COMMAND), "serve", "--config", str(CONFIG)]
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert f"UV_PROJECT_ENVIRONMENT={COMMAND.parents[1]} " in dockerfile, "the image has it in the same place"


def test_the_configuration_may_be_served_and_keeps_everything_in_the_one_folder_that_can_be_written(
    unit: configparser.ConfigParser, settings: Settings
) -> None:
    service = unit["Service"]
    assert listens_openly(settings) is None
    assert settings.auth.token is not None
    assert {settings.web.host, settings.collector.otlp_http.host, settings.collector.otlp_grpc.host} == {"0.0.0.0"}
    assert Path("/var/lib") / service["StateDirectory"] == Path(service["WorkingDirectory"]) == STATE
    assert settings.store.embedded_path is not None
    assert settings.store.embedded_path.is_relative_to(STATE)
    assert settings.collector.wal.folder is None, "the log is beside the store"
    assert service["ProtectSystem"] == "strict"
    assert "ReadWritePaths" not in service


def test_it_has_time_to_stop_and_memory_for_the_engine(unit: configparser.ConfigParser, settings: Settings) -> None:
    service = unit["Service"]
    assert int(service["TimeoutStopSec"]) >= _GRACE_SECONDS + _DRAIN_SECONDS + settings.store.query_seconds_max
    most = bytes_of(service["MemoryMax"])
    assert settings.store.memory_limit_bytes <= 0.6 * most
    assert settings.store.memory_limit_bytes < bytes_of(service["MemoryHigh"]) < most


def test_only_what_may_get_better_by_itself_is_tried_again(unit: configparser.ConfigParser) -> None:
    assert unit["Service"]["Restart"] == "on-failure"
    assert int(unit["Service"]["RestartPreventExitStatus"]) == Exit.WRONG_USE
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"


def test_it_may_do_nothing_but_its_work_and_may_compile(unit: configparser.ConfigParser) -> None:
    service = unit["Service"]
    assert service["User"] == "tailsight"
    assert (service["NoNewPrivileges"], service["CapabilityBoundingSet"]) == ("true", "")
    assert service["SystemCallFilter"] == "@system-service"
    assert "MemoryDenyWriteExecute" not in service, "the engine cannot compile expressions then, and loads nothing"


def verified(text: str, folder: Path) -> str:
    """What systemd finds wrong with a unit, whose command is one that is there."""
    file = folder / "tailsight.service"
    file.write_text(text.replace(str(COMMAND), sys.executable), encoding="utf-8")
    command = ["systemd-analyze", "verify", "--man=no", str(file)]
    return subprocess.run(command, check=False, capture_output=True, text=True).stderr


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on PATH (Debian: systemd)")
def test_systemd_takes_the_unit_and_would_tell_of_a_key_it_does_not_know(tmp_path: Path) -> None:
    text = UNIT_FILE.read_text(encoding="utf-8")

    assert verified(text, tmp_path) == ""
    assert "ProtectSystems" in verified(text.replace("ProtectSystem=", "ProtectSystems="), tmp_path)


def test_what_is_told_to_type_installs_what_the_unit_names(unit: configparser.ConfigParser) -> None:
    operate = (ROOT / "docs/operate.md").read_text(encoding="utf-8")
    section = operate.split("## On one machine (systemd)\n", 1)[1].split("\n## ", 1)[0]
    [typed] = re.findall(r"```sh\n(.*?)```", section, flags=re.DOTALL)

    assert f"UV_PROJECT_ENVIRONMENT={COMMAND.parents[1]} " in typed
    assert f"useradd --system --home-dir {STATE} " in typed
    assert f"{CONFIG.parent}/token" in typed
    assert f"sudo -u {unit['Service']['User']} {COMMAND} doctor --config {CONFIG}" in typed
    for file in re.findall(r"deploy/systemd/\S+", typed):
        assert (ROOT / file).is_file(), file
