"""Every setting is really read: each is given another value, and something that a user can see is different."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import alert_effects
import psutil
import pytest
from hub_stage import hub

from suite import bench as benches
from suite.cli.main import main
from suite.embedding.embed import Embedder
from suite.embedding.rerank import open_reranker
from suite.errors import ApprovalNeeded, BadRequest, NotReady, SettingsError, SuiteError, TooMany, UpstreamError
from suite.knowledge import scale
from suite.knowledge.context import tokens
from suite.knowledge.knowledge import Knowledge
from suite.knowledge.read import Reader
from suite.monitoring.log import open_log
from suite.runbooks.execute import execute
from suite.serving.catalog import profile
from suite.serving.random_model import Shape, write
from suite.serving.request import Request
from suite.serving.server import ModelServer
from suite.settings import TABLE, load, package_file
from suite.testing import FixedChat, MemoryStore
from suite.vectors.part import open_store

TEXT = "The pelican sits on the pier. " * 12  # several chunks of 64 characters


@pytest.fixture(scope="module")
def odd(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A stack with every cheap setting at a value that is not its default."""
    folder = tmp_path_factory.mktemp("odd")
    models, work, further = folder / "models", folder / "work", folder / "further"
    for made in (models, work, further):
        made.mkdir()
    (models / "minilm").symlink_to(models_dir / "minilm")
    shutil.copyfile(package_file("models/smoke.gguf"), models / "mine.gguf")
    shutil.copyfile(package_file("models/smoke.gguf"), models / "other.gguf")
    (work / "note.md").write_text(TEXT, encoding="utf-8")
    values = {
        "models_dir": str(models), "workspace_dir": str(work), "workspace_roots": str(further), "reports_dir": str(folder / "reports"), "bind": "127.0.0.2", "stage": "staging",
        "log_level": "DEBUG", "loki_retention": 60, "monitoring_interval": 2, "monitoring_days": 7, "prometheus_url": "http://127.0.0.1:9", "chat_model": "mine.gguf", "code_model": "other.gguf", "chat_n_gpu_layers": 1, "code_n_gpu_layers": 2,
        "llama_threads": 1, "llama_ctx": 512, "llama_batch": 64, "api_gateway_chat_model": "talk", "api_gateway_code_model": "program",
        "embedding_threads": 1, "embedding_max_texts": 20, "embedding_max_chars": 200, "rag_topk": 2, "rag_chunk_size": 16, "rag_chunk_overlap": 0,
        "rag_context_tokens": 40, "rag_cache_hours": 0.0,
        "rag_llm_max_tokens": 3, "rag_default_collection": "other-default", "default_project_id": "other-project", "memory_sync_interval": 0.1,
        "memory_context_tokens": 60,
        "rag_roots": str(folder), "rag_max_file_mb": 1, "rag_max_packed_mb": 2, "ttl_check_interval": 0.1, "memory_backup_cron": "11:11", "security_mode": "strict", "mcp_user_id": "dev_user",
    }
    with benches.throwaway(**values) as (stack, target):
        stack.bench, stack.target, stack.folder = benches.Bench(stack.settings, stack), target, folder
        stack.bench.collection().add(str(work / "note.md"))
        yield stack


