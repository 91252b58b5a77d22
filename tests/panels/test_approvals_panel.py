"""The approvals panel: driven in a real kernel by the messages that a browser would send, and in parts over a real table of approvals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_memory_panel import Book
from tools_stage import Stage, desk, set_stage

from kernels import Process
from suite.errors import ApprovalNeeded
from suite.panels import approvals
from suite.panels.approvals import ApprovalsPanel
from suite.tools.tool import tool_of

START = """import suite, time, ipywidgets
from suite.errors import ApprovalNeeded
from suite.tools.tool import tool_of
bench = suite.start()
ran = []
def write_file(path: str, content: str = "") -> dict[str, object]:
    ran.append(path)
    return {"path": path}
def wait(path, **more):
    try:
        bench.tools.call("write_file", path=path, **more)
    except ApprovalNeeded as error:
        return error.facts["approval"]
tools = bench._behind.tools
tools._tools.pop("write_file", None)
tools.register(tool_of(write_file))
clock = time.time
{actor: bench._behind.keys.create(actor)[1] for actor in ("admin_user", "dev_user", "local-owner")}"""
SHOW = "panel = suite.panels.approvals(bench)\npanel"


@pytest.fixture(scope="module")
def env(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("approvals")
    return {"DATA_DIR": str(folder / "data"), "MODELS_DIR": str(models_dir), "SUITE_PORT_BASE": "auto", "HOME": str(folder),
            "IPYTHONDIR": str(folder), "RATE_LIMIT_ENABLED": "false"}


@pytest.fixture(scope="module")
def kernel(env: dict[str, str]) -> Iterator[tuple[Book, dict[str, str]]]:
    """A host, and the keys of three actors."""
    opened = Book(env, Path(env["HOME"]))
    try:
        yield opened, opened.value(START)
    finally:
        opened.close()


@pytest.fixture
def keys(kernel: tuple[Book, dict[str, str]]) -> dict[str, str]:
    return kernel[1]


@pytest.fixture
def book(kernel: tuple[Book, dict[str, str]]) -> Iterator[Book]:
    """The host's kernel, where nothing waits and nothing that was said before is remembered here."""
    opened = kernel[0]
    opened.run("for row in bench.approvals.list(): bench.approvals.cancel(row.id)")
    opened.run("ran.clear()")
    opened.seen.clear()
    yield opened
    opened.run("panel.close(); panel.renewing and panel.renewing.join()")


def press(book: Book, button: str, key: str = "", reason: str = "looks right", row: int = 0) -> None:
    """What a person does: a key, a reason, and one of the two buttons of a row."""
    if key:
        book.enter("panel.key", value=key)
    book.enter("panel.reason", value=reason)
    book.click(f"panel.rows.children[{row}].children[{('Approve', 'Reject').index(button)}]")


def saved(book: Book) -> str:
    """All that a notebook could keep: every message to the browsers, and the state of every widget."""
    return json.dumps([message["content"] for message in book.seen], default=str) + book.value("str(ipywidgets.Widget.get_manager_state())")


def test_it_shows_what_waits_with_all_arguments_and_counts_down(book: Book) -> None:
    text = "<script>x</script> " + "한글 " * 400 + "the end"
    id = book.value(f"wait('a/b.txt', content={text!r})")
    book.run(SHOW)
    assert set(book.twin) == {"application/vnd.jupyter.widget-view+json", "text/html", "text/plain"}
    facts = book.value("panel.rows.children[0].children[3].value")
    for word in ("write_file", "local-owner", "HIGH sensitivity", "a/b.txt", "the end", id[:8], f"{len(text)} characters:"):
        assert word in facts
    assert "<script" not in facts and "<script" not in book.twin["text/html"]
    assert book.shows("write_file", "HIGH", "a/b.txt", id[:8], "1 wait.", "owner-confirm", "UTC") and "the end" not in book.twin["text/plain"]
    first = book.value("panel.rows.children[0].children[2].value")
    seconds = int(first.removeprefix("<b>").removesuffix(" s</b>"))
    assert 200 < seconds <= 300
    book.until(f"int(panel.rows.children[0].children[2].value[3:-6]) < {seconds}")
    assert book.value("[panel.key.value, panel.policy.value.count('owner-confirm'), panel.renewing.daemon]") == ["", 1, True]


