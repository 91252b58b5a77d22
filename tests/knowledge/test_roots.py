"""Only what lies below the allowed folders is found and read, however its path is written; each thing that is refused is named."""

from __future__ import annotations

import glob
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import papers
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from suite.errors import BadRequest
from suite.knowledge import golden
from suite.knowledge import roots as module
from suite.knowledge.read import Reader
from suite.knowledge.roots import Roots
from suite.settings import load


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Callable[..., Reader]]:
    """Makes readers: of `docs`, unless other roots are named; the data directory is `home/.local/data`, the host's directory `work`."""
    made: list[Reader] = []

    def make(*roots: Path, default: bool = False) -> Reader:
        setting = "" if default else os.pathsep.join(map(str, roots or (tmp_path / "docs",)))
        made.append(Reader(load({"rag_roots": setting}, {}), tmp_path / "home" / ".local" / "data", tmp_path / "work"))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def place(tmp_path: Path) -> Callable[[str], Path]:
    """Makes a file, and the folders above it, at a path below the test's folder."""
    def make(name: str, text: str = "text\n") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return make


def names(found: list[str], folder: Path) -> list[str]:
    return [os.path.relpath(path, folder) for path in found]


def test_a_folder_stands_for_everything_below_it_and_patterns_for_what_they_match(reader: Any, place: Any, tmp_path: Path) -> None:
    for name in ("a.md", "b.txt", "sub/c.md", "sub/deep/d.md", ".hidden.md", ".git/e.md", "sub/[x].md"):
        place(f"docs/{name}")
    docs = tmp_path / "docs"

    def found(*patterns: str) -> list[str]:
        files, skipped = reader().find([str(docs / pattern) for pattern in patterns])
        assert skipped == [] and files == sorted(set(files))
        return names(files, docs)

    assert found("") == ["a.md", "b.txt", "sub/[x].md", "sub/c.md", "sub/deep/d.md"]
    assert found("*.md") == ["a.md"] and found("*") == ["a.md", "b.txt"] and found("**/*.md") == ["a.md", "sub/[x].md", "sub/c.md", "sub/deep/d.md"]
    assert found("**/deep/*") == found("sub/**/d.*") == found("su[b]/**/deep/**") == ["sub/deep/d.md"]
    assert found("sub/[x].md") == ["sub/[x].md"] and found("sub/[c].md") == ["sub/c.md"]
    assert found(".git/*.md", ".hidden.md", ".*.md") == [".git/e.md", ".hidden.md"]
    assert found("a.md", "*.md", "") == found("") and found("sub/../a.md") == ["a.md"]


_NAME = st.text("ab.*?[]", min_size=1, max_size=3).filter(lambda name: name not in (".", ".."))


@given(st.lists(st.lists(_NAME, min_size=1, max_size=3), max_size=8), st.lists(st.one_of(_NAME, st.just("**")), min_size=1, max_size=4))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_patterns_match_as_pythons_own_do(tmp_path_factory: pytest.TempPathFactory, files: list[list[str]], pattern: list[str]) -> None:
    folder = tmp_path_factory.mktemp("tree").resolve()
    for parts in files:
        path = folder.joinpath(*parts)
        if not any(above.is_file() for above in path.parents) and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")
    wanted = os.path.join(folder, *pattern)
    found, _ = Reader(load({"rag_roots": str(folder)}, {}), folder / "none", folder).find([wanted])
    whole = glob.glob(os.path.join(glob.escape(wanted), "**"), recursive=True) if os.path.isdir(wanted) else \
        [wanted] if os.path.lexists(wanted) else glob.glob(wanted, recursive=True)
    assert found == sorted({os.path.normpath(path) for path in whole if os.path.isfile(path)})


def test_what_lies_outside_is_refused_with_the_roots_and_the_setting(reader: Any, place: Any, tmp_path: Path) -> None:
    inside, outside = place("docs/a.md"), place("other/b.md")
    beside = place("docs2/c.md")  # a name that begins like a root's
    sentence = f"lies outside of the folders that may be read ({tmp_path / 'docs'}); set RAG_ROOTS to add one"
    patterns = [str(inside), str(outside), str(beside), f"{tmp_path}/docs/../other/*.md", str(tmp_path), str(tmp_path / "other" / "absent.md")]
    files, skipped = reader().find(patterns)
    assert files == [str(inside)] and dict(skipped) == {pattern if ".." not in pattern else f"{tmp_path}/docs/../other/*.md": sentence
                                                        for pattern in patterns[1:]}
    for path in (outside, beside, tmp_path / "docs" / ".." / "other" / "b.md", tmp_path / "other" / "absent.md", tmp_path / "other" / "no.suffix"):
        for ask in (reader().read, reader().digest):
            with pytest.raises(BadRequest) as caught:
                ask(str(path))
            assert caught.value.message.endswith(sentence)
    assert reader(tmp_path / "other", tmp_path / "docs").find(patterns[:2])[0] == [str(inside), str(outside)]