def soon(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


@contextmanager
def serving(folder: Path, **settings: Any) -> Iterator[ModelServer]:
    """A loaded chat server under these settings; its model is noise, so that it says something else whenever anything is different."""
    model = folder / "noise.gguf"
    if not model.exists():
        write(model, Shape(width=128, layers=2, heads=4, kv_heads=2, feed_forward=256, words=800, context=4096))
    ours = load({"data_dir": str(folder), "chat_model": str(model), **settings}, {})
    server = ModelServer("inference-chat", "chat", ours, ours.models_dir, folder, profile("smoke").chat)
    server.load()
    try:
        yield server
    finally:
        server.close()


def texts(folder: Path, **settings: Any) -> str:
    """What a chat server says with one seed under these settings."""
    with serving(folder, **settings) as server:
        return server.complete(Request.of("Tell me about the archive.", max_tokens=40, seed=7)).text


def endless() -> Request:
    return Request.of("Go on.", max_tokens=3000, ignore_eos=True)


def effect_of_slots(odd: Any, tmp_path: Path) -> bool:
    def at_once(slots: int) -> int:
        with serving(tmp_path, llama_slots=slots) as server:
            streams = [server.stream(endless()).begin() for _ in range(slots)] + [server.stream(endless())]
            counts = server.stats()
            assert len(streams) == counts["busy"] + counts["waiting"] == slots + 1
            return counts["busy"]
    return (at_once(1), at_once(2)) == (1, 2)


def effect_of_queue(odd: Any, tmp_path: Path) -> bool:
    with serving(tmp_path, llama_slots=1, llama_queue=2) as server:
        streams = [server.stream(endless()).begin(), server.stream(endless()), server.stream(endless())]
        with pytest.raises(NotReady, match="has 2 requests waiting, as many as LLAMA_QUEUE allows"):
            server.stream(endless())
        return len(streams) == 3 and server.info()["queue"] == 2


def effect_of_kv_tokens(odd: Any, tmp_path: Path) -> bool:
    with serving(tmp_path, llama_ctx=512, llama_kv_tokens=1024) as server:
        for number in range(8):  # each keeps some three hundred tokens for the next turn, as long as there is room
            server.complete(Request.of(f"{number} " + "word " * 100, max_tokens=1))
        return server.stats()["kv_tokens"] == server.info()["kv_tokens"] == 1024 and 512 < server.stats()["kv_used"] <= 1024


def effect_of_kv_type(odd: Any, tmp_path: Path) -> bool:
    def first(kind: str) -> list[float]:
        with serving(tmp_path, llama_kv_type=kind) as server:
            rows = server.complete(Request.of("Tell me about the archive.", max_tokens=5, temperature=0.0, logprobs=0)).logprobs
            return [row["logprob"] for row in rows]
    exact, rounded = first("f16"), first("q8_0")
    return exact != rounded and exact == pytest.approx(rounded, abs=0.5)


def effect_of_idle_unload(odd: Any, tmp_path: Path) -> bool:
    with serving(tmp_path, llama_idle_unload=0.05) as server:
        return soon(lambda: not server.info()["loaded"]) and "0.05 s idle" in server.ready().facts["note"]


def effect_of_isolation(odd: Any, tmp_path: Path) -> bool:
    def processes(where: str) -> int:
        with serving(tmp_path, serving_isolation=where) as server:
            assert server.info()["isolation"] == where
            return len(psutil.Process().children())
    return processes("process") == processes("kernel") + 1


def effect_of_temp(odd: Any, tmp_path: Path) -> bool:
    return texts(tmp_path, llama_temp=0.0) != texts(tmp_path, llama_temp=2.0)


def effect_of_top_p(odd: Any, tmp_path: Path) -> bool:
    return texts(tmp_path, llama_temp=2.0, llama_top_p=0.01) != texts(tmp_path, llama_temp=2.0, llama_top_p=1.0)


def effect_of_repeat_penalty(odd: Any, tmp_path: Path) -> bool:
    return texts(tmp_path, llama_temp=0.0, llama_repeat_penalty=1.0) != texts(tmp_path, llama_temp=0.0, llama_repeat_penalty=2.0)


def effect_of_request_timeout(odd: Any, tmp_path: Path) -> bool:
    with benches.throwaway(models_dir=str(odd.settings.models_dir), llm_request_timeout=1.0) as (stack, _), \
            pytest.raises(UpstreamError, match=r"\b1(\.0)? s"):
        stack.gateway.chat("Go on and on.", max_tokens=4000, seed=1, ignore_eos=True)  # takes several seconds
    return True


def effect_of_rag_temperature(odd: Any, tmp_path: Path) -> bool:
    asked: list[dict[str, Any]] = []
    knowledge = odd.knowledge
    chat, settings = knowledge._chat, knowledge._settings
    knowledge._chat = lambda messages, options: asked.append(options) or chat(messages, options)
    knowledge._settings = load({**settings.values(), "database_url": "", "rag_llm_temperature": 1.25}, {})
    odd.bench.collection().ask("Where is the pelican?")
    knowledge._chat, knowledge._settings = chat, settings
    return asked[0]["temperature"] == 1.25


def effect_of_batch_size(odd: Any, tmp_path: Path) -> bool:
    sizes: list[int] = []
    embedder = Embedder(load({"models_dir": str(odd.settings.models_dir), "embedding_batch_size": 3}, {}), odd.settings.models_dir, tmp_path)
    embedder.start()
    model = embedder._loaded
    embed_batch = model.model.onnx_embed
    model.model.onnx_embed = lambda batch, **more: sizes.append(len(batch)) or embed_batch(batch, **more)
    embedder.embed(["a", "b", "c", "d"])
    return sizes == [3, 1]


def effect_of_embedding_model(odd: Any, tmp_path: Path) -> bool:
    with pytest.raises(SettingsError, match="'no-such-embedder'"):
        Embedder(load({"embedding_model": "no-such-embedder"}, {}), tmp_path, tmp_path)
    return True


def effect_of_embedding_cache(odd: Any, tmp_path: Path) -> bool:
    def read(megabytes: int) -> int:
        part = Embedder(load({"embedding_cache_mb": megabytes}, {}), odd.settings.models_dir, tmp_path / str(megabytes))
        part.start()
        for _ in range(3):
            part.embed(["a"])
        part.close()
        return part.stats()["texts"]
    return read(0) == 3 and read(1) == 1 and not (tmp_path / "0" / "embedding").exists()


def effect_of_dask_url(odd: Any, tmp_path: Path) -> bool:
    ours = load({"data_dir": str(tmp_path), "models_dir": str(odd.settings.models_dir), "rag_dask_url": "tcp://127.0.0.1:9"}, {})
    for name in ("a.md", "b.md"):
        (tmp_path / name).write_text(TEXT, encoding="utf-8")
    knowledge = Knowledge(odd.storage, MemoryStore(), odd.embedder, FixedChat("x"), ours)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scale, "CONNECT_S", 0.3)
        with pytest.raises(NotReady, match=r"tcp://127.0.0.1:9 of RAG_DASK_URL does not answer"):
            knowledge.add("scaled", [str(tmp_path)], tmp_path)
    return True


