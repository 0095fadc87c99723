"""What goes out is what its tag says, built once, usable by a stranger; the moving tag follows the newest."""

from __future__ import annotations

import importlib.util
import io
import os
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from ruamel.yaml import YAML

from rollout import __version__
from tests.actions.test_step import read_outputs
from tests.support.adapters import REPOSITORY

SCRIPTS = REPOSITORY / ".github" / "scripts"


def _release() -> ModuleType:
    spec = importlib.util.spec_from_file_location("release", SCRIPTS / "release.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


release = _release()
WHEEL, SDIST = "adapter_rollout-1.2.3-py3-none-any.whl", "adapter_rollout-1.2.3.tar.gz"


def project(
    root: Path, *, declared: str = "1.2.3", told: str = "1.2.3", changelog: str = "## 1.2.3\n\nNew.\n"
) -> Path:
    (root / "rollout").mkdir(parents=True)
    (root / "pyproject.toml").write_text(f'[project]\nversion = "{declared}"\n')
    (root / "rollout" / "__init__.py").write_text(f'"""x"""\n\n__version__ = "{told}"\n')
    (root / "CHANGELOG.md").write_text(f"# Changelog\n\n{changelog}\n## 1.2.2 (2026-01-01)\n\nOld.\n")
    return root


def refused(question: Callable[[], object]) -> str:
    with pytest.raises(release.Refused) as why:
        question()
    return str(why.value)


def test_a_release_says_one_version_everywhere(tmp_path: Path) -> None:
    root = project(tmp_path)
    release.check("v1.2.3", root)
    assert release.notes("v1.2.3", root) == "New.\n"


@pytest.mark.parametrize(
    ("tag", "given", "told"),
    [
        ("1.2.3", {}, "'1.2.3' is no tag of a release"),
        ("v1.2", {}, "no tag of a release"),
        ("v01.2.3", {}, "no tag of a release"),
        ("v1.2.3\nx", {}, "no tag of a release"),
        ("v1.2.3; id", {}, "no tag of a release"),
        ("v1.2.4", {}, "the tag says 1.2.4, pyproject.toml 1.2.3"),
        ("v1.2.3", {"declared": "1.2.4"}, "pyproject.toml 1.2.4"),
        ("v1.2.3", {"told": "1.2.4"}, "rollout.__version__ ['1.2.4']"),
        ("v1.2.3", {"changelog": "## 1.2.30\n\nOther.\n"}, "has 0 sections of 1.2.3"),
        ("v1.2.3", {"changelog": "## 1.2.3\n\nA.\n\n## 1.2.3\n\nB.\n"}, "has 2 sections of 1.2.3"),
        ("v1.2.3", {"changelog": "## 1.2.3 (unreleased)\n\nNew.\n"}, "still says that 1.2.3 is unreleased"),
        ("v1.2.3", {"changelog": "## 1.2.3\n\n"}, "says nothing about 1.2.3"),
    ],
)
def test_one_that_does_not_goes_nowhere(tmp_path: Path, tag: str, given: dict[str, str], told: str) -> None:
    root = project(tmp_path, **given)
    assert told in refused(lambda: release.check(tag, root))


def test_a_candidate_may_still_be_unreleased(tmp_path: Path) -> None:
    root = project(
        tmp_path, declared="1.2.3rc1", told="1.2.3rc1", changelog="## 1.2.3 (unreleased)\n\nNew.\n"
    )
    release.check("v1.2.3rc1", root)


def test_this_very_tree_is_no_release_of_another_version() -> None:
    assert refused(lambda: release.check("v0.0.1")).startswith(
        f"the tag says 0.0.1, pyproject.toml {__version__}"
    )
    assert release.main([]) == 2


@pytest.mark.parametrize(
    ("tag", "tags", "moving"),
    [
        ("v1.2.3", ["v1.2.3"], "v1"),
        ("v1.2.3", ["v1", "v1.2.2", "v2.0.0", "v1.2.3"], "v1"),
        ("v1.2.3", ["v1.10.0"], ""),
        ("v1.2.3", ["v1.2.4"], ""),
        ("v1.2.3", ["v1.2.4rc1"], "v1"),
        ("v1.2.3rc1", [], ""),
        ("v0.8.0", ["v1.0.0", "not-a-tag"], "v0"),
    ],
)
def test_the_moving_tag_follows_the_newest_of_its_kind(tag: str, tags: list[str], moving: str) -> None:
    assert release.major(tag, tags) == moving


def wheel(folder: Path, *, version: str = "1.2.3", without: str = "", extra: tuple[str, ...] = ()) -> None:
    with zipfile.ZipFile(folder / WHEEL, "w") as file:
        file.writestr(
            "adapter_rollout-1.2.3.dist-info/METADATA",
            f"Metadata-Version: 2.4\nName: adapter-rollout\nVersion: {version}\n",
        )
        for name in (*release.NEEDED, *extra):
            if name != without:
                file.writestr(name, b"")


def sdist(folder: Path, *, without: str = "", extra: tuple[str, ...] = (), link: bool = False) -> None:
    needed = ("pyproject.toml", "PKG-INFO", "LICENSE", "rollout/__init__.py", "policies/README.md")
    with tarfile.open(folder / SDIST, "w:gz") as file:
        for name in (*(f"adapter_rollout-1.2.3/{each}" for each in needed if each != without), *extra):
            file.addfile(tarfile.TarInfo(name), io.BytesIO())
        if link:
            info = tarfile.TarInfo("adapter_rollout-1.2.3/x")
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            file.addfile(info)


def test_a_wheel_and_an_sdist_that_have_all_are_told_by_their_digests(tmp_path: Path) -> None:
    wheel(tmp_path)
    sdist(tmp_path)
    lines = release.files(tmp_path, "v1.2.3")
    assert [line.partition("  ")[2] for line in lines] == [WHEEL, SDIST]
    done = subprocess.run(
        ["sha256sum", "--check", "--strict"],
        cwd=tmp_path,
        input="\n".join(lines) + "\n",
        text=True,
        check=True,
        capture_output=True,
    )
    assert done.stdout.count(": OK") == 2


@pytest.mark.parametrize(
    ("of_wheel", "of_sdist", "told"),
    [
        ({"version": "1.2.4"}, {}, "says that it is adapter-rollout 1.2.4"),
        ({"without": "rollout/py.typed"}, {}, "lacks rollout/py.typed"),
        ({"extra": ("tests/test_x.py",)}, {}, "holds tests/test_x.py"),
        ({"extra": ("adapter_rollout.pth",)}, {}, "holds adapter_rollout.pth"),
        ({"extra": ("rollout/__pycache__/x.pyc",)}, {}, "holds rollout/__pycache__/x.pyc"),
        ({"extra": ("rollout/../../x",)}, {}, "holds rollout/../../x"),
        ({"extra": ("rollout/signing.pem",)}, {}, "holds rollout/signing.pem"),
        ({}, {"without": "LICENSE"}, "lacks LICENSE"),
        ({}, {"extra": ("x",)}, "holds x"),
        ({}, {"extra": ("adapter_rollout-1.2.3/.env",)}, "holds adapter_rollout-1.2.3/.env"),
        ({}, {"extra": ("adapter_rollout-1.2.3/LICENSE",)}, "holds twice"),
        ({}, {"link": True}, "holds links adapter_rollout-1.2.3/x"),
    ],
)
def test_files_that_lack_something_or_have_too_much_go_nowhere(
    tmp_path: Path, of_wheel: dict[str, str], of_sdist: dict[str, str], told: str
) -> None:
    wheel(tmp_path, **of_wheel)  # type: ignore[arg-type]
    sdist(tmp_path, **of_sdist)  # type: ignore[arg-type]
    assert told in refused(lambda: release.files(tmp_path, "v1.2.3"))


def test_nothing_else_lies_beside_them(tmp_path: Path) -> None:
    assert "holds nothing" in refused(lambda: release.files(tmp_path, "v1.2.3"))
    wheel(tmp_path)
    sdist(tmp_path)
    (tmp_path / "notes.txt").touch()
    assert "notes.txt" in refused(lambda: release.files(tmp_path, "v1.2.3"))


def git(folder: Path, *words: str) -> str:
    return subprocess.run(
        ["git", "-C", folder, "-c", "user.name=ann", "-c", "user.email=ann@example.com", *words],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with v1.2.2 and v1.2.3, of a remote whose v1 is v1.2.2."""
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "origin"], check=True)
    subprocess.run(["git", "init", "-q", tmp_path / "clone"], check=True)
    clone = tmp_path / "clone"
    git(clone, "remote", "add", "origin", str(tmp_path / "origin"))
    for version in ("v1.2.2", "v1.2.3"):
        git(clone, "commit", "-q", "--allow-empty", "-m", version)
        git(clone, "tag", "-a", "-m", version, version)
    git(clone, "tag", "v1", "v1.2.2^{commit}")
    git(clone, "push", "-q", "origin", "--tags")
    return clone


def move(clone: Path, tag: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPTS / "move.sh", tag],
        cwd=clone,
        env=os.environ | {"GH_TOKEN": "ghs_x", "GITHUB_SERVER_URL": "https://github.com"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_moving_tag_goes_to_the_newest_and_never_back(clone: Path) -> None:
    newest = git(clone, "rev-parse", "v1.2.3^{commit}")
    assert move(clone, "v1.2.3").stdout == "v1 is v1.2.3 now\n"
    assert git(clone, "ls-remote", "origin", "refs/tags/v1") == f"{newest}\trefs/tags/v1"
    assert move(clone, "v1.2.2").stdout == "v1.2.2 moves no tag\n"
    assert git(clone, "ls-remote", "origin", "refs/tags/v1") == f"{newest}\trefs/tags/v1"


def test_a_tag_that_was_not_pushed_moves_nothing(clone: Path) -> None:
    git(clone, "tag", "v1.2.4")
    done = move(clone, "v1.2.4")
    assert done.returncode == 1
    assert "there is no tag v1.2.4 at the remote" in done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A repository that has committed all that is here, and what was built of it."""
    folder = tmp_path_factory.mktemp("release")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    ).stdout
    root = folder / "root"
    for name in filter(None, listed.decode().split("\0")):
        if (REPOSITORY / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, root / name)
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "all")
    # Nothing that lies about gets in.
    (root / "rollout" / "secret.py").write_text("x = 1\n")
    subprocess.run([root / ".github/scripts/build.sh", folder / "dist"], cwd=folder, check=True)
    return root, folder / "dist"