def test_links_are_followed_to_what_may_be_read_and_nowhere_else(reader: Any, place: Any, tmp_path: Path) -> None:
    docs, real, outside = tmp_path / "docs", place("docs/real/a.md"), place("other/secret.md")
    (docs / "again.md").symlink_to(real)
    (docs / "folder").symlink_to(docs / "real")
    (docs / "circle").symlink_to(docs)
    (docs / "real" / "up").symlink_to("..")
    (docs / "out.md").symlink_to(outside)
    (docs / "outer").symlink_to(outside.parent)
    (docs / "nowhere.md").symlink_to(docs / "absent.md")
    (docs / "self.md").symlink_to(docs / "self.md")
    files, skipped = reader().find([str(docs)])
    assert files == [str(real)], "one document is indexed once, however many links lead to it"
    why = {os.path.relpath(path, docs): reason for path, reason in skipped}
    assert why.pop("out.md").startswith(f"a link to {outside}, which lies outside of the folders") and why.pop("outer").startswith("a link to ")
    assert why == {"nowhere.md": f"a link to {docs / 'absent.md'}, which does not exist", "self.md": "a link that leads in a circle"}
    for path, target in ((docs / "out.md", outside), (docs / "outer" / "secret.md", outside)):
        assert reader().find([str(path)])[0] == []
        with pytest.raises(BadRequest, match=f"leads to {target}, which lies outside of the folders"):
            reader().read(str(path))
    for path in (docs / "again.md", docs / "folder" / "a.md", docs / "circle" / "real" / "up" / "again.md"):
        assert reader().read(str(path)).path == reader().resolved(str(path)) == str(real) and reader().find([str(path)])[0] == [str(real)]
    (docs / "pretty.md").symlink_to(place("docs/raw.bin"))
    with pytest.raises(BadRequest, match=r"\.bin: no reader for it"):
        reader().read(str(docs / "pretty.md"))


