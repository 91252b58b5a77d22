"""One address for all models: an alias is resolved to a server, and another server stands in when that one cannot answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from suite.errors import BadRequest, NotFound, SettingsError, SuiteError
from suite.gateway.attempt import Attempt, Choice, Server
from suite.gateway.breaker import OPEN, Breaker
from suite.gateway.call import CALL, Call
from suite.gateway.openai_upstream import OpenAIUpstream
from suite.gateway.route import route, route_text
from suite.gateway.upstream import Upstream, kind_of
from suite.monitoring.probe import State, bad, good, guarded
from suite.serving.reply import Reply, ReplyStream
from suite.serving.request import Request
from suite.usage.record import Usage

AUTO = "auto"
log = logging.getLogger("suite.gateway")


class Gateway:
    """The part `api-gateway`. `upstreams` maps each alias to its servers in the order they are asked; those of the other alias come after them.

    `timeout` in seconds is the most a reply may take. A server that fails `failures` times in a row is left alone for `seconds`. `record` gets
    the usage of each request; `who` is the actor of a request that names none.
    """

    name = "api-gateway"

    def __init__(self, upstreams: Mapping[str, Sequence[Upstream]], chat: str = "chat-7b", code: str = "code-7b", timeout: float = 60.0, *,
                 failures: int = 3, seconds: float = 10.0, record: Callable[[Usage], None] = lambda usage: None, who: str = "") -> None:
        if chat == code or AUTO in (chat, code):
            raise SettingsError(f"API_GATEWAY_CHAT_MODEL is {chat!r} and API_GATEWAY_CODE_MODEL is {code!r}, but they must be two names, neither of "
                                f"them {AUTO!r}.")
        self.chat_alias, self.code_alias, self.timeout, self.who = chat, code, timeout, who
        self._failures, self._seconds, self._record = failures, seconds, record
        self._order: dict[str, tuple[Server, ...]] = {}
        for alias in dict.fromkeys((chat, code, *upstreams)):
            self.assign(alias, upstreams.get(alias, ()))

    def assign(self, alias: str, upstreams: Sequence[Upstream]) -> None:
        """Let an alias be answered by these servers from the next request on, asked in this order. Raises BadRequest when there are none."""
        if not upstreams:
            raise BadRequest(f"The gateway has no server for the alias {alias!r}; give it one.")
        known = {id(server.upstream): server for server in self.servers()}  # a server has one breaker, whatever it is asked for
        self._order[alias] = tuple(known.get(id(upstream)) or Server(upstream, Breaker(self._failures, self._seconds)) for upstream in upstreams)

    def servers(self) -> list[Server]:
        """Every server once, with its breaker."""
        return list({id(server.upstream): server for servers in self._order.values() for server in servers}.values())

    def first(self, alias: str) -> Upstream:
        """The server that is asked first for an alias. Raises NotFound for an unknown one."""
        if alias not in self._order:
            raise NotFound(f"No model is called {alias!r} here; ask for one of: {', '.join(self._order)}.", param="model")
        return self._order[alias][0].upstream

    def start(self) -> None:
        """Nothing to do: the servers are started by whoever made them."""

    def close(self) -> None:
        """Close the connections to servers behind URLs."""
        for server in self.servers():
            if isinstance(server.upstream, OpenAIUpstream):
                server.upstream.close()

    def chat(self, messages: str | list[dict[str, Any]], model: str = AUTO, stream: bool = False, **options: Any) -> Reply | ReplyStream:
        """Answer a conversation, or a plain question.

        `model` is an alias, or `auto` to decide by the user's last message; options are those of Request (max_tokens, temperature, top_p, seed,
        stop, repeat_penalty, timeout in seconds, at most the gateway's own). Raises BadRequest, NotFound for an unknown alias, NotReady when no
        server would answer, UpstreamError when one failed; with `stream`, what a server does wrong is raised while iterating.
        """
        request = Request.of(messages, **{**options, "model": model})
        return self.stream(request) if stream else self.complete(request)

    def complete(self, request: Request) -> Reply:
        """The whole reply to a checked request (messages, a prompt, a gap to fill); `request.model` is an alias, `auto` or empty. Raises as chat."""
        return self.whole(request).read()

    def whole(self, request: Request) -> ReplyStream:
        """The same as a stream whose pieces are of no interest, so that it can be ended early."""
        return self._attempt(request).stream(whole=True)

    def stream(self, request: Request) -> ReplyStream:
        """The same, piece by piece; a server's failure is raised while iterating."""
        return self._attempt(request).stream()

    def models(self) -> list[dict[str, Any]]:
        """The aliases, each with its first server, the model there, whether it would answer now, and the state of every server that may answer."""
        states = {id(server): self._state(server) for server in self.servers()}
        return [self._row(alias, [states[id(server)] for server in self._servers_for(alias)]) for alias in self._order]

    def live(self) -> State:
        """Is it there?"""
        return good(aliases=list(self._order))

    def ready(self) -> State:
        """Would every alias be answered by a server of its own? One that is out beside another that answers is told in the reasons."""
        out, absent, rows = [], [], self.models()
        for row in rows:
            own = row["servers"][:self._own(row["id"])]
            out += [f"alias {row['id']}: {'; '.join(server['reasons']) or server['name'] + ' is not ready'}" for server in own if not server["ready"]]
            absent += [] if any(server["ready"] for server in own) else [row["id"]]
        if absent:
            return bad(*out, aliases=absent)
        return State(True, tuple(out), {"aliases": {row["id"]: row["model"] for row in rows}, "smoke": any(row["smoke"] for row in rows)})

    def deep(self) -> State:
        """Does every alias generate a token, from its first server?"""
        facts, reasons = {}, []
        for alias, servers in self._order.items():
            upstream = servers[0].upstream
            try:
                reply = upstream.complete(Request.of("1 + 1 = ?", max_tokens=1, temperature=0.0, seed=0, timeout=self.timeout))
                facts[alias] = {"model": reply.model, "tokens": reply.tokens, "seconds": reply.seconds, "smoke": reply.smoke}
                if reply.tokens < 1:
                    reasons.append(f"alias {alias}: {upstream.name} gave no token; check its model file.")
            except SuiteError as error:
                reasons.append(f"alias {alias}: {error.message}")
        return bad(*reasons, aliases=facts) if reasons else good(aliases=facts)

    @staticmethod
    def _state(server: Server) -> dict[str, Any]:
        resting = server.breaker.state == OPEN
        state = bad(server.breaker.why) if resting else guarded(server.upstream.ready)  # one that is left alone is not asked for this either
        return {"name": server.name, "kind": kind_of(server.upstream), "breaker": server.breaker.state, "ready": state.ok,
                "model": state.facts.get("model", ""), "smoke": bool(state.facts.get("smoke")), "reasons": list(state.reasons)}

    @staticmethod
    def _row(alias: str, servers: list[dict[str, Any]]) -> dict[str, Any]:
        first = {name: servers[0][name] for name in ("kind", "breaker", "ready", "model", "smoke", "reasons")}
        return {"id": alias, "upstream": servers[0]["name"], "stand_ins": [server["name"] for server in servers[1:]], **first, "servers": servers}

    def _own(self, alias: str) -> int:
        """How many of the alias' servers are its own: the first, and those after it that are not another alias' first."""
        firsts = {id(servers[0]) for other, servers in self._order.items() if other != alias}
        own = self._order[alias]
        return next((place for place, server in enumerate(own) if place and id(server) in firsts), len(own))

    def _servers_for(self, alias: str) -> tuple[Server, ...]:
        """The alias' servers, then those of the other alias, each once."""
        other = self.chat_alias if alias == self.code_alias else self.code_alias
        return tuple(dict.fromkeys((*self._order[alias], *self._order[other])))

    def _attempt(self, request: Request) -> Attempt:
        alias, why = request.model or AUTO, "asked for by name"
        if alias == AUTO:
            decided = route(request.messages) if not request.raw else route_text(request.prompt or "")
            alias, why = self.code_alias if decided.code else self.chat_alias, decided.why
        if alias not in self._order:
            raise NotFound(f"No model is called {alias!r} here; ask for one of: {', '.join((*self._order, AUTO))}.", param="model")
        request = replace(request, timeout=min(request.timeout or self.timeout, self.timeout))
        call = CALL.get() or Call()
        call.who = call.who or self.who
        return Attempt(request, Choice(alias, why, self._servers_for(alias)), call, self._noted)

    def _noted(self, usage: Usage) -> None:
        try:
            self._record(usage)
        except Exception:
            log.exception("usage was not kept")  # a reply is worth more than its line in the accounts