def test_what_is_built_has_all_and_is_the_same_again(built: tuple[Path, Path], tmp_path: Path) -> None:
    root, dist = built
    first = release.files(dist, f"v{__version__}")
    with zipfile.ZipFile(next(dist.glob("*.whl"))) as file:
        assert "rollout/secret.py" not in file.namelist()
    subprocess.run([root / ".github/scripts/build.sh", tmp_path / "again"], check=True)
    assert release.files(tmp_path / "again", f"v{__version__}") == first


def step(job: str, name: str) -> str:
    """The program of a step of publish.yml."""
    jobs = YAML(typ="safe").load(REPOSITORY / ".github" / "workflows" / "publish.yml")["jobs"]
    (program,) = (each["run"] for each in jobs[job]["steps"] if each.get("name") == name)
    return str(program)


def run(program: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """As a runner does."""
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", program],
        cwd=folder,
        env={"PATH": os.environ["PATH"]} | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_each_later_job_sees_that_it_has_the_very_files(built: tuple[Path, Path], tmp_path: Path) -> None:
    root, dist = built
    shutil.copytree(dist, root / "dist", dirs_exist_ok=True)
    outputs = tmp_path / "outputs"
    done = run(
        step("build", "Nothing is missing, and nothing else is there"),
        root,
        GITHUB_OUTPUT=str(outputs),
        GITHUB_REF_NAME=f"v{__version__}",
    )
    assert done.returncode == 0, done.stderr
    sums = read_outputs(outputs)["sums"]
    programs = {
        step(job, "They are the very files that were built") for job in ("test", "attest", "pypi", "release")
    }
    assert len(programs) == 1
    assert run(*programs, root / "dist", SUMS=sums).returncode == 0
    next((root / "dist").glob("*.whl")).write_bytes(b"another")
    assert run(*programs, root / "dist", SUMS=sums).returncode == 1
    assert run(*programs, root / "dist", SUMS="").returncode == 1
    shutil.rmtree(root / "dist")


@pytest.mark.parametrize(("tag", "said"), [("v1.2.3", ""), ("v1.2.3rc1", "--prerelease ")])
def test_a_release_is_made_with_all_its_files_at_once(tmp_path: Path, tag: str, said: str) -> None:
    root = project(tmp_path / "root")
    (root / ".github" / "scripts").mkdir(parents=True)
    shutil.copy2(SCRIPTS / "release.py", root / ".github" / "scripts")
    (root / "dist").mkdir()
    for name in (WHEEL, SDIST):
        (root / "dist" / name).touch()
    words = tmp_path / "bin" / "gh"
    words.parent.mkdir()
    words.write_text('#!/bin/sh\nprintf "%s " "$@"\n')
    words.chmod(0o755)
    path = f"{words.parent}{os.pathsep}{os.environ['PATH']}"
    done = run(
        step("release", "A release that does not change any more"), root, PATH=path, GITHUB_REF_NAME=tag
    )
    assert done.stdout == (
        f"release create {tag} --verify-tag {said}--title {tag} --notes-file notes.md dist/{WHEEL} dist/{SDIST} "
    )
    assert (root / "notes.md").read_text() == "New.\n"


def test_a_stranger_can_use_the_wheel(built: tuple[Path, Path]) -> None:
    root, dist = built
    done = subprocess.run(
        [root / ".github/scripts/try.sh", dist, f"v{__version__}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "none failed" in done.stdout
    assert "1 manifest" in done.stdout


def test_a_wheel_of_another_version_is_noticed(built: tuple[Path, Path]) -> None:
    root, dist = built
    done = subprocess.run(
        [root / ".github/scripts/try.sh", dist, "v99.0.0"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "there is no wheel of 99.0.0" in done.stdout