def effect_of_reranker(odd: Any, tmp_path: Path) -> bool:
    def made(name: str) -> Any:
        return open_reranker(load({"rag_reranker": name}, {}), tmp_path, tmp_path)
    with pytest.raises(SettingsError, match="RAG_RERANKER is 'no-such-reranker'"):
        made("no-such-reranker")
    return made("") is None and made("bge-reranker-v2-m3").model.id == "bge-reranker-v2-m3"


def effect_of_qdrant_url(odd: Any, tmp_path: Path) -> bool:
    store = open_store(load({"qdrant_url": "http://127.0.0.1:9"}, {}), tmp_path / "vectors")
    return not store.ready().ok and "127.0.0.1:9" in str(store.ready().reasons) and not (tmp_path / "vectors").exists()


def effect_of_qdrant_key(odd: Any, tmp_path: Path) -> bool:
    # our own port 6333 wants the token, and takes it in the header that Qdrant's clients send
    url, token = odd.target.urls["qdrant"], odd.target.token
    keyless = open_store(load({"qdrant_url": url}, {}), tmp_path)
    keyed = open_store(load({"qdrant_url": url, "qdrant_api_key": token}, {}), tmp_path)
    assert token not in str(load({"qdrant_api_key": token}, {}).values())
    return not keyless.ready().ok and keyed.ready().ok


def effect_of_qdrant_timeout(odd: Any, tmp_path: Path) -> bool:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        store = open_store(load({"qdrant_url": f"http://127.0.0.1:{silent.getsockname()[1]}", "qdrant_timeout": 1}, {}), tmp_path / "vectors")
        with pytest.raises(NotReady, match="timed out"):  # with the default it would hang for 30 s, beyond this test's patience
            store.collections()
    return True


def effect_of_rbac(odd: Any, tmp_path: Path) -> bool:
    def may(enabled: bool) -> bool:
        with benches.throwaway(models_dir=str(odd.settings.models_dir), rbac_enabled=enabled) as (stack, _):
            reason = stack.tools.call("list_files", {"path": "."}, actor="guest_user").decision.reason
            return "RBAC" in reason or "off" in reason
    return may(False) and not may(True)


def effect_of_ci_result(odd: Any, tmp_path: Path) -> bool:
    (tmp_path / "result.json").write_text("{", encoding="utf-8")
    report = odd.bench.run("phase4_configuration", settings={"ci_result": str(tmp_path / "result.json")})
    return report.results[1].state == "fail" and "result.json" in report.results[1].why


