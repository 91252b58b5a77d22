"""Packages against what was published: files, startup files, demands and locks, each on small packages that a test installs into a folder."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from suite.checks.kernelspec import broken_specs
from suite.checks.packages import by_name, canonical, digest, everything, installed_since, integrity, listed, starters
from suite.checks.requirement import drift, python_fits, unmet
from suite.checks.surroundings import kernel_folders, site_folders
from suite.errors import SettingsError

PEM = "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUfakefake\n-----END CERTIFICATE-----\n"


def recorded(text: bytes, kind: str = "sha256") -> str:
    return f"{kind}=" + base64.urlsafe_b64encode(hashlib.new(kind, text).digest()).rstrip(b"=").decode()


def install(site: Path, name: str, version: str = "1.0", files: dict[str, str] | None = None, about: str = "", rows: str | None = "") -> Path:
    """A package as pip leaves it; `rows` are more lines of its RECORD, None leaves RECORD out."""
    kept = site / f"{name.replace('-', '_')}-{version}.dist-info"
    kept.mkdir(parents=True)
    whole = {**(files or {}), f"{kept.name}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{about}"}
    for file, text in whole.items():
        (site / file).parent.mkdir(parents=True, exist_ok=True)
        (site / file).write_text(text, encoding="utf-8")
    if rows is not None:
        lines = [f"{file},{recorded(text.encode())},{len(text.encode())}" for file, text in whole.items()]
        (kept / "RECORD").write_text("\n".join([*lines, f"{kept.name}/RECORD,,", rows]), encoding="utf-8")
    return kept


def test_whole_packages_are_listed_and_have_a_digest(tmp_path: Path) -> None:
    install(tmp_path, "Some.Part", "1.5", {"some_part/a.py": "A = 1\n"})
    install(tmp_path, "other-part", "2.0")
    found = by_name(everything([tmp_path]))
    assert listed(found) == ["other-part==2.0", "some-part==1.5"] and canonical("Some__.Part") == "some-part"
    seen = integrity(found.values())
    assert (seen.files, seen.altered, seen.unrecorded, seen.added) == (3, [], [], [])
    before = digest(found)
    install(tmp_path, "third", "0.1")
    assert digest(by_name(everything([tmp_path]))) != before and len(before) == 64


def test_the_first_of_two_packages_of_one_name_counts_and_both_are_read(tmp_path: Path) -> None:
    install(tmp_path / "a", "part", "1.0", {"part.py": "A = 1\n"})
    install(tmp_path / "b", "part", "2.0", {"part.py": "A = 2\n"})
    (tmp_path / "b" / "part.py").write_text("A = 3\n")
    every = everything([tmp_path / "a", tmp_path / "b"])
    assert listed(by_name(every)) == ["part==1.0"] and integrity(every).altered == ["part: part.py is not what its package brought"]


@pytest.mark.parametrize(("spoil", "said"), [
    (lambda path: path.write_text("A = 2\n"), "is not what its package brought"),
    (lambda path: path.unlink(), "cannot be read (No such file or directory)"),
    (lambda path: (path.unlink(), path.mkdir()), "cannot be read (Is a directory)"),
])
def test_a_file_that_was_changed_or_lost_is_named(spoil: Any, said: str, tmp_path: Path) -> None:
    install(tmp_path, "part", files={"part.py": "A = 1\n"})
    assert integrity(everything([tmp_path])).altered == []
    spoil(tmp_path / "part.py")
    assert integrity(everything([tmp_path])).altered == [f"part: part.py {said}"]


def test_a_file_of_the_same_size_and_time_is_read_again(tmp_path: Path) -> None:
    install(tmp_path, "part", files={"part.py": "A = 1\n"})
    before = (tmp_path / "part.py").stat()
    assert integrity(everything([tmp_path])).altered == []
    (tmp_path / "part.py").write_text("A = 2\n")
    os.utime(tmp_path / "part.py", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert len(integrity(everything([tmp_path])).altered) == 1


def test_what_has_no_hash_no_record_or_an_unknown_kind_of_hash(tmp_path: Path) -> None:
    install(tmp_path, "bare", rows=None)
    install(tmp_path, "part", files={"part.py": "A = 1\n"}, rows="__pycache__/part.pyc,,\nother.py,md9=abc,3")
    (tmp_path / "other.py").write_text("B\n")
    seen = integrity(everything([tmp_path]))
    assert seen.unrecorded == ["bare"] and seen.altered == ["part: other.py has a hash of the unknown kind 'md9'"]


def test_certificates_that_were_put_behind_the_trusted_ones_are_told_apart_from_a_change(tmp_path: Path) -> None:
    trusted = tmp_path / "certifi" / "cacert.pem"
    install(tmp_path, "certifi", files={"certifi/cacert.pem": PEM})
    trusted.write_text(f"{PEM}\n{PEM.replace('fakefake', 'fakefakf')}")
    seen = integrity(everything([tmp_path]))
    assert seen.altered == [] and len(seen.added) == 1 and len(seen.added[0]) == 64
    for text in (f"{PEM}import os\n", f"{PEM}{PEM}x", PEM.replace("fakefake", "fakefakf") + PEM, PEM[:-20], ""):
        trusted.write_text(text)
        seen = integrity(everything([tmp_path]))
        assert (len(seen.altered), seen.added) == (1, []), text


def test_only_certifi_s_own_file_may_have_grown(tmp_path: Path) -> None:
    install(tmp_path, "other", files={"certifi/cacert.pem": PEM})
    (tmp_path / "certifi" / "cacert.pem").write_text(PEM + PEM)
    assert len(integrity(everything([tmp_path])).altered) == 1


@pytest.mark.parametrize(("package", "files", "known"), [
    ("part", {"part.pth": "import sys; sys.x = 1\n"}, False),
    ("part", {"part.pth": "import\tsys\n"}, False),
    ("part", {"part.pth": "# a comment\n\nsome/folder\n"}, True),
    ("setuptools", {"distutils-precedence.pth": "import os\n"}, True),
    ("part", {"distutils-precedence.pth": "import os\n"}, False),
    ("part", {"__editable__.part-1.0.pth": "import __editable___part_1_0_finder\n"}, True),
    ("part", {"sitecustomize.py": "A = 1\n"}, False),
    ("part", {"usercustomize.py": "A = 1\n"}, False),
])
def test_what_a_package_runs_at_every_start_must_be_known(package: str, files: dict[str, str], known: bool, tmp_path: Path) -> None:
    install(tmp_path, package, files=files)
    found = starters(everything([tmp_path]), [tmp_path])
    assert (found == []) is known and all(f"(of {package})" in row for row in found)


@pytest.mark.parametrize(("name", "text", "known"), [
    ("stray.pth", "some/folder\n", False), ("stray.pth", "import os\n", False), ("_virtualenv.pth", "import _virtualenv", True),
    ("_virtualenv.pth", "import _virtualenv; import os", False), ("sitecustomize.py", "A = 1\n", False), ("stray.txt", "import os", True),
])
def test_what_belongs_to_no_package_is_unknown_but_for_virtualenv_s_own(name: str, text: str, known: bool, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    found = starters(everything([tmp_path]), [tmp_path])
    assert (found == []) is known and all("(of no package)" in row for row in found)


def test_a_package_that_came_after_a_moment_is_named(tmp_path: Path) -> None:
    kept = install(tmp_path, "part")
    install(tmp_path, "new-part")
    for path in kept.iterdir():
        os.utime(path, (1000, 1000))
    assert installed_since(everything([tmp_path]), time.time() - 600) == ["new-part==1.0"]
    assert installed_since(everything([tmp_path]), 999) == ["new-part==1.0", "part==1.0"]


def demanded(site: Path, *demands: str) -> list[str]:
    install(site, "local-ai-suite", about="Requires-Python: >=3.11\n" + "".join(f"Requires-Dist: {demand}\n" for demand in demands))
    return unmet(by_name(everything([site])))[0]


@pytest.mark.parametrize(("demand", "wrong"), [
    ("part", ""), ("part>=1,<2", ""), ("part>=2", "local-ai-suite demands part>=2, installed is 1.0"),
    ("gone", "local-ai-suite demands gone, which is not installed"), ("gone; python_version < '3'", ""), ('gone; extra == "test"', ""),
    ("???", "local-ai-suite demands '???', which cannot be read"), ("part[more]", 'part demands deep>=3; extra == "more", installed is 2.0'),
])
def test_demands_are_followed_to_whatever_is_needed(demand: str, wrong: str, tmp_path: Path) -> None:
    install(tmp_path, "part", about='Provides-Extra: more\nRequires-Dist: deep>=3; extra == "more"\nRequires-Dist: deep>=1\nRequires-Dist: part\n')
    install(tmp_path, "deep", "2.0")
    assert demanded(tmp_path, demand) == ([wrong] if wrong else [])


def test_the_suite_itself_must_be_installed_and_fit_python(tmp_path: Path) -> None:
    assert unmet({}) == (["local-ai-suite is not installed"], {"local-ai-suite"}) and not python_fits({}, "3.12")
    demanded(tmp_path)
    found = by_name(everything([tmp_path]))
    assert python_fits(found, "3.11.7") and not python_fits(found, "3.10.9")


def test_a_lock_says_what_is_installed_and_no_lock_says_nothing(tmp_path: Path) -> None:
    install(tmp_path, "part")
    demanded(tmp_path, "part")
    found = by_name(everything([tmp_path]))
    reached, lock = unmet(found)[1], tmp_path / "pylock.toml"
    assert drift(found, reached, lock) is None

    def locked(text: str) -> list[str] | None:
        lock.write_text(f'lock-version = "1.0"\n{text}')
        return drift(found, reached, lock)

    assert locked('[[packages]]\nname = "Part"\nversion = "1.0"\n') == []
    assert locked('[[packages]]\nname = "part"\nversion = "1.1"\n') == ["part is 1.0, locked is 1.1"]
    assert locked('[[packages]]\nname = "part"\n[[packages]]\nname = "gone"\nversion = "3"\n') == ["gone is not installed, locked is 3"]
    assert locked('[[packages]]\nname = "part"\n[[packages]]\nname = "gone"\nmarker = "python_version < \'3\'"\n') == []
    assert locked('[[packages]]\nname = "other"\nmarker = "python_version < \'3\'"\n') == ["part is not in the lock"]
    for text in ("packages = 3", "[[packages]]\nversion = '1'", "[[[", '[[packages]]\nname = "x"\nmarker = "nonsense"\n'):
        with pytest.raises(SettingsError, match=r"pylock\.toml cannot be read"):
            locked(text)


@pytest.mark.parametrize(("text", "wrong"), [
    (json.dumps({"argv": [sys.executable, "-m", "suite.kernel"]}), ""), (json.dumps({"argv": ["/nowhere/python"]}), "no program here"),
    (json.dumps({"argv": ["sh"]}), ""), (json.dumps({"argv": ["no-such-program-anywhere"]}), "no program here"), ("{", "cannot be read"),
    (json.dumps({"argv": []}), "cannot be read"), (json.dumps([]), "cannot be read"),
])
def test_a_kernel_that_could_not_be_started_is_named(text: str, wrong: str, tmp_path: Path) -> None:
    for name in ("suite", "someone-else-s"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "kernel.json").write_text(text)
    found, broken = broken_specs((tmp_path,))
    assert found == [f"suite: {tmp_path / 'suite' / 'kernel.json'}"]
    assert (not broken) if not wrong else (len(broken) == 1 and wrong in broken[0])


def test_the_first_kernel_of_a_name_is_the_one_that_jupyter_starts(tmp_path: Path) -> None:
    for folder, program in (("a", "sh"), ("b", "/nowhere/python")):
        (tmp_path / folder / "suite").mkdir(parents=True)
        (tmp_path / folder / "suite" / "kernel.json").write_text(json.dumps({"argv": [program]}))
    assert broken_specs((tmp_path / "a", tmp_path / "b"))[1] == [] and len(broken_specs((tmp_path / "b", tmp_path / "a"))[1]) == 1


def test_this_python_s_own_folders_are_found() -> None:
    assert any((folder / "psutil").is_dir() for folder in site_folders())
    assert Path(sys.prefix, "share", "jupyter", "kernels") in kernel_folders()
