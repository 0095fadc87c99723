from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollout.core.adapterfiles import MAX_CONFIG, MAX_OTHER
from rollout.core.manifest import MANIFEST_SCHEMA
from rollout.errors import Unreadable, WorldChanged
from rollout.integrations.documents.yaml import parse
from rollout.usecases.fix import Fixed, fix
from rollout.wiring import build_tools, replace_file
from tests.support.adapters import REPOSITORY, good_config, write_repository
from tests.support.yamltext import documents

MANIFEST = PurePosixPath("manifests/support/support-bot.yaml")
ADAPTER = Path("adapters/1.0.0")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = write_repository(tmp_path / "repository")
    (root / "schemas").mkdir()
    shutil.copyfile(REPOSITORY / "schemas/manifest.schema.json", root / "schemas/manifest.schema.json")
    return root


def change(root: Path, *changes: tuple[str, str]) -> None:
    text = (root / MANIFEST).read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (root / MANIFEST).write_text(text)


def mended(root: Path) -> Fixed:
    (fixed,) = fix(build_tools(root), [MANIFEST], replace_file(root))
    assert (root / MANIFEST).read_bytes() == fixed.after
    (again,) = fix(build_tools(root), [MANIFEST])
    assert not again.changed
    return fixed


def lines(fixed: Fixed) -> tuple[list[str], list[str]]:
    """(lines that are gone, lines that are new)."""
    before, after = fixed.before.decode().splitlines(), fixed.after.decode().splitlines()
    return [line for line in before if line not in after], [line for line in after if line not in before]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_config(root: Path, **changes: object) -> None:
    (root / ADAPTER / "adapter_config.json").write_text(json.dumps(good_config(**changes)))


def test_a_manifest_in_order_stays_as_it_is(repository: Path) -> None:
    assert not mended(repository).changed


def test_the_example_of_this_repository_is_in_order() -> None:
    tools = build_tools(REPOSITORY)
    paths = [
        PurePosixPath(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "manifests").rglob("*.yaml")
    ]
    assert paths
    assert not [each.path for each in fix(tools, paths) if each.changed]


def test_digests_become_those_of_the_files_and_nothing_else_changes(repository: Path) -> None:
    folder = repository / ADAPTER
    (folder / "adapter_model.safetensors").write_bytes(b"other")
    (folder / "README.md").write_text("new")
    (folder / "adapter_config.json").rename(repository / "config")
    removed, added = lines(mended(repository))
    assert [line.split(":")[0].strip() for line in removed] == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert added == [
        f'    adapter_model.safetensors: "{digest(folder / "adapter_model.safetensors")}"',
        f'    README.md: "{digest(folder / "README.md")}"',
    ]


@pytest.mark.parametrize("written", ["  files: {}\n", "  files:\n", ""])
def test_digests_are_filled_in_where_there_are_none(repository: Path, written: str) -> None:
    text = (repository / MANIFEST).read_text()
    begin, end = text.index("  files:"), text.index("  rank:")
    (repository / MANIFEST).write_text(text[:begin] + written + text[end:])
    after = parse(mended(repository).after, "x").data
    assert after["artifact"]["files"] == parse(text.encode(), "x").data["artifact"]["files"]


def test_a_signature_is_no_file_of_the_adapter(repository: Path) -> None:
    (repository / ADAPTER / "model.sig").write_text("{}")
    change(repository, ("  rank: 2\n", "  signature: model.sig\n  rank: 2\n"))
    assert not mended(repository).changed


@pytest.mark.parametrize("written", ["", "  signature: null\n"])
def test_a_signature_that_is_there_is_named_and_has_no_digest(repository: Path, written: str) -> None:
    (repository / ADAPTER / "model.sig").write_text("{}")
    change(repository, ("  rank: 2\n", f"{written}  rank: 2\n"))
    fixed = mended(repository)
    before, after = (parse(text, "x").data["artifact"] for text in (fixed.before, fixed.after))
    assert after["signature"] == "model.sig"
    assert after["files"] == before["files"]


@pytest.mark.parametrize("name", [".hidden", "a b", "x" * 200, "ü.txt"])
def test_a_name_that_no_manifest_may_hold_is_not_written_into_one(repository: Path, name: str) -> None:
    (repository / ADAPTER / name).write_text("x")
    assert not mended(repository).changed


def test_what_is_no_plain_file_has_no_digest(repository: Path) -> None:
    (repository / ADAPTER / "link").symlink_to(repository / ADAPTER / "adapter_config.json")
    os.mkfifo(repository / ADAPTER / "pipe")
    (repository / ADAPTER / "folder").mkdir()
    assert not mended(repository).changed