def test_secrets_among_the_arguments_are_masked(book: Book, keys: dict[str, str]) -> None:
    book.run(f"waits = wait('x', content='password=hunter22 {keys['dev_user'][:6]}')")
    book.seen.clear()
    book.run(SHOW)
    shown = saved(book)
    assert "hunter22" not in shown and "password=***" in shown


def test_a_call_that_comes_is_shown_and_one_that_is_decided_elsewhere_goes(book: Book) -> None:
    book.run(SHOW)
    assert book.value("[panel.waiting, panel.rows.children[0].value.count('No call waits')]") == [[], 1]
    id = book.value("wait('later.txt')")
    book.until(f"[row.id for row in panel.waiting] == [{id!r}]")
    assert book.shows("later.txt", "1 wait.")
    book.run("box = panel.rows.children[0]")
    second = book.value("wait('after.txt')")
    book.until("len(panel.rows.children) == 2")
    assert book.value("panel.rows.children[0] is box"), "whoever is about to click a row must not lose it"
    book.run(f"bench.approvals.cancel({second!r})")
    book.until("panel.rows.children == (box,) and panel.decided[0].state == 'cancelled'")
    assert book.shows("cancelled", "1 wait.")


def test_without_a_key_the_owner_confirms_in_stage_dev_and_the_grant_works_once(book: Book) -> None:
    id = book.value("wait('mine.txt')")
    book.run(SHOW)
    press(book, "Approve", reason="my own file")
    book.until("panel.said.startswith('write_file by local-owner is approved by local-owner (owner-confirm); the same call goes ahead once within 300 s.')")
    assert book.value(f"bench.approvals.get({id!r}).reason") == "my own file"
    assert book.shows("approved", "owner-confirm", "my own file", "0 wait.") and book.value("[panel.waiting, panel.reason.value]") == [[], ""]
    assert book.value("[wait('mine.txt'), ran]") == [None, ["mine.txt"]]
    book.until("panel.decided[0].state == 'used'")
    assert book.value("wait('mine.txt') is not None")


def test_a_key_decides_as_its_actor_and_is_nowhere_afterwards(book: Book, keys: dict[str, str]) -> None:
    book.run("one, two = wait('one.txt'), wait('two.txt')")
    book.run(SHOW)
    press(book, "Approve", keys["admin_user"], "checked")
    book.until("'is approved by admin_user (approver)' in panel.said")
    press(book, "Reject", f"  {keys['admin_user']} ", "too wide")
    book.until("'is rejected by admin_user (approver)' in panel.said")
    assert book.value("[bench.approvals.get(id).state for id in (one, two)]") == ["approved", "rejected"]
    assert book.shows("rejected", "too wide", "admin_user") and book.value("[panel.key.value, panel._key]") == ["", ""]
    shown = saved(book)
    assert keys["admin_user"] not in shown and keys["admin_user"][6:] not in shown and "checked" in shown


def test_the_box_is_emptied_before_the_key_is_used_and_a_key_counts_for_one_decision(book: Book, keys: dict[str, str]) -> None:
    book.run("one, two = wait('box 1.txt'), wait('box 2.txt')")
    book.run(SHOW)
    book.enter("panel.key", value=keys["admin_user"])
    book.until("'A key was entered' in panel.policy.value and panel.key.value == ''")
    emptied = [message["content"]["data"]["state"] for message in book.seen if message["msg_type"] == "comm_msg" and message["content"]["data"].get("state", {}).get("value") == ""]
    assert emptied and keys["admin_user"] not in saved(book)
    press(book, "Approve")
    book.until("len(panel.waiting) == 1 and panel.decided[0].rule == 'approver'")
    press(book, "Approve")
    book.until("panel.waiting == [] and panel.decided[0].rule == 'owner-confirm'")


@pytest.mark.parametrize(("who", "says"), [
    ("suite_" + "n" * 43, "Denied: This is not the API key of anybody"), ("dev_user", "does not hold the permission 'approvals.decide'"),
    ("local-owner", "asked for this call"), ("열쇠", "BadRequest: This is not an API key"),
])
def test_another_key_decides_nothing_and_is_forgotten_too(book: Book, keys: dict[str, str], who: str, says: str) -> None:
    id = book.value("wait('held.txt')")
    book.run(SHOW)
    press(book, "Approve", keys.get(who, who))
    book.until(f"{says!r} in panel.said")
    assert book.value(f"[bench.approvals.get({id!r}).state, len(panel.rows.children), panel._key]") == ["pending", 1, ""]
    assert book.value("panel.rows.children[0].children[0].disabled") is False and "#b42318" in book.value("panel.notice.value")
    assert book.shows(says.split("'")[0].strip()) and (who not in keys or keys[who] not in saved(book))


