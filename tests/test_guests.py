"""One host and its guests, in processes of their own: parity, refusal, and what becomes of a host that ends, is killed or sleeps."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from kernels import Process, Raised

START = "import suite; bench = suite.start()"


@pytest.fixture
def env(models_dir: Path, tmp_path: Path) -> dict[str, str]:
    work = tmp_path / "work"
    work.mkdir()
    (work / "a.md").write_text("The archive room is on the third floor. 문서고는 3층에 있습니다.\n", encoding="utf-8")
    return {"DATA_DIR": str(tmp_path / "data"), "MODELS_DIR": str(models_dir), "SUITE_PORT_BASE": "auto", "WORKSPACE_DIR": str(work)}


@pytest.fixture
def processes(env: dict[str, str]) -> Iterator[list[Process]]:
    cwd = Path(env["WORKSPACE_DIR"])
    pair = [Process(env, cwd), Process(env, cwd)]
    yield pair
    for process in pair:
        process.kill()


def wait_until(condition: object, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


def test_a_second_process_is_a_guest_and_loads_no_model(processes: list[Process]) -> None:
    host, guest = processes
    host.ask(START)
    guest.ask(START)
    assert host.ask("bench.hosting") is True and guest.ask("bench.hosting") is False
    assert guest.ask("[m for m in ('llama_cpp', 'fastembed', 'onnxruntime', 'qdrant_edge', 'uvicorn', 'sqlalchemy') if m in __import__('sys').modules]") == []
    assert guest.ask("bench.status()['host']['pid']") == host.pid


def test_every_public_method_gives_the_same_on_host_and_guest(processes: list[Process], env: dict[str, str]) -> None:
    host, guest = processes
    host.ask(START)
    guest.ask(START)
    host.ask("bench.memory.create_project('parity'); note = bench.memory.remember('Where is the archive?', 'On the third floor.', project='parity')")
    host.ask("bench.memory.note('The archive is closed on Mondays.', project='parity', tags='archive')")
    host.ask("bench.memory.sync()")
    host.ask("bench.collection('parity').add('*.md')")
    shapes = {
        "chat": "{k: v for k, v in bench.chat('Hello', model='chat-7b', max_tokens=6, temperature=0).to_dict().items() if k not in ('seconds', 'tokens_per_second', 'timings')}",
        "stream": "''.join(bench.chat('Hello', model='chat-7b', max_tokens=6, temperature=0, stream=True))",
        "stream reply": "(lambda s: (list(s), s.reply.text, s.reply.smoke))(bench.chat('Hello', model='chat-7b', max_tokens=6, temperature=0, stream=True))[1:]",
        "embed": "bench.embed(['The archive is on the third floor.', '문서고']).tolist()",
        "no texts": "bench.embed([]).shape",
        "search": "[h.to_dict() for h in bench.collection('parity').search('where is the archive room')]",
        "ask": "[c.to_dict() for c in bench.collection('parity').ask('문서고는 몇 층?').citations]",
        "documents": "[d if isinstance(d, (dict, str)) else d.to_dict() for d in bench.collection('parity').documents()]",
        "count": "bench.collection('parity').count()",
        "collections": "bench.collections()",
        "add again": "bench.collection('parity').add('*.md').to_dict()",
        "recall": "[(r.id, r.question, round(r.score, 4)) for r in bench.memory.recall('archive floor', project='parity')]",
        "note of a recall": "bench.memory.recall('문서고', project='parity').note",
        "turns": "[t.to_dict() for t in bench.memory.turns('parity', order='important')]",
        "tags": "[t.reply for t in bench.memory.turns('parity', tags='archive', kind='fact')]",
        "get": "bench.memory.get(bench.memory.turns('parity')[0].id).to_dict()",
        "stats": "bench.memory.stats(project='parity')",
        "projects": "[p.to_dict() for p in bench.memory.projects()]",
        "project": "bench.memory.project()", "queue": "bench.memory.queue('parity')", "sync": "bench.memory.sync('parity')",
        "export": "list(bench.memory.export('parity'))", "import": "bench.memory.bring(bench.memory.export('parity')).to_dict()",
        "forget nothing": "bench.memory.forget('0' * 36).to_dict()", "expire": "bench.memory.expire(project='parity')",
        "tools": "[t.to_dict() for t in bench.tools.list()]",
        "tool": "bench.tools.call('read_file', path='a.md').value",
        "backups": "[{**row.to_dict(), 'age_s': 0} for row in bench.backups.list()]",
        "backup": "(lambda s, v: (sorted(s.manifest), len(s.files), v.ok, v.points, v.parts))(bench.backups.create(), bench.backups.verify())",
        "standing": "{k: v for k, v in bench.backups.standing().to_dict().items() if k in ('rto_s', 'newest_verified', 'snapshots', 'left_over')}",
        "pruned": "bench.backups.prune().to_dict()",
        "usage": "bench.usage('2020-01-01')[['who', 'alias', 'model', 'server', 'tokens', 'outcome']].head(3).values.tolist()",
        "usage of later": "[len(bench.usage('2100-01-01')), len(bench.usage('2100-01-01', by='who')), len(bench.usage(n=1))]",
        "usage as a table": "list(map(str, bench.usage().dtypes)) + bench.usage().columns.tolist()",
        "usage added up": "(lambda t: [t.columns.tolist(), t[['alias', 'success', 'failed']].values.tolist()])(bench.usage('7d', by='alias'))",
        "usage by two": "bench.usage(by=['who', 'outcome'])[['who', 'outcome']].values.tolist()",
        "advice": "bench.advice()[['kind', 'about']].values.tolist()",
        "memory by model": "bench.monitoring.memory()[['server', 'model', 'where', 'planned', 'how']].fillna(-1).values.tolist()",
        "no notebook": "bench.monitoring.cells().to_dict('records')",
        "status": "[p['name'] for p in bench.status()['parts']]",
        "models": "bench.models.rows", "models as text": "repr(bench.models)", "models as a table": "bench.models.frame().to_dict()",
    }
    for name, code in shapes.items():
        assert host.ask(code) == guest.ask(code), name
    errors = {
        "bad chat": "bench.chat('', max_tokens=2)", "bad sampling": "bench.chat('x', temperature=-1)", "bad model": "bench.chat('x', model='gpt-9')",
        "denied": "bench.tools.call('read_file', path='../../etc/passwd')", "no tool": "bench.tools.call('fly')", "bad argument": "bench.tools.call('read_file', pth='a')",
        "no server": "bench.switch_model('vision', 'smoke')", "no model": "bench.switch_model('code', 'nothing.gguf')",
        "blank": "bench.collection('parity').ask('  ')", "bad name": "bench.collection('No/Such').search('x')", "bad how": "bench.memory.recall('x', how='magic')",
        "no project": "bench.memory.remember('x', 'y', project='nobody')", "no turn": "bench.memory.edit('0' * 36, reply='x')",
        "no project to chat in": "bench.chat('x', remember=True, project='nobody')", "words only": "bench.chat([], remember=True)",
        "one text": "bench.embed('x')", "no backup": "bench.backups.verify('absent')", "no key": "bench.backups.create('absent.key')", "long text": "bench.embed(['x' * 8001])",
        "bad since": "bench.usage('soon')", "bad by": "bench.usage(by='prompt')", "bad n": "bench.usage(n=0)", "bad advice": "bench.advice('soon')",
        "stranger": "bench.tools.call('list_files', actor='stranger')",
    }
    for name, code in errors.items():
        seen = []
        for process in processes:
            with pytest.raises(Raised) as caught:
                process.ask(code)
            seen.append(str(caught.value))
        assert seen[0] == seen[1], name
        assert "\n" not in seen[0], name


def test_the_log_is_the_same_on_host_and_guest_and_lines_carry_the_id_of_the_guests_call(processes: list[Process]) -> None:
    host, guest = processes
    host.ask(START)
    guest.ask(START)
    guest.ask("lines = bench.logs(follow=True, service='memory-api')")
    guest.ask("bench.memory.remember('q', 'a'); made = __import__('suite.monitoring.request_context').monitoring.request_context.current().id")
    row = guest.ask("next(lines)")
    assert row["message"] == "POST /v1/memory/conversations 200" and row["request_id"] == guest.ask("made")
    asked = f"bench.logs(request_id={row['request_id']!r}).drop(columns='at').to_dict()"
    assert host.ask(asked) == guest.ask(asked) and host.ask(f"len(bench.logs(request_id={row['request_id']!r}))") == 1


def test_a_chat_that_remembers_gives_the_same_on_host_and_guest(processes: list[Process], env: dict[str, str]) -> None:
    host, guest = processes
    host.ask(START)
    guest.ask(START)
    for process, name in ((host, "one"), (guest, "two")):
        process.ask(f"bench.memory.create_project('{name}'); bench.memory.remember('Where is the archive?', 'On the third floor.', project='{name}')")
        process.ask(f"reply = bench.chat('Where is the archive room?', remember=True, project='{name}', session='s', max_tokens=20, temperature=0)")
        process.ask(f"stream = bench.chat('And the archive?', remember=True, project='{name}', stream=True, max_tokens=5, temperature=0); pieces = list(stream)")
    asked = "[reply.text, [row['question'] for row in reply.memories], ''.join(pieces) == stream.reply.text, len(stream.reply.memories)]"
    assert host.ask(asked) == guest.ask(asked) and host.ask(asked)[1:] == [["Where is the archive?"], True, 2]
    kept = "[(t.question, t.reply, t.session, t.model, t.tokens) for t in bench.memory.turns('{}')]"
    assert host.ask(kept.format("one")) == host.ask(kept.format("two")) == guest.ask(kept.format("two")) and len(host.ask(kept.format("one"))) == 3
    assert host.ask("bench.memory.get(reply.remembered).question") == "Where is the archive room?"


def test_the_project_of_a_guests_directory_is_the_guests(processes: list[Process], env: dict[str, str]) -> None:
    host, guest = processes
    host.ask(START)
    guest.ask(START)
    folder = Path(env["WORKSPACE_DIR"]) / "mine"
    folder.mkdir()
    guest.ask(f"import os; os.chdir({str(folder)!r}); made = bench.memory.create_project('mine', '.')")
    assert guest.ask("bench.memory.remember('Whose?', 'The guest\\'s.').project == made.id") is True
    assert host.ask("bench.memory.remember('Whose?', 'The host\\'s.').project") == "default-project"
    assert guest.ask("[t.reply for t in bench.memory.turns()]") == ["The guest's."]
    assert guest.ask("bench.chat('Whose is it, the guest\\'s?', remember=True, max_tokens=2).remembered == bench.memory.turns()[0].id") is True


def test_a_model_is_switched_unloaded_and_loaded_from_either_side(processes: list[Process], env: dict[str, str]) -> None:
    import random_smoke

    host, guest = processes
    host.ask(START)
    guest.ask(START)
    random_smoke.write(Path(env["WORKSPACE_DIR"]) / "noise.gguf", ends=True)
    assert guest.ask("bench.switch_model('code', './noise.gguf')['id']") == "noise", "a path of the caller's directory"
    assert host.ask("bench.chat('x', model='code-7b', max_tokens=2).model") == "noise"
    assert guest.ask("bench.chat('x', model='chat-7b', max_tokens=2).model") == "smoke"
    assert host.ask("bench.switch_model('code', 'smoke')['id']") == "smoke"
    assert guest.ask("bench.unload_model('code')['loaded']") is False
    assert host.ask("bench.chat('x', model='code-7b', max_tokens=2).fallback") is True, "and the chat model stands in, and says so"
    assert host.ask("bench.switch_model('code')['loaded']") is True


def test_relative_paths_resolve_where_the_guest_is(processes: list[Process], env: dict[str, str], tmp_path: Path) -> None:
    host, guest = processes
    host.ask(START)
    guest.ask(START)
    sub = Path(env["WORKSPACE_DIR"]) / "sub"
    sub.mkdir()
    (sub / "b.md").write_text("The key hangs behind the door.\n", encoding="utf-8")
    guest.ask(f"import os; os.chdir({str(sub)!r})")
    assert guest.ask("bench.collection('paths').add('b.md').new") == 1
    assert "key hangs" in str(guest.ask("bench.tools.call('read_file', path='b.md').value"))
    assert host.ask("bench.collection('paths').add('sub/b.md').unchanged") == 1


def test_a_guest_that_asks_for_another_stack_is_refused_until_it_attaches(processes: list[Process]) -> None:
    host, guest = processes
    host.ask(START)
    with pytest.raises(Raised, match=r"HostMismatch.*its profile is 'smoke', asked was 'cpu'; its rbac_enabled is True, asked was False.*attach=True"):
        guest.ask("import suite; bench = suite.start('cpu', rbac_enabled=False)")
    guest.ask("bench = suite.start('cpu', attach=True)")
    assert guest.ask("bench.status()['host']['profile']") == "smoke"


def test_a_guest_that_leaves_does_not_end_the_host(processes: list[Process]) -> None:
    host, guest = processes
    host.ask(START)
    guest.ask(START)
    guest.ask("bench.stop()")
    assert guest.end() == 0
    assert host.ask("bench.chat('hello', max_tokens=2).smoke") is True


def test_a_killed_host_is_one_error_and_the_guest_takes_over_with_all_that_was_acknowledged(processes: list[Process], env: dict[str, str]) -> None:
    host, guest = processes
    host.ask(START)
    guest.ask(START)
    kept = [guest.ask(f"bench.memory.remember('question {n}', 'answer {n} pelican').id") for n in range(5)]
    guest.ask("bench.collection('kept').add('*.md')")
    host.kill()
    with pytest.raises(Raised, match=r"^HostGone: Nobody answers.*call suite\.start\(\) again"):
        guest.ask("bench.chat('hello')")
    assert guest.ask("repr(bench)").startswith("<Bench: Nobody answers")
    with pytest.raises(Raised, match=r"^HostGone"):
        guest.ask("bench.run('phase2_health')")
    guest.ask(START)
    assert guest.ask("bench.hosting") is True
    assert sorted(guest.ask("[r.id for r in bench.memory.recall('pelican', limit=9, how='words')]")) == sorted(kept)
    assert guest.ask("bench.collection('kept').search('archive room')[0].text").startswith("The archive room")


def test_a_host_that_ends_in_order_leaves_the_place_to_the_next(processes: list[Process], env: dict[str, str]) -> None:
    host, guest = processes
    host.ask(START)
    guest.ask(START)
    assert host.end() == 0
    assert not (Path(env["DATA_DIR"]) / "run" / "host.json").exists()
    with pytest.raises(Raised, match="HostGone"):
        guest.ask("bench.memory.stats()")
    guest.ask(START)
    assert guest.ask("bench.hosting") is True


def test_a_sleeping_host_is_named_with_its_process(processes: list[Process]) -> None:
    host, guest = processes
    host.ask(START)
    host.signal(signal.SIGSTOP)
    wait_until(lambda: psutil.Process(host.pid).status() == psutil.STATUS_STOPPED)
    with pytest.raises(Raised, match=rf"HostGone: The host of this data directory is pid {host.pid} \(stopped\), but it does not answer"):
        guest.ask(START)
    host.signal(signal.SIGCONT)
    guest.ask(START)
    assert guest.ask("bench.hosting") is False


def test_two_starts_at_once_give_one_host(processes: list[Process]) -> None:
    import json

    for process in processes:
        process._child.stdin.write(json.dumps(START) + "\n")  # type: ignore[union-attr]
        process._child.stdin.flush()  # type: ignore[union-attr]
    for process in processes:
        process.answer()
    assert sorted(process.ask("bench.hosting") for process in processes) == [False, True]


def test_a_record_of_a_process_that_is_gone_is_replaced(env: dict[str, str], processes: list[Process]) -> None:
    host, other = processes
    host.ask(START)
    record = (Path(env["DATA_DIR"]) / "run" / "host.json").read_text(encoding="utf-8")
    host.kill()
    assert (Path(env["DATA_DIR"]) / "run" / "host.json").read_text(encoding="utf-8") == record
    other.ask(START)
    assert other.ask("bench.hosting") is True


@pytest.mark.parametrize("moment", ["suite.serving", "suite.embedding", "llama_cpp", "suite-start", "suite-http"])
def test_an_interrupt_at_any_moment_of_a_start_leaves_nothing(env: dict[str, str], processes: list[Process], moment: str) -> None:
    host, _ = processes
    data = Path(env["DATA_DIR"])
    # a watcher thread interrupts the main thread once the start has got that far: a module loaded, or a thread begun
    watcher = (f"import threading, sys, signal, time\ndef watch():\n    while not ({moment!r} in sys.modules or "
               f"any(t.name == {moment!r} for t in threading.enumerate())): time.sleep(0.001)\n    signal.raise_signal(signal.SIGINT)\n"
               "threading.Thread(target=watch, daemon=True).start()\n")
    with pytest.raises(Raised, match="KeyboardInterrupt"):
        host.ask(watcher + START)
        pytest.fail("the start was not interrupted")
    assert host.ask("[t.name for t in __import__('threading').enumerate() if t.name.startswith('suite')]") == []
    run = data / "run"
    assert [name for name in os.listdir(run) if name != "host.lock"] == [] if run.exists() else True
    assert [c for c in psutil.Process(host.pid).net_connections("tcp") if c.status == psutil.CONN_LISTEN] == []
    host.ask(START)
    assert host.ask("bench.hosting") is True


def test_a_host_that_falls_asleep_under_a_guest_is_one_error_for_each_call(processes: list[Process]) -> None:
    host, guest = processes
    host.ask(START)
    guest.ask("import suite.guest; suite.guest.STATUS_SECONDS = suite.guest.ANSWER_SECONDS = 0.5")
    guest.ask(START)
    kept = guest.ask("bench.memory.remember('Where?', 'On the third floor.').id")
    host.signal(signal.SIGSTOP)
    wait_until(lambda: psutil.Process(host.pid).status() == psutil.STATUS_STOPPED)
    for code in ("bench.status()", "bench.memory.recall('third floor')", "bench.memory.remember('a', 'b')", "bench.tools.list()",
                 "bench.run('phase2_health')"):
        with pytest.raises(Raised, match=r"^HostGone: .* did not answer in time \(ReadTimeout\): its process is stopped or overloaded; wake or end it"):
            guest.ask(code)
    assert guest.ask("repr(bench)").startswith("<Bench: ")
    host.signal(signal.SIGCONT)
    wait_until(lambda: psutil.Process(host.pid).status() != psutil.STATUS_STOPPED)
    assert guest.ask("bench.memory.recall('third floor')[0].id") == kept
