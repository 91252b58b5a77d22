"""What the gateway costs, beside calling the same server without it and beside the LiteLLM proxy, and how it fails over."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from suite.benchmark.child import Child
from suite.benchmark.figures import in_turns, paired, percentile
from suite.benchmark.peer import LiteLlm, await_models
from suite.benchmark.row import Limit
from suite.benchmark.scene import Scene
from suite.errors import SuiteError
from suite.settings import Settings

CHAT, CODE = "stand-in-chat", "stand-in-code"  # two servers by URL, each of which says its name
DIRECT_ONE = Limit("one client, the stand-in directly: p50", "ms", "<=")
ADDED_50 = Limit("one client: added p50", "ms", "<=", 2.5, "calling the stand-in directly")
ADDED_95 = Limit("one client: added p95", "ms", "<=", 8.0, "calling the stand-in directly")
PEER_ADDED = Limit("one client: added p50 by the LiteLLM proxy", "ms", "<=")
DIRECT_MANY = Limit("clients at once, the stand-in directly", "calls/s", ">=")
SHARE_MANY = Limit("clients at once, through the gateway", "x", ">=", 0.3, "calling the stand-in directly")
PEER_MANY = Limit("clients at once, through the LiteLLM proxy", "calls/s", ">=")
OVER_PEER = Limit("clients at once, through the gateway and through the proxy", "x", ">", 1.0, "the LiteLLM proxy")
FIRST_GOOD = Limit("the chat server is killed under load: time to the first good answer", "s", "<=", 2.0)
UNFLAGGED = Limit("the chat server is killed under load: answers by the other model that do not say so", "answers", "==", 0)
FLAGGED = Limit("the chat server is killed under load: answers by the other model that say so", "answers", "==")
REFUSED = Limit("the chat server is killed under load: requests that got an error", "requests", "==")


@dataclass(frozen=True)
class Load:
    """Calls per round, clients at once, and the steady load under which a server is killed: calls per second, seconds before and after."""

    calls: int = 400
    clients: int = 16
    warm: int = 50
    rate: float = 40.0
    before: float = 2.0
    after: float = 6.0


QUICK = Load(calls=150, warm=20, before=1.0, after=3.0)


def gateway(settings: Settings, rounds: int, quick: bool, say: Callable[[str], None], load: Load | None = None) -> list[dict[str, Any]]:
    """All rows; `load` stands in for the usual one."""
    with Scene(settings, say) as scene:
        return _Gateway(scene, rounds, load or (QUICK if quick else Load()), quick).rows()


class _Gateway:
    def __init__(self, scene: Scene, rounds: int, load: Load, quick: bool) -> None:
        self.scene, self.rounds, self.load, self.quick = scene, rounds, load, quick
        self.alias = scene.settings.api_gateway_chat_model

    def rows(self) -> list[dict[str, Any]]:
        return self.scene.measure([
            ("one client", (DIRECT_ONE, ADDED_50, ADDED_95, PEER_ADDED), self.one_client),
            ("clients at once", (DIRECT_MANY, SHARE_MANY, PEER_MANY, OVER_PEER), self.many_clients),
            ("a server is killed", (FIRST_GOOD, UNFLAGGED, FLAGGED, REFUSED), self.failover),
        ])

    # contenders

    def stand_in(self, name: str) -> tuple[Child, str]:
        child = self.scene.child(name, "upstream", name=name)
        return child, child.ask("ready")

    def ours(self) -> tuple[str, str]:
        """Address and token of the gateway of a stack whose aliases are answered by the stand-ins."""
        code = self.scene.settings.api_gateway_code_model
        servers = [line for name in (CHAT, CODE) for line in (f"[servers.{name}]", f"url = {json.dumps(self.stand_in(name)[1] + '/v1')}",
                                                              f'model = "{name}"')]
        orders = ["[order]", f"{json.dumps(self.alias)} = {json.dumps([CHAT, CODE])}", f"{json.dumps(code)} = {json.dumps([CODE, CHAT])}"]
        file = self.scene.scratch / "upstreams.toml"
        file.write_text("\n".join([*servers, *orders]), encoding="utf-8")
        _, where = self.scene.stack("the gateway", api_gateway_upstreams=str(file))
        return where["urls"]["api-gateway"], where["token"]

    def peer(self) -> tuple[str, str]:
        url = self.stand_in(CHAT)[1]
        proxy = self.scene.contender("the LiteLLM proxy", lambda: LiteLlm(self.scene.cache, self.scene.scratch, self.alias, url), await_models)
        return proxy.url, proxy.token

    def _contenders(self, clients: int) -> tuple[dict[str, Callable[[int], dict[str, Any]]], str]:
        """What is called in each round, and why the LiteLLM proxy is not among it (empty when it is)."""
        client = self.scene.child("the client", "client")
        body = {"model": self.alias, "messages": [{"role": "user", "content": "How many reports are due this week?"}], "max_tokens": 16}

        def caller(url: str, token: str) -> Callable[[int], dict[str, Any]]:
            return lambda _: client.ask("calls", url=url, token=token, bodies=[body], clients=clients, count=self.load.calls, warm=self.load.warm)

        contenders = {"direct": caller(self.stand_in(CHAT)[1], ""), "ours": caller(*self.ours())}
        try:
            contenders["peer"] = caller(*self.peer())
            contenders["peer"](0)  # its first calls load half of it
        except SuiteError as error:
            contenders.pop("peer", None)
            return contenders, error.message.rstrip(".")
        return contenders, ""

    # sections

    def one_client(self) -> list[dict[str, Any]]:
        contenders, absent = self._contenders(1)
        runs = in_turns(contenders, lambda turn: turn, self.rounds)
        times = {name: [(percentile(run["marks"], 0.5), percentile(run["marks"], 0.95)) for run in found] for name, found in runs.items()}
        note = f"{self.load.calls} calls{', quick' * self.quick}"

        def added(name: str, which: int) -> tuple[float, float]:
            """Milliseconds more than directly, and how many times as long: medians of rounds."""
            pairs = [(mine[which], plain[which]) for mine, plain in zip(times[name], times["direct"], strict=True)]
            return 1000 * statistics.median(mine - plain for mine, plain in pairs), statistics.median(mine / plain for mine, plain in pairs)

        rows = [DIRECT_ONE.row(1000 * statistics.median(each[0] for each in times["direct"]), note=note), ADDED_50.row(*added("ours", 0), note),
                ADDED_95.row(*added("ours", 1), note)]
        return [*rows, PEER_ADDED.unmeasured(absent) if absent else PEER_ADDED.row(added("peer", 0)[0], note=note)]

    def many_clients(self) -> list[dict[str, Any]]:
        contenders, absent = self._contenders(self.load.clients)
        runs = in_turns(contenders, lambda turn: turn, self.rounds)
        rates = {name: [len(run["marks"]) / run["seconds"] for run in found] for name, found in runs.items()}
        note = f"{self.load.clients} clients, {self.load.calls} calls{', quick' * self.quick}"
        rows = [DIRECT_MANY.row(statistics.median(rates["direct"]), note=note), SHARE_MANY.row(paired(rates["ours"], rates["direct"]), note=note)]
        if absent:
            return [*rows, PEER_MANY.unmeasured(absent), OVER_PEER.unmeasured(absent)]
        return [*rows, PEER_MANY.row(statistics.median(rates["peer"]), note=note), OVER_PEER.row(paired(rates["ours"], rates["peer"]), note=note)]

    def failover(self) -> list[dict[str, Any]]:
        """The server of the alias dies as by a crash while requests come in at a steady rate."""
        self.scene.end("the LiteLLM proxy")
        load, (url, token) = self.load, self.ours()
        client, (chat, _) = self.scene.child("the client", "client"), self.stand_in(CHAT)
        body = {"model": self.alias, "messages": [{"role": "user", "content": "Who are you?"}], "max_tokens": 16}
        client.tell("steady", url=url, token=token, body=body, rate=load.rate, seconds=load.before + load.after)
        time.sleep(load.before)
        chat.kill()
        killed = time.monotonic()
        rows = client.answer()
        good = [row["end"] - killed for row in rows if row["begin"] > killed and row["status"] == 200]
        wrong = [row for row in rows if row["status"] == 200 and row["text"] != f"I am {CHAT}." and not row["fallback"]]
        note = f"{load.rate:g} calls/s{', quick' * self.quick}"
        return [FIRST_GOOD.row(min(good, default=load.after), note=note), UNFLAGGED.row(len(wrong), note=note),
                FLAGGED.row(sum(row["fallback"] for row in rows), note=note),
                REFUSED.row(sum(row["status"] != 200 for row in rows), note=note)]