def test_a_decision_needs_a_reason_and_keeps_the_key_until_there_is_one(book: Book, keys: dict[str, str]) -> None:
    id = book.value("wait('why.txt')")
    book.run(SHOW)
    press(book, "Reject", keys["admin_user"], " ")
    book.until("panel.said == 'Say why you reject the call: the reason is part of the record.'")
    press(book, "Reject", reason="no need")
    book.until("'is rejected by admin_user' in panel.said")
    assert book.value(f"bench.approvals.get({id!r}).state") == "rejected"


def test_two_panels_show_the_same_and_only_one_decides(book: Book) -> None:
    id = book.value("wait('both.txt')")
    book.run(SHOW)
    book.run("other = panel; other.close(); other.renewing.join()")  # it shows the call still
    book.run(SHOW)
    press(book, "Approve")
    book.until("panel.waiting == [] and 'is approved by' in panel.said")
    book.run("other.reason.value = 'late'; other.rows.children[0].children[1].click()")
    book.until("other.said.startswith('NotPending: ') and 'is approved' in other.said and other.waiting == []")
    assert book.value(f"bench.approvals.get({id!r}).state") == "approved"
    second = book.value("wait('both again.txt')")
    book.run("third = suite.panels.approvals(bench)\nthird")
    book.until(f"[[row.id for row in each.waiting] for each in (panel, third)] == [[{second!r}]] * 2")
    press(book, "Reject")
    book.until("[[row.state for row in each.decided][0] for each in (panel, third)] == ['rejected'] * 2 and third.waiting == []")
    book.run("third.close(); third.renewing.join()")


def test_what_nobody_decided_in_time_is_over(book: Book) -> None:
    id = book.value("wait('slow.txt')")
    book.run(SHOW)
    book.run("panel.close(); panel.renewing.join()")
    book.run("tools.approver.approvals._clock = lambda: clock() + 301")
    try:
        press(book, "Approve")
        book.until("panel.said.startswith('NotPending: ') and 'is expired' in panel.said")
        assert book.value("[panel.waiting, panel.decided[0].state, ran]") == [[], "expired", []]
        assert book.shows("expired", "nobody", id[:8], "0 wait.")
        book.run(SHOW)
        fresh = book.value("wait('slow.txt')")
        book.until(f"[row.id for row in panel.waiting] == [{fresh!r}]")
        book.run("tools.approver.approvals._clock = lambda: clock() + 602")
        book.until(f"panel.waiting == [] and panel.decided[0].id == {fresh!r}")
        assert book.shows("expired", fresh[:8])
    finally:
        book.run("tools.approver.approvals._clock = clock")


def test_trouble_is_one_sentence_told_once_and_taken_back(book: Book) -> None:
    book.run(SHOW)
    book.run("listed = bench._behind.approvals.list\ndef fails(*given, **more): raise suite.errors.StorageError('The disk is gone.')\nbench._behind.approvals.list = fails")
    book.until("panel.said == 'StorageError: The disk is gone.'")
    assert book.shows("The disk is gone.")
    book.run("del bench._behind.approvals.list")
    book.until("panel.said == '' and panel.notice.value == ''")


def test_a_guest_shows_the_same_and_decides_alike(book: Book, keys: dict[str, str], env: dict[str, str]) -> None:
    book.run("one, two = wait('far 1.txt'), wait('far 2.txt')")
    book.run(SHOW)
    guest = Process(env, Path(env["HOME"]))
    try:
        guest.ask("import suite; bench = suite.start(); panel = suite.panels.approvals(bench)")
        assert guest.ask("[bench.hosting, *panel.twin()]") == [False, *book.value("panel.twin()")]
        guest.ask(f"panel.reason.value = 'from afar'; panel.key.set_state({{'value': {keys['admin_user']!r}}}); panel.rows.children[0].children[0].click()")
        book.until("[row.decided_by for row in panel.decided][0] == 'admin_user' and len(panel.waiting) == 1")
        guest.ask("panel.key.set_state({'value': 'suite_' + 'n' * 43}); panel.reason.value = 'again'")
        guest.ask("done = panel._later; threads = []; panel._later = lambda work: threads.append(done(work))")
        guest.ask("panel.rows.children[0].children[1].click(); threads[0].join()")
        assert guest.ask("panel.said").startswith(("Denied: ", "Unauthorized")), guest.ask("panel.said")
        guest.ask("panel.reason.value = 'mine'; panel.rows.children[0].children[1].click(); threads[1].join()")
        assert guest.ask("[panel.said, panel.waiting]") == ["write_file by local-owner is rejected by local-owner (owner-confirm).", []]
        book.until("panel.waiting == []")
    finally:
        guest.kill()