def test_without_a_setting_home_the_hosts_directory_and_the_data_directory_may_be_read_but_nothing_hidden(
        reader: Any, place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    allowed = [place(name) for name in ("home/a.md", "home/sub/b.md", "work/c.md", "home/.local/data/cache/d.md")]
    refused = [place(name) for name in ("home/.ssh/notes.md", "home/.claude.json", "home/sub/.cache/e.md", "home/.local/f.md", "work/.git/g.md",
                                        "home/.local/data/.x/h.md")]
    outside = place("other/i.md")
    files, skipped = reader(default=True).find([*map(str, allowed), *map(str, refused), str(outside)])
    assert files == sorted(map(str, allowed))
    assert {Path(path).name: why.split(";")[0] for path, why in skipped} == {
        "notes.md": "lies below '.ssh', which is hidden", ".claude.json": "lies below '.claude.json', which is hidden", "e.md": "lies below '.cache', which is hidden",
        "f.md": "lies below '.local', which is hidden", "g.md": "lies below '.git', which is hidden", "h.md": "lies below '.x', which is hidden",
        "i.md": f"lies outside of the folders that may be read ({tmp_path}/home, {tmp_path}/work, {tmp_path}/home/.local/data)"}
    (tmp_path / "home" / "link.md").symlink_to(refused[0])
    assert "link.md" not in str(reader(default=True).find([str(tmp_path / "home")])[0])
    assert reader(tmp_path / "home" / ".ssh").find([str(refused[0])])[0] == [str(refused[0])], "whoever names a hidden folder means it"


@pytest.mark.parametrize("default", [True, False])
def test_the_suites_own_secrets_are_never_read(reader: Any, place: Any, tmp_path: Path, default: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    data = tmp_path / "home" / ".local" / "data"
    secrets = [place(f"home/.local/data/{name}") for name in ("run/host.json", "run/access.token", "run/deep/x.md", "keys/seal.txt", "my.pem", "a/b.key",
                                                              "chat_history")]
    place("home/.local/data/cache/fine.md")
    (data / "cache" / "link.json").symlink_to(secrets[0])
    made = reader(default=True) if default else reader(Path("/"))
    files, skipped = made.find([str(data), *map(str, secrets)])
    assert names(files, data) == ["cache/fine.md"]
    assert {Path(path).name for path, why in skipped if "the suite's own secrets, which are never read" in why} == {
        "run", "keys", "link.json", *(path.name for path in secrets)}
    for path in (*secrets, data / "cache" / "link.json"):
        with pytest.raises(BadRequest, match="the suite's own secrets"):
            made.read(str(path))


def test_a_service_without_a_home_that_starts_in_the_top_folder_shows_its_data_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/")
    assert Roots("", tmp_path, Path("/")).folders == (str(tmp_path),)
    assert Roots("/", tmp_path, Path("/")).folders == ("/",) and Roots("/", tmp_path / "data", Path("/")).refusal("/etc/.x/y") == ""


def test_the_setting_holds_absolute_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert load({"rag_roots": "docs::~/texts:/srv/../data: "}, {}, tmp_path).rag_roots == f"{tmp_path}/docs:{tmp_path}/home/texts:/data"
    assert load({}, {}, tmp_path).rag_roots == ""


def test_a_root_that_is_a_link_is_what_it_leads_to(reader: Any, place: Any, tmp_path: Path) -> None:
    real = place("disk/docs/a.md")
    (tmp_path / "home" / "docs").symlink_to(real.parent)
    assert reader(tmp_path / "home" / "docs").find([str(tmp_path / "home" / "docs")])[0] == [str(real)]


def test_a_link_that_is_swapped_in_after_the_check_leads_nowhere(reader: Any, place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docs, outside = tmp_path / "docs", place("other/a.md", "secret")
    for swapped in ("file", "folder"):
        place("docs/sub/a.md")
        made = reader()
        real_open = Roots.open

        def swap(roots: Roots, real: str, swapped: str = swapped, real_open: Any = real_open) -> int:
            (docs / "sub" / "a.md").unlink()
            if swapped == "folder":
                (docs / "sub").rmdir()
                (docs / "sub").symlink_to(outside.parent)
            else:
                (docs / "sub" / "a.md").symlink_to(outside)
            return real_open(roots, real)

        monkeypatch.setattr(Roots, "open", swap)
        with pytest.raises(BadRequest, match="goes through a link that changed just now"):
            made.read(str(docs / "sub" / "a.md"))
        monkeypatch.undo()
        (docs / "sub" / "a.md").unlink() if swapped == "file" else (docs / "sub").unlink()


def test_a_file_that_is_swapped_all_the_time_never_gives_what_lies_outside(reader: Any, place: Any, tmp_path: Path) -> None:
    inside, outside, going = place("docs/sub/a.md", "inside"), place("other/a.md", "secret"), threading.Event()
    made, texts = reader(), set()

    def swap() -> None:
        while not going.is_set():
            for target, name in ((outside, "link.md"), (inside, "copy.md")):
                link = tmp_path / "docs" / name
                link.unlink(missing_ok=True)
                link.symlink_to(target) if name == "link.md" else os.link(target, link)
                os.replace(link, tmp_path / "docs" / "target.md")

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        deadline = time.monotonic() + 60
        for number in itertools.count():
            if (number >= 500 and len(texts) > 1) or time.monotonic() > deadline:
                break
            try:
                texts.add(made.read(str(tmp_path / "docs" / "target.md")).text)
            except BadRequest:
                texts.add("refused")
    finally:
        going.set()
        swapping.join()
    assert texts == {"inside", "refused"}


def test_everything_that_cannot_be_read_is_named(reader: Any, place: Any, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    place("docs/fine.md")
    os.mkfifo(docs / "pipe.md")
    (docs / "device.md").symlink_to("/dev/zero")
    (docs / "folder.md").mkdir()
    with open(os.fsencode(docs) + b"/\xff\xfe.md", "wb"):
        pass
    os.mkdir(os.fsencode(docs) + b"/caf\xe9")
    with open(os.fsencode(docs) + b"/caf\xe9/x.md", "wb"):
        pass
    made = reader()
    files, skipped = made.find([str(docs), str(docs / "none-*.md"), str(docs / "lost.md"), str(docs / "a\0b.md"), str(docs / "\ud800.md"),
                                str(docs / ("x" * 300)), str(docs / "fine.md" / "below.md")])
    assert names(files, docs) == ["fine.md", "pipe.md"]
    why = {os.path.relpath(path, docs): reason for path, reason in skipped}
    assert why.pop("device.md").startswith("a link to /dev/zero, which lies outside")
    assert why == {"\ufffd\ufffd.md": "its name is not UTF-8; rename it", "caf\ufffd": "its name is not UTF-8; rename it",
                   "none-*.md": "no file matches", "lost.md": "no file matches", "a\0b.md": "holds a NUL character, so it is no path",
                   "\ufffd.md": "its name is not UTF-8; rename it", "x" * 300: "no file matches", "fine.md/below.md": "no file matches"}
    str(skipped).encode("utf-8")
    for name, reason in {"pipe.md": "not a regular file", "folder.md": "not a regular file", "lost.md": "does not exist", "a\0b.md": "NUL character",
                         "\udcff.md": "not UTF-8", "fine.md/x.md": "no folder", "x" * 300 + ".md": "File name too long"}.items():
        with pytest.raises(BadRequest, match=reason):
            made.read(str(docs / name))


def test_what_the_system_does_not_let_us_read_is_named(reader: Any, place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shut, file = place("docs/shut/b.md").parent, place("docs/a.md")

    def refusing(real: Any, names: set[str]) -> Any:  # root, whom no mode keeps out, runs tests too
        def call(path: Any, *rest: Any, **more: Any) -> Any:
            if os.fspath(path) in names:
                raise PermissionError(13, "Permission denied")
            return real(path, *rest, **more)
        return call

    monkeypatch.setattr("suite.knowledge.find.os.scandir", refusing(os.scandir, {str(shut)}))
    files, skipped = reader().find([str(tmp_path / "docs")])
    assert files == [str(file)] and skipped == [(str(shut), "cannot be opened: Permission denied")]
    monkeypatch.setattr(module.os, "open", refusing(os.open, {"a.md"}))
    with pytest.raises(BadRequest, match="cannot be read: Permission denied"):
        reader().read(str(file))


def test_a_device_is_not_even_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    real = os.open
    monkeypatch.setattr(module.os, "open", lambda path, *rest, **more: opened.append(path) or real(path, *rest, **more))
    with pytest.raises(BadRequest, match="not a regular file"):
        Roots("/dev", tmp_path, tmp_path).open("/dev/null")
    assert opened == ["/dev"]


def test_a_file_that_grows_meanwhile_is_refused(reader: Any, place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, made = place("docs/a.md"), reader()
    real = os.fstat

    def smaller(descriptor: int) -> Any:
        facts = real(descriptor)
        return os.stat_result((*facts[:6], 2, *facts[7:10]))

    monkeypatch.setattr("suite.knowledge.read.os.fstat", smaller)
    for ask in (made.read, made.digest):
        with pytest.raises(BadRequest, match="grew while it was read"):
            ask(str(path))


def test_the_limits_are_the_settings(place: Any, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_bytes(b"x" * (1 << 20))
    (tmp_path / "b.md").write_bytes(b"x" * ((1 << 20) + 1))
    (tmp_path / "a.pdf").write_bytes(papers.pdf("small") + b"\n" * (1 << 20))
    made = Reader(load({"rag_roots": str(tmp_path), "rag_max_file_mb": 1, "rag_max_packed_mb": 1}, {}), tmp_path / "data", tmp_path)
    assert made.read(str(tmp_path / "a.md")).bytes == 1 << 20
    for name, limit in {"b.md": "RAG_MAX_FILE_MB", "a.pdf": "RAG_MAX_PACKED_MB"}.items():
        with pytest.raises(BadRequest, match=f"1.0 MB, larger than the 1 MB of {limit}"):
            made.read(str(tmp_path / name))
    made.close()


def test_the_probes_and_the_golden_set_may_be_read_whatever_folders_are_chosen(tmp_path):
    data = tmp_path / "data"
    (data / "cache" / "probe-1").mkdir(parents=True)
    (data / "cache" / "probe-1" / "probe.md").write_text("A probe.")
    (data / "other.md").write_text("No probe.")
    reader = Reader(load({"rag_roots": str(tmp_path / "elsewhere")}, {}), data, tmp_path)
    assert reader.read(str(data / "cache" / "probe-1" / "probe.md")).text == "A probe."
    assert reader.find([str(golden.load().folder)])[0] and "Moru" in reader.read(str(golden.load().folder / "api-guide.md")).text
    with pytest.raises(BadRequest, match="outside of the folders"):
        reader.read(str(data / "other.md"))
    reader.close()
