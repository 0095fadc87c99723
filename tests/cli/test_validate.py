from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rollout.cli import VERBS, run, validate
from rollout.cli.validate import command
from rollout.core.lifecycle import RolledBack, Started
from rollout.core.manifest import AdapterManifest
from rollout.core.plan import Share
from rollout.integrations.documents import StrictDocuments
from rollout.integrations.ledger import FolderLedger
from rollout.report.findings import FORMS
from rollout.usecases.book import Book, Signature
from rollout.usecases.release import version_of
from tests.core.factories import NOON
from tests.support.adapters import REPOSITORY, write_repository

MANIFEST = "manifests/support/support-bot.yaml"
RULES = len(list((REPOSITORY / "policies/rules").glob("*/rule.yaml")))


def git(root: Path, *words: str) -> None:
    subprocess.run(
        ["git", "-C", str(root), "-c", "user.name=t", "-c", "user.email=t@example.org", *words],
        check=True,
        capture_output=True,
    )


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = write_repository(tmp_path / "repository")
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "first")
    monkeypatch.chdir(root)
    return root


def edit(root: Path, old: str, new: str) -> None:
    manifest = root / MANIFEST
    assert old in manifest.read_text()
    manifest.write_text(manifest.read_text().replace(old, new))


def line_of(root: Path, text: str) -> int:
    """The line of the manifest that holds a text, counted from 1."""
    lines = (root / MANIFEST).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def status_of(*words: str) -> int:
    return run(["validate", *words])


def invoke(*words: str) -> Result:
    return CliRunner().invoke(command, words, standalone_mode=False)


def test_the_help_is_the_line_in_the_list_of_verbs() -> None:
    assert (command.help or "").split("\n")[0] == VERBS["validate"]


def test_a_repository_in_order_ends_with_zero(repository: Path) -> None:
    assert status_of() == 0
    assert invoke().output.endswith(f"1 manifest, {RULES} rules: nothing found\n")


def test_a_blocking_finding_ends_with_one_and_shows_the_line(repository: Path) -> None:
    edit(repository, "license: Apache-2.0", "license: CC-BY-NC-4.0")
    number = line_of(repository, "license: CC")
    assert status_of("--base", "HEAD") == 1
    later = [
        path.parent.name
        for path in sorted((REPOSITORY / "policies/rules").glob("*/rule.yaml"))
        if "stage: release" in path.read_text()
    ]
    assert invoke("--base", "HEAD").output == (
        f"{MANIFEST}:{number}:12: error[license-known]: "
        "the license CC-BY-NC-4.0 is not among those that were cleared\n"
        f"  {number} |   license: CC-BY-NC-4.0\n"
        "     |            ^^^^^^^^^^^^\n"
        "  = help: Have the license cleared and added to this rule, or train on data with another one.\n"
        "\n"
        f"note: checked at release only (--release): {', '.join(later)}\n"
        f"1 manifest, {RULES} rules: 1 blocking finding\n"
    )


def test_a_warning_alone_ends_with_zero(repository: Path) -> None:
    edit(repository, "team: support", "team: others")
    assert status_of() == 0
    assert "warning[manifest-in-its-place]" in invoke().output


def test_an_unreadable_manifest_ends_with_three_and_shows_every_problem(repository: Path) -> None:
    edit(repository, 'version: "1.0.0"', "version: 1.10")
    edit(repository, "tier: low", "tier: lwo")
    assert status_of() == 3
    output = invoke().output
    assert f"{MANIFEST}:6:10: error[document-invalid]: /version: this must be text" in output
    assert "  6 | version: 1.10\n    |          ^^^^\n" in output
    assert "error[document-invalid]: /risk/tier:" in output
    assert "tier: lwo\n     |         ^^^\n" in output


def test_two_manifests_of_one_name_are_shown_at_their_names(repository: Path) -> None:
    text = (repository / MANIFEST).read_text()
    (repository / MANIFEST).with_name("twin.yaml").write_text(text)
    number = line_of(repository, "name: support-bot")
    assert (
        f"  {number} | name: support-bot   # what clients put into `model`\n    |       ^^^^^^^^^^^\n"
        in invoke().output
    )