# ---- parts: no kernel, a real table of approvals ----


def staged(tmp_path: Path, **settings: Any) -> tuple[Stage, ApprovalsPanel]:
    """A panel over a stage on which one call waits."""
    stage = set_stage(tmp_path, mcp_user_id="local-owner", **settings)
    stage.tools._tools.pop("write_file", None)

    def write_file(path: str) -> dict[str, Any]:
        return {"path": path}

    stage.tools.register(tool_of(write_file))
    with pytest.raises(ApprovalNeeded):
        stage.tools.call("write_file", {"path": "safe\u202etxt.exe\u200b"})
    identity = {"stage": stage.settings.stage, "security_mode": stage.settings.security_mode, "workspace_dir": str(stage.workspace)}
    bench: Any = SimpleNamespace(stopped=False, approvals=desk(stage), _behind=SimpleNamespace(record=SimpleNamespace(identity=identity)))
    return stage, approvals(bench)


@pytest.mark.parametrize(("settings", "confirms"), [({}, True), ({"stage": "prod"}, False), ({"stage": "staging"}, False), ({"security_mode": "strict"}, False)])
def test_it_says_who_may_decide(tmp_path: Path, settings: dict[str, str], confirms: bool) -> None:
    stage, panel = staged(tmp_path, **settings)
    assert ("owner-confirm" in panel.policy.value, "somebody else" in panel.policy.value) == (confirms, not confirms)
    assert ("owner-confirm" in panel.twin()[0], "somebody else" in panel.twin()[1]) == (confirms, not confirms)
    stage.storage.close()


def test_characters_that_hide_or_turn_the_text_are_shown_as_numbers(tmp_path: Path) -> None:
    stage, panel = staged(tmp_path)
    for shown in (panel.rows.children[0].children[3].value, *panel.twin()):
        assert "safe\\u202etxt.exe\\u200b" in shown.replace("\\\\", "\\") and "\u202e" not in shown
    stage.storage.close()


def test_the_folder_is_seen_from_the_workspace(tmp_path: Path) -> None:
    stage, panel = staged(tmp_path)
    for cwd, shown in ((stage.workspace, "workspace"), (stage.workspace / "notes", "workspace/notes"), (tmp_path, str(tmp_path))):
        with pytest.raises(ApprovalNeeded):
            stage.tools.call("write_file", {"path": cwd.name}, cwd=cwd)
        panel._look()
        assert f" Folder: {shown} · " in panel.rows.children[-1].children[3].value and f"  {shown}  " in panel.twin()[1]
    assert [row.expires for row in panel.waiting] == sorted(row.expires for row in panel.waiting), "whoever waits longest comes first"
    stage.storage.close()


def test_a_key_that_nobody_uses_is_forgotten_after_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, panel = staged(tmp_path)
    panel.key.set_state({"value": "suite_" + "k" * 43})
    panel.renew()
    assert panel._key and "A key was entered" in panel.policy.value
    monkeypatch.setattr(panel, "_key_until", 0.0)
    panel.renew()
    assert panel._key == "" and "owner-confirm" in panel.policy.value
    stage.storage.close()


def test_it_raises_nothing_over_a_bench_that_is_none() -> None:
    panel = approvals(SimpleNamespace())  # type: ignore[arg-type]
    assert panel.said.startswith("AttributeError: ") and "AttributeError" in panel.twin()[0]


def test_it_ends_with_the_bench(book: Book) -> None:
    book.run("wait('last.txt')")
    book.run(SHOW)
    book.run("bench.stop()")
    book.until("not panel.renewing.is_alive()")
    assert book.value("panel.said") == "HostGone: This bench was stopped; call suite.start() for a new one."
    assert book.value("[row.disabled for row in panel.rows.children[0].children[:2]]") == [True, True] and book.shows("was stopped")
    book.run("bench = suite.bench.Bench(bench.settings, bench._behind); panel = suite.panels.approvals(bench)\npanel")
    assert book.value("panel.said").startswith("HostGone: This bench was stopped")
    book.run("bench = suite.start(); tools = bench._behind.tools")
