"""One address for all models: an alias is resolved to a server, and another server stands in when that one cannot answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from suite.errors import BadRequest, NotFound, NotReady, SettingsError, SuiteError, UpstreamError
from suite.gateway.route import route
from suite.gateway.upstream import Upstream
from suite.monitoring.probe import State, bad, good, guarded
from suite.serving.reply import Reply, ReplyStream
from suite.serving.request import Request

AUTO = "auto"


@dataclass(frozen=True)
class Choice:
    """What was decided for one request: the alias, why, and the servers to ask in this order (the second only if the first cannot answer)."""

    alias: str
    why: str
    upstreams: tuple[Upstream, ...]


class Gateway:
    """The part `api-gateway`. `upstreams` maps each alias to its own server first and those that may stand in for it after it."""

    name = "api-gateway"

    def __init__(self, upstreams: Mapping[str, Sequence[Upstream]], chat: str = "chat-7b", code: str = "code-7b", timeout: float = 60.0) -> None:
        if chat == code or AUTO in (chat, code):
            raise SettingsError(f"API_GATEWAY_CHAT_MODEL is {chat!r} and API_GATEWAY_CODE_MODEL is {code!r}, but they must be two names, neither of "
                                f"them {AUTO!r}.")
        for alias in (chat, code):
            if not upstreams.get(alias):
                raise BadRequest(f"The gateway has no server for the alias {alias!r}; give it one.")
        self.chat_alias, self.code_alias, self.timeout = chat, code, timeout
        self._upstreams = {alias: tuple(servers) for alias, servers in upstreams.items()}

    def start(self) -> None:
        """Nothing to do: the servers are started by whoever made them."""

    def close(self) -> None:
        """Nothing to do."""

    def chat(self, messages: str | list[dict[str, Any]], model: str = AUTO, stream: bool = False, **options: Any) -> Reply | ReplyStream:
        """Answer a conversation, or a plain question.

        `model` is an alias, or `auto` to decide by the user's last message; options are those of Request (max_tokens, temperature, top_p, seed,
        stop, repeat_penalty, timeout in seconds, at most the gateway's own). Raises BadRequest, NotFound for an unknown alias, NotReady when no
        server would answer, UpstreamError when one failed; with `stream`, what a server does wrong is raised while iterating.
        """
        request = Request.of(messages, **{**options, "model": model})
        request = replace(request, timeout=min(request.timeout or self.timeout, self.timeout))
        choice = self._choose(request)
        answer = self._stream(request, choice)
        return answer if stream else answer.read()

    def models(self) -> list[dict[str, Any]]:
        """The aliases, each with its server, the model there, and whether it would answer now."""
        rows = []
        for alias, servers in self._upstreams.items():
            state = guarded(servers[0].ready)
            rows.append({"id": alias, "upstream": servers[0].name, "stand_ins": [server.name for server in servers[1:]], "ready": state.ok,
                         "model": state.facts.get("model", ""), "smoke": bool(state.facts.get("smoke")), "reasons": list(state.reasons)})
        return rows

    def live(self) -> State:
        """Is it there?"""
        return good(aliases=list(self._upstreams))

    def ready(self) -> State:
        """Would every alias be answered by its own server?"""
        rows = self.models()
        absent = [row for row in rows if not row["ready"]]
        if absent:
            return bad(*(f"alias {row['id']}: {'; '.join(row['reasons']) or row['upstream'] + ' is not ready'}" for row in absent),
                       aliases=[row["id"] for row in absent])
        return good(aliases={row["id"]: row["model"] for row in rows}, smoke=any(row["smoke"] for row in rows))

    def deep(self) -> State:
        """Does every alias generate a token, from its own server?"""
        facts, reasons = {}, []
        for alias, servers in self._upstreams.items():
            try:
                reply = servers[0].complete(Request.of("1 + 1 = ?", max_tokens=1, temperature=0.0, seed=0, timeout=self.timeout))
                facts[alias] = {"model": reply.model, "tokens": reply.tokens, "seconds": reply.seconds, "smoke": reply.smoke}
                if reply.tokens < 1:
                    reasons.append(f"alias {alias}: {servers[0].name} gave no token; check its model file.")
            except SuiteError as error:
                reasons.append(f"alias {alias}: {error.message}")
        return bad(*reasons, aliases=facts) if reasons else good(aliases=facts)

    def _choose(self, request: Request) -> Choice:
        alias, why = request.model or AUTO, "asked for by name"
        if alias == AUTO:
            decided = route(request.messages)
            alias, why = self.code_alias if decided.code else self.chat_alias, decided.why
        if alias not in self._upstreams:
            raise NotFound(f"No model is called {alias!r} here; ask for one of: {', '.join((*self._upstreams, AUTO))}.", param="model")
        own = self._upstreams[alias]
        other = self.chat_alias if alias == self.code_alias else self.code_alias
        order = [*own, *(server for server in self._upstreams[other] if all(server is not known for known in own))]
        return Choice(alias, why, tuple(order))

    def _stream(self, request: Request, choice: Choice) -> ReplyStream:
        """A stream that is opened on first use, so that a stand-in can take over as long as nobody has seen a piece."""
        opened: list[ReplyStream] = []
        marks = {"fallback": False, "why": choice.why}

        def pieces() -> Iterator[str]:
            try:
                opened.append(choice.upstreams[0].stream(request).begin())
            except (NotReady, UpstreamError) as error:
                stand_in = self._stand_in(choice, error)
                if stand_in is None:
                    raise
                marks.update(fallback=True, why=f"{choice.why}; {stand_in.name} stood in because {choice.upstreams[0].name} could not answer")
                opened.append(stand_in.stream(request).begin())
            yield from opened[-1]

        def finished() -> Reply:
            if not opened:
                raise NotReady("This reply was closed before it began; ask again.", part=self.name, retry_after=1)
            return replace(opened[-1].reply, alias=choice.alias, **marks)

        def stop() -> None:
            for stream in opened:
                stream.close()

        return ReplyStream(pieces(), finished, stop)

    @staticmethod
    def _stand_in(choice: Choice, error: SuiteError) -> Upstream | None:
        """The next server that says it is ready; none after a time-out, when the time is spent."""
        if error.facts.get("timeout"):
            return None
        return next((server for server in choice.upstreams[1:] if guarded(server.ready).ok), None)