def effect_of_waivers(odd: Any, tmp_path: Path) -> bool:
    mine = tmp_path / "mine.toml"
    mine.write_text("['P9.9'.waiver]\nowner = 'kim'\nexpiry = 9000-01-01\nreason = 'r'\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"speaks of 'P9\.9'"):
        execute("phase2_health", {}, load({"data_dir": str(tmp_path), "waivers": str(mine)}, {}), progress=False)
    return True


def effect_of_port_base(odd: Any, tmp_path: Path) -> bool:
    from suite.host import PORTS, choose_ports

    return choose_ports("300") == {part: port + 300 for part, port in PORTS.items()} and choose_ports("0") == PORTS


def effect_of_profile(odd: Any, tmp_path: Path) -> bool:
    with benches.throwaway(profile="cpu", models_dir=str(odd.settings.models_dir)) as (stack, _):
        return "qwen2.5-1.5b" in stack.parts["inference-chat"].ready().reasons[0].lower()


def effect_of_max_texts(odd: Any, tmp_path: Path) -> bool:
    with pytest.raises(BadRequest, match="EMBEDDING_MAX_TEXTS is 20"):
        odd.embedder.embed(["x"] * 21)
    return True


def effect_of_max_chars(odd: Any, tmp_path: Path) -> bool:
    with pytest.raises(BadRequest, match="EMBEDDING_MAX_CHARS is 200"):
        odd.embedder.embed(["x" * 201])
    return True


def effect_of_security_mode(odd: Any, tmp_path: Path) -> bool:
    with pytest.raises(ApprovalNeeded):
        odd.bench.tools.call("read_file", path=str(odd.settings.workspace_dir / "note.md"))
    return True


def sensitive(folder: Path, **settings: Any) -> Any:
    """Tools of which one is HIGH, so that a call of it has to wait."""
    from tools_stage import set_stage

    from suite.tools.tool import tool_of

    folder.mkdir(parents=True, exist_ok=True)
    stage = set_stage(folder, **settings)
    stage.tools._tools.pop("write_file", None)
    stage.tools.register(tool_of(lambda: {"done": True}, name="write_file"))
    return stage


def effect_of_approvals(_: Any, folder: Path) -> bool:
    with pytest.raises(ApprovalNeeded):
        sensitive(folder / "on").tools.call("write_file")
    return sensitive(folder / "off", approval_workflow_enabled=False).tools.call("write_file").value["done"]


def effect_of_approval_timeout(_: Any, folder: Path) -> bool:
    with pytest.raises(ApprovalNeeded, match="waits for 77 s"):
        sensitive(folder, approval_timeout=77).tools.call("write_file")
    return True


def effect_of_max_pending(_: Any, folder: Path) -> bool:
    stage = sensitive(folder, approval_max_pending=1)
    with pytest.raises(ApprovalNeeded):
        stage.tools.call("write_file")
    with pytest.raises(TooMany, match="APPROVAL_MAX_PENDING"):
        stage.tools.call("write_file", cwd=stage.workspace / "notes")
    return True


def effect_of_rate_limit(_: Any, folder: Path) -> bool:
    stage = sensitive(folder, rate_limit_enabled=False)
    return all(stage.tools.call("list_files").value["count"] for _ in range(80))


def sessions(folder: Path, **settings: Any) -> Any:
    """The sessions of programs of a stack with these settings."""
    with benches.throwaway(**settings) as (stack, _):
        return stack.sessions


def offered(folder: Path, tool: str, **settings: Any) -> Any:
    """Tools of which one is as a stack with these settings offers it."""
    from tools_stage import set_stage

    from suite import stack
    from suite.tools.offer import Parts, every_tool
    from suite.tools.sandbox import Sandbox, Sessions

    folder.mkdir(parents=True, exist_ok=True)
    stage = set_stage(folder, mcp_user_id="admin_user", **settings)
    s, sandbox = stage.settings, Sandbox(folder / "sandbox")
    parts = Parts(sandbox=sandbox, sessions=Sessions(sandbox), refusal=lambda box: stack._no_programs(s, box), web=stack._web(s),
                  notion_token=lambda: s.notion_token, notion_url=s.notion_url)
    stage.tools.register(next(one for one in every_tool(parts) if one.name == tool))
    return stage.tools


def effect_of_sandbox(_: Any, folder: Path) -> bool:
    program = {"code": "print(1)"}
    with pytest.raises(NotReady, match="SANDBOX_ENABLED is false"):
        offered(folder / "off", "execute_python", sandbox_enabled=False, approval_workflow_enabled=False).call("execute_python", program)
    on = offered(folder / "on", "execute_python", approval_workflow_enabled=False)
    return on.call("execute_python", program).value["stdout"] == "1\n"


def effect_of_mail(_: Any, folder: Path) -> bool:
    """Word goes to that server, by that login, from and to those addresses; and not at all where encryption is asked for that it has not."""
    from mail_stage import post_office

    with post_office() as (box, port):
        given = {"smtp_host": "127.0.0.1", "smtp_port": port, "smtp_user": "suite", "smtp_password": "sesame", "smtp_from": "from@example.org",
                 "smtp_to": "to@example.org"}
        plain, encrypted = sensitive(folder / "plain", smtp_starttls=False, **given), sensitive(folder / "encrypted", **given)
        for stage in (encrypted, plain):
            with pytest.raises(ApprovalNeeded):
                stage.tools.call("write_file")
            stage.tools.mail._pause = 0.001
            stage.tools.close()
        [letter] = box.letters
    return (letter.mail_from, letter.rcpt_tos, box.users, encrypted.tools.mail.failed) == ("from@example.org", ["to@example.org"], ["suite"], 1)


PAGE = {"url": "http://127.0.0.1:9/", "selector": "h1"}


def refused_call(folder: Path, tool: str, **given: Any) -> str:
    """What a call of a web tool is refused with under these settings."""
    names = {row.name for row in TABLE}
    settings = {name: value for name, value in given.items() if name in names}
    arguments = {name: value for name, value in given.items() if name not in names}
    with pytest.raises(SuiteError) as refused:
        offered(folder / secrets.token_hex(4), tool, **settings).call(tool, arguments)
    return str(refused.value)


def effect_of_web_allow(_: Any, folder: Path) -> bool:
    return "WEB_ALLOWED" in refused_call(folder, "web_scrape", **PAGE) and "WEB_ALLOWED" not in refused_call(folder, "web_scrape", web_allowed="127.0.0.1:9", **PAGE)


def effect_of_web_timeout(_: Any, folder: Path) -> bool:
    with socket.socket() as silent:  # takes the connection and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        return "took too long" in refused_call(folder, "web_scrape", web_allowed=place, web_seconds=3, url=f"http://{place}/", selector="h1")


def effect_of_api_key(_: Any, folder: Path) -> bool:
    from tools_stage import set_stage

    from suite.access.apikey import ApiKeys
    from suite.cli.access import Access

    folder.mkdir(parents=True, exist_ok=True)
    stage = set_stage(folder)
    key, text = stage.keys.create("dev_user")
    settings = load({"data_dir": str(folder), "api_key": text}, {})
    caller = Access(settings, stage.audit, stage.actors, ApiKeys(stage.storage, stage.actors), stage.tools.approver, stage.tools.openings).caller()
    return (caller.actor, caller.key) == ("dev_user", key.id) and text not in str(settings.values())


def _url_servers(odd: Any, folder: Path, body: str, **settings: Any) -> Any:
    """A gateway whose chat alias is answered by the server `box` of a file."""
    from suite.gateway.gateway import Gateway
    from suite.gateway.roster import upstreams

    (folder / "upstreams.toml").write_text(f'[servers.box]\n{body}\n[order]\ntalk = ["box"]\n', encoding="utf-8")
    ours = load({"api_gateway_upstreams": str(folder / "upstreams.toml"), "api_gateway_chat_model": "talk", "api_gateway_code_model": "program", **settings}, {})
    own = {name: odd.parts[name] for name in ("inference-chat", "inference-code")}
    return Gateway(upstreams(ours, own), "talk", "program", timeout=ours.llm_request_timeout, failures=ours.breaker_failures, seconds=ours.breaker_seconds)


def effect_of_upstreams(odd: Any, tmp_path: Path) -> bool:
    (tmp_path / "key").write_text(odd.target.token, encoding="utf-8")
    (tmp_path / "key").chmod(0o600)
    (tmp_path / "upstreams.toml").write_text(f'[servers.box]\nurl = "{odd.target.urls["inference-code"]}"\nkey_file = "{tmp_path / "key"}"\nallow_plain_http = true\n'
                                             '[order]\nchat-7b = ["box"]\n', encoding="utf-8")
    with benches.throwaway(models_dir=str(odd.settings.models_dir), api_gateway_upstreams=str(tmp_path / "upstreams.toml")) as (stack, _):
        before = odd.parts["inference-code"].stats()["requests"]
        reply = stack.gateway.chat("hello", model="chat-7b", max_tokens=1)
        return not reply.fallback and odd.parts["inference-code"].stats()["requests"] == before + 1 and stack.gateway.models()[0]["kind"] == "url"


def effect_of_connect_timeout(odd: Any, tmp_path: Path) -> bool:
    with socket.socket() as full:  # nobody accepts, and no further connection is let into the queue: a connection can only be waited for
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        gateway = _url_servers(odd, tmp_path, f'url = "http://127.0.0.1:{full.getsockname()[1]}"', llm_connect_timeout=0.1)
        reply = gateway.chat("hello", model="talk", max_tokens=1)  # with the default it would take 3 s, and with 60 the whole time of a reply
        gateway.close()
        for each in waiting:
            each.close()
    return reply.fallback and "timed out" in reply.why


def effect_of_first_token_timeout(odd: Any, tmp_path: Path) -> bool:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        gateway = _url_servers(odd, tmp_path, f'url = "http://127.0.0.1:{silent.getsockname()[1]}"', llm_first_token_timeout=0.1)
        reply = gateway.chat("hello", model="talk", max_tokens=1)
        gateway.close()
    return reply.fallback and "did not begin a reply within 0.1 s" in reply.why


def effect_of_breaker(odd: Any, tmp_path: Path, **settings: Any) -> tuple[str, str]:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        gateway = _url_servers(odd, tmp_path, f'url = "http://127.0.0.1:{nobody.getsockname()[1]}"', **settings)
        whys = [gateway.chat("hello", model="talk", max_tokens=1).why for _ in range(2)]
        gateway.close()
    return whys[0], whys[1]


def effect_of_breaker_failures(odd: Any, tmp_path: Path) -> bool:
    return "left alone" in effect_of_breaker(odd, tmp_path, breaker_failures=1)[1] and "left alone" not in effect_of_breaker(odd, tmp_path)[1]


def effect_of_breaker_seconds(odd: Any, tmp_path: Path) -> bool:
    return "left alone for 777 s" in effect_of_breaker(odd, tmp_path, breaker_failures=1, breaker_seconds=777)[1]


def effect_of_log_level(odd: Any, tmp_path: Path) -> bool:
    logging.getLogger("suite.probe").debug("a line for debugging only")
    return "a line for debugging only" in odd.log.file.read_text(encoding="utf-8")


def effect_of_loki_retention(odd: Any, folder: Path) -> bool:
    """A file whose lines are older is deleted when the log is opened, and lines that are older are not shown."""
    logs = folder / "logs"
    logs.mkdir()
    old = logs / "suite.jsonl.1"
    for days, kept in ((60, True), (30, False)):
        old.write_text("{}\n", encoding="utf-8")
        os.utime(old, (0, time.time() - 40 * 86_400))
        open_log(load({"loki_retention": days}, {}), logs).close()
        if old.exists() is not kept:
            return False
    return odd.settings.loki_retention == 60 and odd.log.beat() == {"deleted": []}


def effect_of_loki(_: Any, folder: Path) -> bool:
    """Lines go to that server, by that login."""
    from loki_stage import loki

    with loki() as stand:
        log = open_log(load({"loki_url": stand.url, "loki_user": "me", "loki_token": "tok"}, {}), folder)
        logging.getLogger("suite").warning("a line for Loki")
        log.close()
        return stand.messages() == ["a line for Loki"] and stand.requests[0]["authorization"] == "Basic bWU6dG9r"


def effect_of_otel(_: Any, folder: Path) -> bool:
    """Spans go to that collector; where the extra is not installed, the setting is refused with how to install it."""
    from tracing_stage import collector, installed

    if not installed():
        with pytest.raises(SettingsError, match=r"local-ai-suite\[otel\]"), benches.throwaway(otel_exporter_otlp_endpoint="http://127.0.0.1:9"):
            pass
        return True
    with collector() as stand, benches.throwaway(otel_exporter_otlp_endpoint=stand.url) as (stack, _):
        benches.Bench(stack.settings, stack).chat("Hello", max_tokens=1)
        stack.stop()
        return "chat chat-7b" in [span.name for span in stand.spans]


def effect_of_database_url(odd: Any, tmp_path: Path) -> bool:
    with benches.throwaway(models_dir=str(odd.settings.models_dir), database_url=f"sqlite:///{tmp_path / 'mine.db'}") as (stack, _):
        return stack.storage.file == tmp_path / "mine.db" and not (stack.data / "sqlite" / "suite.db").exists()


def effect_of_context(odd: Any, tmp_path: Path) -> bool:
    found = odd.bench.collection().ask("Where is the pelican?", topk=20)
    return len(found.hits) > 3 and sum(tokens(citation.quote) for citation in found.citations) <= 40


def effect_of_overlap(odd: Any, tmp_path: Path) -> bool:
    spans = sorted((hit.start, hit.end) for hit in odd.bench.collection().search("pelican", 50))
    return len(spans) > 3 and all(left[1] <= right[0] for left, right in pairwise(spans))


def skipped(odd: Any, path: Path, megabytes: float = 0.0) -> str:
    """Why a file of this size is not indexed."""
    path.write_bytes(b"x" * int(megabytes * (1 << 20)))
    return str(dict(odd.bench.collection().add(str(path)).skipped))


def refusal(folder: Path, **settings: Any) -> str:
    """Why a large page cannot be read under these settings."""
    (folder / "large.html").write_bytes(b"<p>word" * 1_000_000)
    reader = Reader(load({"rag_roots": str(folder), **settings}, {}), folder / "data", folder)
    try:
        with pytest.raises(BadRequest) as caught:
            reader.read(str(folder / "large.html"))
    finally:
        reader.close()
    return caught.value.message


def effect_of_licence_waiver(odd: Any, tmp_path: Path) -> bool:
    """A model for research, in stage prod: refused, unless it is named."""
    models = tmp_path / "models"
    models.mkdir(exist_ok=True)
    shutil.copyfile(package_file("models/smoke.gguf"), models / "Qwen2.5-3B-Instruct-Q4_K_M.gguf")
    ready = []
    for waiver in ("", "qwen2.5-3b-instruct"):
        ours = load({"data_dir": str(tmp_path), "stage": "prod", "chat_model": "Qwen2.5-3B-Instruct-Q4_K_M.gguf", "licence_waiver": waiver}, {})
        server = ModelServer("inference-chat", "chat", ours, models, tmp_path, profile("smoke").chat)
        server.start()
        ready.append((server.ready().ok, str(server.ready().reasons)))
        server.close()
    return not ready[0][0] and "LICENCE_WAIVER" in ready[0][1] and ready[1][0]


def effect_of_hf_endpoint(odd: Any, tmp_path: Path) -> bool:
    """`suite models pull` asks the hub that is named."""
    asked = []
    with hub({}) as stage:
        for endpoint in (stage.url, "http://127.0.0.1:9"):
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("HF_ENDPOINT", endpoint)
                patch.setenv("MODELS_DIR", str(tmp_path / "models"))
                assert main(["models", "pull", "qwen2.5-1.5b-instruct"]) == 2
            asked.append(len(stage.asked))
    return asked == [1, 1]


def effect_of_memory_context(odd: Any, _: Path) -> bool:
    """A chat that remembers is given no more than one of two long turns."""
    for colour in ("red", "blue"):
        odd.bench.memory.remember(f"What is the {colour} walrus?", f"The {colour} walrus is an animal of the northern pier, and quite " + "very " * 20 + "old.")
    return len(odd.bench.chat("What is the walrus?", max_tokens=1, remember=True).memories) == 1


def heartbeat(odd: Any) -> dict[str, Any]:
    return odd.parts["memory-maintainer"].heartbeat["jobs"]


EFFECTS: dict[str, Callable[[Any, Path], bool]] = {
    "data_dir": lambda odd, _: (odd.settings.data_dir / "run" / "host.json").exists(),
    "models_dir": lambda odd, _: odd.parts["inference-chat"].info()["path"] == str(odd.folder / "models" / "mine.gguf"),
    "reports_dir": lambda odd, _: odd.bench.run("phase2_health", settings={"reports_dir": str(odd.folder / "reports")}).path.parent == odd.folder / "reports",
    "workspace_dir": lambda odd, _: "note.md" in str(odd.bench.tools.call("list_files", path=".").value),
    "workspace_roots": lambda odd, _: odd.bench.tools.call("list_files", path=str(odd.folder / "further")).value["count"] == 0,
    "profile": effect_of_profile,
    "stage": lambda odd, _: odd.bench.status()["host"]["stage"] == "staging" and "stage staging" in repr(odd.bench),
    "bind": lambda odd, _: odd.target.urls["rag"].startswith("http://127.0.0.2:") and odd.target.ready("rag")[0],
    "port_base": effect_of_port_base,
    "database_url": effect_of_database_url,
    "log_level": effect_of_log_level,
    "otel_exporter_otlp_endpoint": effect_of_otel,
    "loki_retention": effect_of_loki_retention,
    **dict.fromkeys(("loki_url", "loki_user", "loki_token"), effect_of_loki),
    "chat_model": lambda odd, _: odd.parts["inference-chat"].info()["file"] == "mine.gguf",
    "code_model": lambda odd, _: odd.parts["inference-code"].info()["file"] == "other.gguf",
    "chat_n_gpu_layers": lambda odd, _: odd.parts["inference-chat"].info()["n_gpu_layers"] == 1,
    "code_n_gpu_layers": lambda odd, _: odd.parts["inference-code"].info()["n_gpu_layers"] == 2,
    "llama_threads": lambda odd, _: odd.parts["inference-chat"].info()["n_threads"] == 1,
    "llama_ctx": lambda odd, _: odd.parts["inference-chat"].info()["n_ctx"] == 512,
    "llama_batch": lambda odd, _: odd.parts["inference-chat"].info()["n_batch"] == 64,
    "llama_slots": effect_of_slots,
    "llama_kv_tokens": effect_of_kv_tokens,
    "llama_kv_type": effect_of_kv_type,
    "llama_queue": effect_of_queue,
    "llama_idle_unload": effect_of_idle_unload,
    "serving_isolation": effect_of_isolation,
    "licence_waiver": effect_of_licence_waiver,
    "hf_endpoint": effect_of_hf_endpoint,
    "llama_temp": effect_of_temp,
    "llama_top_p": effect_of_top_p,
    "llama_repeat_penalty": effect_of_repeat_penalty,
    "api_gateway_chat_model": lambda odd, _: odd.bench.chat("hello", model="talk", max_tokens=1).alias == "talk",
    "api_gateway_code_model": lambda odd, _: odd.bench.chat("write a Python function", max_tokens=1).alias == "program",
    "llm_request_timeout": effect_of_request_timeout,
    "api_gateway_upstreams": effect_of_upstreams,
    "llm_connect_timeout": effect_of_connect_timeout,
    "llm_first_token_timeout": effect_of_first_token_timeout,
    "breaker_failures": effect_of_breaker_failures,
    "breaker_seconds": effect_of_breaker_seconds,
    "embedding_model": effect_of_embedding_model,
    "embedding_batch_size": effect_of_batch_size,
    "embedding_threads": lambda odd, _: odd.embedder._loaded.model.model.get_session_options().intra_op_num_threads == 1,
    "embedding_cache_mb": effect_of_embedding_cache,
    "embedding_max_texts": effect_of_max_texts,
    "embedding_max_chars": effect_of_max_chars,
    "qdrant_url": effect_of_qdrant_url,
    "qdrant_api_key": effect_of_qdrant_key,
    "qdrant_timeout": effect_of_qdrant_timeout,
    "rag_topk": lambda odd, _: len(odd.bench.collection().search("pelican")) == 2,
    "rag_chunk_size": lambda odd, _: max(odd.embedder.tokens([hit.text for hit in odd.bench.collection().search("pelican", 50)])) <= 16 + 2,
    "rag_chunk_overlap": effect_of_overlap,
    "rag_llm_max_tokens": lambda odd, _: odd.bench.collection().ask("Where is the pelican?").reply.tokens <= 3,
    "rag_llm_temperature": effect_of_rag_temperature,
    "rag_roots": lambda odd, folder: f"may be read ({odd.folder}); set RAG_ROOTS" in skipped(odd, folder / "note.md"),
    "rag_max_file_mb": lambda odd, _: "1.5 MB, larger than the 1 MB of RAG_MAX_FILE_MB" in skipped(odd, odd.folder / "work" / "large.md", 1.5),
    "rag_max_packed_mb": lambda odd, _: "2.5 MB, larger than the 2 MB of RAG_MAX_PACKED_MB" in skipped(odd, odd.folder / "work" / "large.pdf", 2.5),
    "rag_parse_seconds": lambda _, folder: "0.1 s of RAG_PARSE_SECONDS" in refusal(folder, rag_parse_seconds=0.1),
    "rag_parse_mb": lambda _, folder: "64 MB of RAG_PARSE_MB" in refusal(folder, rag_parse_mb=64),
    "rag_context_tokens": effect_of_context,
    "rag_cache_hours": lambda odd, _: not any(odd.bench.collection().ask("Where is the pelican?").cached for _ in range(2)),
    "rag_reranker": effect_of_reranker,
    "rag_default_collection": lambda odd, _: odd.bench.collection().name == "other-default",
    "rag_dask_url": effect_of_dask_url,
    "default_project_id": lambda odd, _: odd.bench.memory.remember("q", "a").project == "other-project",
    "memory_context_tokens": effect_of_memory_context,
    "memory_sync_interval": lambda odd, _: soon(lambda: heartbeat(odd)["sync"]["runs"] >= 2),
    "ttl_check_interval": lambda odd, _: soon(lambda: heartbeat(odd)["expiry"]["runs"] >= 2),
    "memory_backup_cron": lambda odd, _: datetime.fromtimestamp(heartbeat(odd)["backup"]["due"]).strftime("%H:%M") == "11:11",
    **alert_effects.EFFECTS,
    "ci_result": effect_of_ci_result,
    "waivers": effect_of_waivers,
    "rbac_enabled": effect_of_rbac,
    "security_mode": effect_of_security_mode,
    "approval_workflow_enabled": effect_of_approvals,
    "approval_timeout": effect_of_approval_timeout,
    "approval_max_pending": effect_of_max_pending,
    "rate_limit_enabled": effect_of_rate_limit,
    "sandbox_enabled": effect_of_sandbox,
    "mcp_max_sessions": lambda _, folder: sessions(folder, mcp_max_sessions=3)._most == 3,
    "mcp_session_timeout": lambda _, folder: sessions(folder, mcp_session_timeout=7)._idle == 7,
    "web_browser": lambda _, folder: "/none/chromium" in refused_call(folder, "web_scrape", web_browser="/none/chromium", web_allowed="127.0.0.1:9", **PAGE),
    "web_allowed": effect_of_web_allow,
    "web_seconds": effect_of_web_timeout,
    "notion_token": lambda _, folder: "NOTION_TOKEN" in refused_call(folder, "notion_search", query="x") and "127.0.0.1:9" in refused_call(
        folder, "notion_search", query="x", notion_token="secret-1", notion_url="http://127.0.0.1:9"),
    "notion_url": lambda _, folder: "127.0.0.1:9" in refused_call(folder, "notion_search", query="x", notion_token="t", notion_url="http://127.0.0.1:9"),
    "api_key": effect_of_api_key,
    **dict.fromkeys(("smtp_host", "smtp_port", "smtp_starttls", "smtp_user", "smtp_password", "smtp_from", "smtp_to"), effect_of_mail),
    "mcp_user_id": lambda odd, _: odd.bench.tools.call("list_files", path=".").actor == "dev_user",
}


def test_every_setting_is_shown_to_have_an_effect() -> None:
    assert set(EFFECTS) == {row.name for row in TABLE}


@pytest.mark.parametrize("name", EFFECTS)
def test_the_setting_has_an_effect(name: str, odd: Any, tmp_path: Path) -> None:
    assert EFFECTS[name](odd, tmp_path)


def test_the_odd_values_are_not_the_defaults(odd: Any) -> None:
    defaults = load({}, {}).values()
    same = [name for name, source in odd.settings.source.items() if source == "argument" and odd.settings.values()[name] == defaults[name]]
    assert same == []
