"""How a command ends where the output takes no more, and what its last words may hold."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from rollout.cli import cli, run
from rollout.cli.outputs import Output, write_reports
from rollout.errors import ServingUnavailable, Usage

COMMANDS = [["schema", "manifest"], ["--help"], ["--version"], ["schema", "--help"]]


def rollout(words: list[str], **settings: object) -> subprocess.CompletedProcess[str]:
    outer = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run([sys.executable, "-m", "rollout", *words], text=True, env=outer, check=False, **settings)  # type: ignore[call-overload, no-any-return] # fmt: skip


@pytest.mark.parametrize("words", COMMANDS)
def test_a_full_disk_behind_the_output_is_told_in_a_line(words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        ended = rollout(words, stdout=full, stderr=subprocess.PIPE)
    assert ended.returncode == 4, "a retry is reasonable"
    assert ended.stderr.splitlines()[0] == (
        "error[outside-unavailable]: the output takes no more: No space left on device"
    )
    assert "Traceback" not in ended.stderr


def test_a_report_that_cannot_be_written_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = Output("json", tmp_path / "missing" / "report.json")
    with pytest.raises(Usage, match="cannot be written"):
        write_reports(
            lambda form, _: f"hours of work as {form}", "text", [missing], summary="", root=tmp_path
        )
    assert capsys.readouterr().out == "hours of work as text"


def test_an_output_that_nobody_reads_is_no_verdict() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = rollout(["schema", "manifest"], stdout=writing, stderr=subprocess.PIPE)
    finally:
        os.close(writing)
    assert ended.returncode == 4, "1 says that something is blocked"
    assert "Broken pipe" in ended.stderr


def test_a_report_is_in_its_file_although_nobody_reads_the_screen(tmp_path: Path) -> None:
    report = tmp_path / "report.txt"
    program = (
        "import sys; from pathlib import Path; from rollout.cli.outputs import Output, write_reports\n"
        "write_reports(lambda form, colour: 'hours of work', 'text', [Output('json', Path(sys.argv[1]))],"
        " summary='', root=Path('/nowhere'))\n"
    )
    with Path("/dev/full").open("w") as full:
        words = [sys.executable, "-c", program, str(report)]
        assert subprocess.run(words, stdout=full, stderr=subprocess.PIPE, check=False).returncode != 0
    assert report.read_text() == "hours of work"


def test_the_status_tells_where_no_word_arrives() -> None:
    with Path("/dev/full").open("w") as full:
        assert rollout(["schema", "manifest"], stdout=full, stderr=full).returncode == 4


def test_a_terminal_obeys_no_word_of_a_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    def told() -> None:
        raise ServingUnavailable("it said \x1b]0;own\x07\u202e\r", advice="try\x1b[2J\nagain")

    monkeypatch.setattr(cli, "get_command", lambda _context, _name: told)
    assert run(["told"]) == 4
    shown = click.unstyle(capsys.readouterr().err)
    assert shown.splitlines() == [
        "error[serving-unavailable]: it said \\u001b]0;own\\u0007\\u202e\\u000d",
        "  try\\u001b[2J",
        "again",
        "runbook: rollout runbook serving-unavailable",
    ]


def write(root: Path, file: Path, content: str) -> None:
    write_reports(
        lambda _form, _colour: content, "text", [Output(None, file)], summary="", root=root.resolve()
    )


@pytest.fixture(params=["in the repository", "outside of it"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where a report is written; the repository is `tmp_path / "root"`."""
    (tmp_path / "root").mkdir()
    place = tmp_path / "root" / "reports" if request.param == "in the repository" else tmp_path / "out"
    place.mkdir()
    return place


def test_a_disk_that_fills_up_leaves_the_report_of_before(folder: Path, tmp_path: Path) -> None:
    report = folder / "report.txt"
    report.write_text("of before")
    # A limit on the size of files ends a write midway, as a full disk does.
    program = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from rollout.cli.outputs import Output, write_reports; from rollout.errors import Usage\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: write_reports(lambda form, colour: 'x' * 100_000, 'text', [Output(None, Path(sys.argv[1]))],"
        " summary='', root=Path(sys.argv[2]))\n"
        "except Usage as error: sys.exit(error.message)\n"
    )
    words = [sys.executable, "-c", program, str(report), str((tmp_path / "root").resolve())]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (ended.returncode, "cannot be written: File too large" in ended.stderr) == (1, True), ended.stderr
    assert report.read_text() == "of before"
    assert [file.name for file in folder.iterdir()] == ["report.txt"], "nothing half written is left either"


def test_a_link_outside_of_the_repository_still_leads_to_its_file(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "real.txt").write_text("of before")
    (tmp_path / "real.txt").chmod(0o640)
    link = tmp_path / "link.txt"
    link.symlink_to("real.txt")
    write(tmp_path / "root", link, "new")
    assert link.is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"
    assert (tmp_path / "real.txt").stat().st_mode & 0o777 == 0o640
    link.unlink()
    link.symlink_to("not-yet.txt")
    write(tmp_path / "root", link, "made")
    assert (tmp_path / "not-yet.txt").read_text() == "made"


def test_a_device_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    write(tmp_path, Path(os.devnull), "gone")
    assert Path(os.devnull).is_char_device()
    with pytest.raises(Usage, match="No space left"):
        write(tmp_path, Path("/dev/full"), "gone")


@pytest.mark.parametrize(("wish", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_a_terminal_shows_colours_unless_its_owner_wants_none(wish: dict[str, str], coloured: bool) -> None:
    on_a_terminal = "import pty, sys; pty.spawn(sys.argv[1:])"
    command = [sys.executable, "-c", on_a_terminal, sys.executable, "-m", "rollout"]
    environment = {**{key: value for key, value in os.environ.items() if key != "NO_COLOR"}, **wish}
    words = [*command, "status", "-e", "nowhere"]
    done = subprocess.run(words, capture_output=True, check=False, env=environment)
    assert b"there is no environment 'nowhere'" in done.stdout
    assert (b"\x1b[" in done.stdout) is coloured