def test_what_is_too_large_to_be_read_stays_as_it_is_declared(repository: Path) -> None:
    (repository / ADAPTER / "adapter_config.json").write_bytes(b" " * (MAX_CONFIG + 1))
    with (repository / ADAPTER / "vocab.json").open("wb") as file:
        file.truncate(MAX_OTHER + 1)
    assert not mended(repository).changed


def test_rank_alpha_and_targets_are_those_of_the_config(repository: Path) -> None:
    write_config(repository, r=4, lora_alpha=8.5, target_modules=["k_proj", "v_proj"])
    _, added = lines(mended(repository))
    assert [line.strip() for line in added if "adapter_config" not in line] == [
        "rank: 4",
        "alpha: 8.5",
        "target_modules: [v_proj, k_proj]",
    ]


def test_what_repeats_the_config_is_filled_in_where_it_is_missing(repository: Path) -> None:
    change(
        repository, ("  rank: 2\n", ""), ("  alpha: 4\n", ""), ("  target_modules: [q_proj, v_proj]\n", "")
    )
    _, added = lines(mended(repository))
    assert [line.strip() for line in added] == ["rank: 2", "alpha: 4", "target_modules: [q_proj, v_proj]"]


def test_targets_in_another_order_are_the_same(repository: Path) -> None:
    write_config(repository, target_modules=["v_proj", "q_proj"])
    _, added = lines(mended(repository))
    assert all("target_modules" not in line for line in added)


@pytest.mark.parametrize(
    "config",
    [{"peft_type": "IA3"}, {"r": 0}, {"lora_alpha": "x"}, {"target_modules": 7}],
    ids=["another method", "no rank", "no alpha", "no targets"],
)
def test_a_config_that_is_not_in_order_is_not_repeated(repository: Path, config: dict[str, object]) -> None:
    write_config(repository, **config)
    removed, added = lines(mended(repository))
    assert [line.split(":")[0].strip() for line in added] == ["adapter_config.json"]
    assert len(removed) == 1


def test_a_pattern_is_no_list_of_targets(repository: Path) -> None:
    write_config(repository, target_modules=r".*\.(q|v)_proj", r=4)
    _, added = lines(mended(repository))
    assert [line.strip() for line in added if "adapter_config" not in line] == ["rank: 4"]


@pytest.mark.parametrize(
    "uri", ["adapters/none", "../outside", "/etc", "s3://bucket/a", "hf://a/b@c", "x:y", "manifests", "''"]
)
def test_an_adapter_that_is_not_at_hand_changes_nothing(repository: Path, uri: str) -> None:
    change(repository, ("uri: adapters/1.0.0", f"uri: {uri}"))
    fixed = mended(repository)
    assert not fixed.changed
    assert fixed.obstacle is None


def test_an_adapter_behind_a_link_is_not_read(repository: Path, tmp_path: Path) -> None:
    shutil.copytree(repository / ADAPTER, tmp_path / "outside")
    (tmp_path / "outside/secret.txt").write_text("x")
    (repository / "adapters/link").symlink_to(tmp_path / "outside")
    change(repository, ("uri: adapters/1.0.0", "uri: adapters/link"))
    assert not mended(repository).changed


def test_the_form_becomes_ours_and_the_meaning_stays(repository: Path) -> None:
    text = (repository / MANIFEST).read_text()
    odd = text.replace("task: triage", "task: triage  ").replace("\n", "\r\n") + "\r\n \r\n"
    (repository / MANIFEST).write_bytes(odd.encode())
    assert mended(repository).after.decode() == text


def test_the_schema_is_named_by_its_field_and_for_editors(repository: Path) -> None:
    text = (repository / MANIFEST).read_text()
    first, second, *_ = text.splitlines(keepends=True)
    (repository / MANIFEST).write_text(text.replace(first, "# mine\n").replace(second, ""))
    assert mended(repository).after.decode() == text.replace(second, "# mine\n" + second)


def test_editors_are_not_sent_to_a_schema_that_is_not_there(repository: Path) -> None:
    (repository / "schemas/manifest.schema.json").unlink()
    text = (repository / MANIFEST).read_text()
    (repository / MANIFEST).write_text(text.split("\n", 1)[1])
    assert not mended(repository).changed


@pytest.mark.parametrize(
    "content",
    [
        b"a: [1",
        b"",
        b"\xff\xfe",
        b"a: 1\na: 2\nartifact: {uri: adapters/1.0.0}  \n",
        b"- a\n- b\n",
        b"artifact: 1\n",
    ],
)
def test_a_document_that_cannot_be_read_is_left_alone(repository: Path, content: bytes) -> None:
    (repository / MANIFEST).write_bytes(content)
    fixed = mended(repository)
    assert (fixed.changed, fixed.obstacle) == (False, None)