def test_no_rules_end_with_three(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for rule in (repository / "policies/rules").glob("*/rule.yaml"):
        rule.unlink()
    assert status_of() == 3
    assert "there are no rules" in capsys.readouterr().err


def test_a_base_without_rules_is_named_with_what_to_do(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    git(repository, "rm", "-q", "-r", "--cached", "policies/rules")
    git(repository, "commit", "-q", "-m", "none")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout
    assert status_of("--base", "main") == 3
    error = capsys.readouterr().err
    assert f"at main ({commit[:7]}) there are no rules below policies/rules/" in error
    assert "merge the policies first" in error


def test_below_the_root_of_git_a_base_without_rules_is_explained(
    repository: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (repository / ".git").rename(tmp_path / ".git")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "moved")
    monkeypatch.chdir(repository)
    assert status_of("--base", "HEAD") == 3
    assert (
        f"the root of the git repository, {tmp_path}, and repository/ lies below it"
        in capsys.readouterr().err
    )


def test_no_manifests_end_with_three(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (repository / MANIFEST).unlink()
    assert status_of() == 3
    assert "there is no manifest below manifests/" in capsys.readouterr().err


def test_an_unknown_base_ends_with_three(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of("--base", "no-such-branch") == 3
    assert "no-such-branch" in capsys.readouterr().err


def test_a_base_that_looks_like_an_option_is_only_a_name(repository: Path) -> None:
    assert status_of("--base", "--output=/tmp/x") == 3


def test_a_path_outside_of_the_repository_is_a_wrong_use(repository: Path) -> None:
    assert status_of("../other.yaml") == 2


def test_paths_are_relative_to_where_one_stands(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository / "manifests")
    assert status_of("support/support-bot.yaml") == 0
    assert status_of("../manifests") == 0


def test_policies_come_from_the_base_and_not_from_the_change(repository: Path) -> None:
    edit(repository, "license: Apache-2.0", "license: CC-BY-NC-4.0")
    (repository / "policies/rules/license-known/rule.yaml").unlink()
    assert status_of() == 0
    assert status_of("--base", "HEAD") == 1


def test_content_that_the_base_had_before_is_a_revert(repository: Path) -> None:
    before = (repository / MANIFEST).read_text()
    edit(repository, 'version: "1.0.0"', 'version: "1.1.0"')
    git(repository, "commit", "-qam", "second")
    edit(repository, 'version: "1.1.0"', 'version: "0.9.0"')
    assert status_of("--base", "HEAD") == 1
    (repository / MANIFEST).write_text(before)
    assert status_of("--base", "HEAD") == 0


def test_json_is_for_machines(repository: Path) -> None:
    edit(repository, "license: Apache-2.0", "license: CC-BY-NC-4.0")
    document = json.loads(invoke("--base", "HEAD", "--format", "json").output)
    assert document["outcome"] == "blocked"
    (finding,) = document["findings"]
    number = line_of(repository, "license: CC")
    assert (finding["rule"], finding["line"], finding["blocks"]) == ("license-known", number, True)


def test_markdown_lets_no_text_out_of_its_code_span(repository: Path) -> None:
    edit(repository, "license: Apache-2.0", 'license: "`<img src=x>` | @everyone"')
    rows = [line for line in invoke("--format", "markdown").output.splitlines() if "license-known" in line]
    assert rows == [
        f"| `{MANIFEST}:{line_of(repository, 'img src')}` | `license-known` "
        "`the license '<img src=x>' \\| @everyone is not among those that were cleared` | "
        "`Have the license cleared and added to this rule, or train on data with another one.` |"
    ]


def test_the_report_can_go_to_a_file(repository: Path, tmp_path: Path) -> None:
    place = tmp_path / "report.json"
    assert status_of("--format", "json", "--output", str(place)) == 0
    assert json.loads(place.read_text())["outcome"] == "pass"


def test_several_reports_come_from_one_run(repository: Path, tmp_path: Path) -> None:
    edit(repository, "license: Apache-2.0", "license: CC-BY-NC-4.0")
    files = {form: tmp_path / f"report.{form}" for form in FORMS}
    files["json"].write_text("what was there is replaced")
    words = [word for form, file in files.items() for word in ("--output", f"{form}={file}")]
    result = invoke("--base", "HEAD", "--format", "github", *words)
    assert result.return_value == 1
    assert result.output == files["github"].read_text()
    assert result.output.startswith("::error ")
    assert files["text"].read_text() == invoke("--base", "HEAD").output
    assert json.loads(files["json"].read_text())["exit_status"] == 1
    assert json.loads(files["sarif"].read_text())["version"] == "2.1.0"
    assert files["markdown"].read_text().startswith("### ❌ this change is blocked")
    assert files["junit"].read_text().startswith("<?xml")


def test_a_run_that_cannot_be_done_leaves_no_older_report_behind(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sarif, text = tmp_path / "out.sarif", tmp_path / "out.txt"
    sarif.write_text("of yesterday")
    words = ("--base", "gone", "--output", f"sarif={sarif}", "--output", f"text={text}")
    assert status_of(*words, "--format", "json") == 3
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert (document["outcome"], document["exit_status"]) == ("unreadable", 3)
    assert document["error"]["message"] in shown.err
    (run_,) = json.loads(sarif.read_text())["runs"]
    assert run_["invocations"][0]["executionSuccessful"] is False
    assert text.read_text().splitlines() == shown.err.splitlines()
    assert status_of("--base", "gone") == 3
    assert capsys.readouterr().out == ""


def test_the_command_knows_every_form_of_the_report() -> None:
    assert validate.FORMS == FORMS


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--output", "/no/such/folder/x"), "/no/such/folder/x cannot be written: No such file"),
        (("--output", "json=x", "--output", "sarif=x"), "one file cannot hold two reports"),
        (("--output", "json="), "'json=' names no file"),
        (("--output", "markdwon=s.md"), "'markdwon' is no form of a report: text, json, markdown"),
        (("--output", "=s.md"), "'' is no form of a report"),
        (("--output", "manifests"), "'manifests' names no file"),
        (("--format", "html"), "'html' is not one of"),
    ],
)
def test_an_output_that_cannot_be_is_a_wrong_use(
    repository: Path, words: tuple[str, ...], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(*words) == 2
    assert reason in capsys.readouterr().err


def test_a_file_may_have_the_sign_of_a_form_in_its_name(repository: Path) -> None:
    assert status_of("--output", "./json=x") == 0
    assert (repository / "json=x").read_text().endswith("nothing found\n")
    assert status_of("--output", "text=a=b") == 0
    assert (repository / "a=b").read_text().endswith("nothing found\n")


@pytest.mark.parametrize(
    "named", ["out.sarif", "./out.sarif", "absolute", "through a link to the repository"]
)
def test_a_link_in_the_place_of_a_report_is_replaced_and_never_followed(
    repository: Path, tmp_path: Path, named: str
) -> None:
    precious, link = tmp_path / "precious", repository / "out.sarif"
    precious.write_text("precious")
    link.symlink_to(precious)
    (tmp_path / "alias").symlink_to(repository)
    places = {"absolute": link, "through a link to the repository": tmp_path / "alias/out.sarif"}
    assert status_of("--output", f"sarif={places.get(named, named)}") == 0
    assert precious.read_text() == "precious"
    assert not link.is_symlink()
    assert json.loads(link.read_text())["version"] == "2.1.0"
    assert not list(repository.glob(".out.sarif*"))


def test_a_link_to_nothing_makes_nothing_elsewhere(repository: Path, tmp_path: Path) -> None:
    (repository / "out.txt").symlink_to(tmp_path / "new")
    assert status_of("--output", "out.txt") == 0
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("named", ["reports/out.json", "x/../reports/out.json", "{alias}/reports/out.json"])
def test_a_folder_of_the_repository_that_is_a_link_is_refused(
    repository: Path, tmp_path: Path, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "alias").symlink_to(repository)
    (repository / "reports").symlink_to(tmp_path / "elsewhere")
    assert status_of("--output", f"json={named.format(alias=tmp_path / 'alias')}") == 2
    assert "is reached through a link, which is refused" in capsys.readouterr().err
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_file_outside_of_the_repository_is_the_users_links_and_all(
    repository: Path, tmp_path: Path
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "folder").symlink_to(tmp_path / "real")
    (tmp_path / "real/summary").write_text("old")
    (tmp_path / "real/link").symlink_to("summary")
    assert status_of("--output", f"json={tmp_path / 'folder/link'}") == 0
    assert json.loads((tmp_path / "real/summary").read_text())["outcome"] == "pass"
    assert (tmp_path / "real/link").is_symlink()


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_a_report_can_go_to_what_is_open_already(repository: Path, tmp_path: Path, name: str) -> None:
    words = [sys.executable, "-m", "rollout", "validate", "--output", f"json={name}"]
    for target in (tmp_path / "file", None):
        with target.open("wb") if target else contextlib.nullcontext(subprocess.PIPE) as stdout:
            done = subprocess.run(words, stdout=stdout, stderr=subprocess.PIPE, check=True)
        text, end, report = (target.read_bytes() if target else done.stdout).partition(b"nothing found\n")
        assert end
        assert b"1 manifest" in text
        assert json.loads(report)["outcome"] == "pass"


def test_a_report_to_nowhere_is_one(repository: Path) -> None:
    assert status_of("--output", "sarif=/dev/null") == 0
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("form", FORMS)
def test_a_file_whose_name_is_no_utf8_is_shown_in_every_form(repository: Path, form: str) -> None:
    manifest = (repository / MANIFEST).read_bytes()
    (repository / os.fsdecode(b"manifests/support/x\xff.yaml")).write_bytes(manifest)
    (repository / os.fsdecode(b"adapters/x\xff")).write_bytes(b"x")
    words = [sys.executable, "-m", "rollout", "validate", "--base", "HEAD", "--format", form]
    done = subprocess.run([*words, "--output", f"{form}=out"], capture_output=True, check=False)
    assert b"Traceback" not in done.stderr
    assert done.returncode in {1, 3}
    for shown in (done.stdout, (repository / "out").read_bytes()):
        assert "support/x" in shown.decode()


def test_in_a_workflow_the_report_is_still_text_unless_it_is_asked_for(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert "::" not in invoke().output


def test_fix_shows_what_it_changes_and_then_validates_what_is_there(repository: Path) -> None:
    edit(repository, "task: triage\n", "task: triage  \n")
    edit(repository, "alpha: 4", "alpha: 8")
    assert "alpha-matches-config" in invoke().output
    result = invoke("--fix")
    assert result.return_value == 0
    assert f"--- a/{MANIFEST}\n+++ b/{MANIFEST}\n" in result.output
    assert "-task: triage  \n+task: triage\n" in result.output
    assert "-  alpha: 8\n+  alpha: 4\n" in result.output
    assert "\n1 manifest fixed\n" in result.output
    assert result.output.endswith(f"1 manifest, {RULES} rules: nothing found\n")
    assert "alpha: 4" in (repository / MANIFEST).read_text()


def test_a_dry_run_writes_nothing_and_says_by_its_status_whether_it_would(repository: Path) -> None:
    assert status_of("--fix", "--dry-run") == 0
    edit(repository, "task: triage\n", "task: triage  \n")
    before = (repository / MANIFEST).read_bytes()
    result = invoke("--fix", "--dry-run")
    assert result.return_value == 1
    assert (
        result.output.endswith("+task: triage\n use_case: support\n")
        or "1 manifest would be changed" in result.output
    )
    assert (repository / MANIFEST).read_bytes() == before


def test_after_a_fix_the_status_is_that_of_the_validation(repository: Path) -> None:
    edit(repository, "license: Apache-2.0", "license: CC-BY-NC-4.0  ")
    assert status_of("--fix") == 1
    assert "license: CC-BY-NC-4.0\n" in (repository / MANIFEST).read_text()


def test_a_fix_leaves_a_report_for_machines_as_it_is(repository: Path) -> None:
    edit(repository, "task: triage\n", "task: triage  \n")
    result = invoke("--fix", "--format", "json")
    assert json.loads(result.stdout)["outcome"] == "pass"
    assert "+task: triage\n" in result.stderr


def test_a_fix_cannot_make_changed_bytes_pass_under_the_same_version(repository: Path) -> None:
    weights = next(repository.rglob("adapter_model.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.write_bytes(bytes(content))
    result = invoke("--fix", "--base", "HEAD")
    assert result.return_value == 1
    assert "error[version-bumped]" in result.output
    assert "digest-matches-bytes" not in result.output


def test_with_a_base_only_what_differs_from_it_is_fixed(repository: Path) -> None:
    odd = repository / "manifests/support/odd.yaml"
    odd.write_text("name: odd  \n")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "odd")
    edit(repository, "task: triage\n", "task: triage  \n")
    status_of("--fix", "--base", "HEAD")
    assert odd.read_text() == "name: odd  \n"
    assert "task: triage\n" in (repository / MANIFEST).read_text()


def test_a_dry_run_without_a_fix_is_a_wrong_use(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of("--dry-run") == 2
    assert "--dry-run goes with --fix" in capsys.readouterr().err


def test_outside_of_a_repository_there_is_nothing_to_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert status_of() == 3
    assert "lies in no repository" in capsys.readouterr().err


@pytest.mark.e2e
def test_validate_imports_neither_torch_nor_a_server(repository: Path) -> None:
    import sys

    program = (
        "import sys; from rollout.cli import run; status = run(['validate', '--base', 'HEAD~0']); "
        "heavy = {'torch', 'transformers', 'peft', 'ldclient', 'httpx', 'starlette', 'uvicorn', 'rich'}; "
        "print(sorted(heavy & set(sys.modules))); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_bytes_that_change_below_an_untouched_manifest_are_seen(tmp_path: Path) -> None:
    write_repository(tmp_path)
    for words in (("init", "-q", "-b", "main"), ("add", "-A"), ("commit", "-qm", "one")):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=tmp_path, check=True)
    weights = next(tmp_path.rglob("adapter_model.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    done = subprocess.run(
        [sys.executable, "-m", "rollout", "validate", "--base", "main"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "digest-matches-bytes" in done.stdout


def test_a_pull_request_is_told_by_the_ledger_that_its_bytes_were_taken_back(repository: Path) -> None:
    """Under a new version too, with the line; and only where there is a base to be merged to."""
    (repository / ".gitignore").write_text("state/\n")
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "ignore state")
    manifest = StrictDocuments().read((repository / MANIFEST).read_bytes(), AdapterManifest, source=MANIFEST)
    bad = version_of(manifest, "c" * 40)
    book = Book(
        FolderLedger(repository / "state/ledger", "demo"),
        "support-bot",
        Signature(actor="ann", environment="demo"),
    )
    fields = {"plan": "p", "policy_commit": "d" * 40, "phase": "canary", "flag_version": 1, "edge": "0"}
    book.add(Started, NOON, candidate=bad, report="a" * 64, **fields)
    fields = {"automatic": False, "from_share": Share.parse("5%"), "flag_version": 2, "flag_written_at": NOON}
    book.add(RolledBack, NOON, bad=bad, reason="cites laws", incident="INC-7", **fields)
    edit(repository, 'version: "1.0.0"', 'version: "1.0.1"')
    shown = invoke("--base", "HEAD").output
    number = line_of(repository, "files:")
    assert f"{MANIFEST}:{number}:" in shown
    assert (
        "error[stays-out]: these bytes were taken back in demo on 2026-03-01 12:00 UTC by ann,"
        f" as {bad.served_name}, incident INC-7: cites laws" in shown
    )
    assert "rollout quarantine lift support-bot -e demo --version 1.0.0 --reason TEXT" in shown
    assert "stays-out" not in invoke().output