def test_of_what_is_no_manifest_only_the_form_is_put_right(repository: Path) -> None:
    example = REPOSITORY / "policies/rules/example.yaml"
    (repository / MANIFEST).write_bytes(example.read_bytes() + b"# end  \n\n")
    assert mended(repository).after == example.read_bytes() + b"# end\n"


def test_what_cannot_be_edited_is_told_and_the_rest_is_done(repository: Path) -> None:
    (repository / ADAPTER / "adapter_model.safetensors").write_bytes(b"other")
    change(repository, ("task: triage\n", "task: triage \n"))
    old = next(
        line for line in (repository / MANIFEST).read_text().splitlines() if "model.safetensors" in line
    )
    change(repository, (old, '    adapter_model.safetensors: "aaaa\n      bbbb"'))
    fixed = mended_but(repository)
    assert fixed.obstacle is not None
    assert "spans several lines" in fixed.obstacle
    assert lines(fixed) == (["task: triage "], ["task: triage"])


def mended_but(root: Path) -> Fixed:
    (fixed,) = fix(build_tools(root), [MANIFEST], replace_file(root))
    return fixed


def test_without_a_writer_nothing_is_written(repository: Path) -> None:
    change(repository, ("task: triage\n", "task: triage \n"))
    before = (repository / MANIFEST).read_bytes()
    (fixed,) = fix(build_tools(repository), [MANIFEST])
    assert fixed.changed
    assert (repository / MANIFEST).read_bytes() == before


@pytest.mark.parametrize("mode", [0o664, 0o640, 0o600, 0o755])
def test_the_permission_bits_of_a_file_stay(repository: Path, mode: int) -> None:
    change(repository, ("task: triage\n", "task: triage \n"))
    (repository / MANIFEST).chmod(mode)
    mended(repository)
    assert (repository / MANIFEST).stat().st_mode & 0o777 == mode
    assert sorted(path.name for path in (repository / MANIFEST).parent.iterdir()) == [MANIFEST.name]


def test_a_manifest_behind_a_link_is_refused(repository: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.yaml"
    (repository / MANIFEST).rename(outside)
    outside.write_text(outside.read_text() + "\n\n")
    (repository / MANIFEST).symlink_to(outside)
    before = outside.read_bytes()
    with pytest.raises(Unreadable, match="link"):
        fix(build_tools(repository), [MANIFEST], replace_file(repository))
    assert outside.read_bytes() == before


def test_what_somebody_else_changes_meanwhile_is_not_written_over(repository: Path) -> None:
    second = repository / "manifests/support/second.yaml"
    shutil.copyfile(repository / MANIFEST, second)
    change(repository, ("task: triage\n", "task: triage \n"))
    second.write_text(second.read_text() + "\n")

    def meanwhile(path: PurePosixPath, content: bytes) -> None:
        second.write_text("theirs\n")
        replace_file(repository)(path, content)

    with pytest.raises(WorldChanged, match=r"second\.yaml was changed by somebody else"):
        fix(build_tools(repository), [MANIFEST, PurePosixPath("manifests/support/second.yaml")], meanwhile)
    assert second.read_text() == "theirs\n"


def comments(content: bytes) -> list[bytes]:
    return re.findall(rb"# c\d+", content)


@settings(deadline=None, max_examples=80, suppress_health_check=list(HealthCheck))
@given(
    documents(),
    st.sampled_from(
        ("", "artifact: {uri: adapters/1.0.0, files: {x: y}}\n", "artifact:\n  uri: adapters/1.0.0  # c0\n")
    ),
)
def test_whatever_a_document_holds_its_other_fields_and_comments_stay(
    repository: Path, text: str, artifact: str
) -> None:
    (repository / MANIFEST).write_bytes(
        (text if text.endswith("\n") else text + "\n").encode() + artifact.encode()
    )
    fixed = mended(repository)
    before, after = (parse(content, "x").data for content in (fixed.before, fixed.after))
    ours = {"schema", "artifact"}
    assert {key: before[key] for key in before if key not in ours} == {
        key: after[key] for key in after if key not in ours
    }
    assert comments(fixed.before) == comments(fixed.after)
    assert (
        (after["artifact"]["rank"], after["schema"]) == (2, MANIFEST_SCHEMA) if artifact else before == after
    )
    assert re.search(rb"[^\n]\n\Z", fixed.after) or "|+" in text or ">+" in text
