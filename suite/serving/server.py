"""A model server: one role, one model file, loaded and answering, or the reason why not."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from suite.errors import NotReady, SuiteError, UpstreamError
from suite.monitoring.gpu import Gpu
from suite.monitoring.model_memory import ModelMemory
from suite.monitoring.probe import State, bad, good
from suite.serving.catalog import ProfileModel
from suite.serving.count import nothing
from suite.serving.idle import Idleness, busy
from suite.serving.load import Loaded, load, prepare, settle
from suite.serving.reply import Reply, ReplyStream
from suite.serving.request import Request, checked
from suite.serving.residence import Residence
from suite.serving.weights import Place, locate
from suite.settings import Settings

if TYPE_CHECKING:
    from suite.serving.child import ChildDecoder
    from suite.serving.decoder import Decoder

RETRY_S = 5
WAITED_S = 0.1  # a request that waited longer than this for a model to wake up has that much less time for its reply
DEATHS, WITHIN_S = 3, 60.0  # a child that died so often in so many seconds is not started again
T = TypeVar("T")
log = logging.getLogger("suite.serving")


class ModelServer:
    """One of the two model servers. `role` is chat or code; `start()` never raises for a bad model, it remembers why it is not ready.

    A server that was unloaded because nobody asked it, or to make room for another, is asleep: the next request loads it again. When its process
    died, `restarted(name, why, up)` is told whether it serves again.
    """

    def __init__(self, name: str, role: str, settings: Settings, models_dir: Path, cache_dir: Path, profile: ProfileModel,
                 residence: Residence | None = None, restarted: Callable[[str, str, bool], None] = lambda name, why, up: None) -> None:
        self.name, self.role, self.settings = name, role, settings
        self.models_dir, self.cache_dir, self.profile = models_dir, cache_dir, profile
        self.load_seconds, self._restarted = 0.0, restarted
        self.restarts = 0  # loads after the first, other than swaps that were asked for and waking up
        self._loads = 0
        self._loaded: Loaded | None = None
        self._asleep: Loaded | None = None  # what will be loaded again on demand
        self._broken: Loaded | None = None  # what is about to be started again, after its process died
        self._why_not: SuiteError = NotReady(f"{name} has not been started; call start().")
        self._deaths: deque[float] = deque(maxlen=DEATHS)
        self._idleness: Idleness | None = None
        self._draining: Decoder | ChildDecoder | None = None  # closes when its replies have ended
        self._inside = 0  # callers that are handing something to the decoder right now
        self._wanted: list[tuple[Future[Any], Callable[[Any], Any]]] = []  # who waits for it to wake up
        self._waking = False
        self._gate = threading.Condition()  # held for moments; `_residence.turn` is held for as long as a load takes
        self._residence = residence or Residence()
        self._residence.join(self, profile.model)

    @property
    def model(self) -> str:
        """What is in memory: a catalogue name or a file's stem; empty when nothing is."""
        loaded = self._loaded
        return loaded.prepared.model if loaded else ""

    def start(self) -> None:
        """Load the model; what goes wrong is kept, and said by ready() and by every request."""
        try:
            self.load()
        except SuiteError as error:
            self._why_not = error

    def close(self) -> None:
        """Unload the model."""
        self.unload()

    def load(self) -> None:
        """Check the file, try it in a child process once, load it. Raises WeightsError with what is wrong and what to do, Denied for its licence."""
        with self._residence.turn:
            if self._loaded is not None:
                return
            asleep = self._asleep
            self._deaths.clear()
            self._bring_up(asleep.prepared.place if asleep else self._place())
            if asleep is None:
                self._count()

    def unload(self) -> None:
        """Stop what is being decoded and give the memory back; running replies end with an error, and requests then raise NotReady."""
        with self._gate:
            draining = self._draining
        if draining is not None:
            draining.close()  # somebody waits for its replies to end, and would make us wait
        with self._residence.turn:
            self._take_down(NotReady(f"{self.name} was unloaded; load it again."), drain=False)
            with self._gate:
                self._asleep, self._broken = None, None

    def step_aside(self, why: str) -> None:
        """Finish what was accepted, unload, and be loaded again by the next request."""
        with self._residence.turn:
            self._take_down(NotReady(f"{self.name} {why}; the next request loads it again."), drain=True, sleep=True)

    def swap(self, path: str | Path) -> None:
        """Serve another model file: a catalogue name, a file of the models directory, or a path.

        The old one serves until the new one has passed its checks and its trial load; requests that it accepted are finished. Raises
        WeightsError when the new file is bad, and then the old one goes on.
        """
        with self._residence.turn:
            place = locate(self.role, str(path), self.profile, self.models_dir)
            prepared = prepare(place, self.settings, self.profile, self.role, self.cache_dir)
            old = self._loaded or self._asleep
            try:
                self._take_down(NotReady(f"{self.name} is changing to {place.path.name}; ask again in a moment."), drain=True)
                self._bring_up(place, prepared)
            except SuiteError as error:
                self._why_not = error
                if old is not None:
                    self._return_to(old)
                raise
            except BaseException:  # an interrupt
                if self._loaded is None and old is not None:
                    self._asleep = replace(old, decoder=None)
                    self._why_not = NotReady(f"{self.name} was interrupted while it changed models; the next request loads the old one again.")
                raise

    def complete(self, request: Request) -> Reply:
        """The whole reply. Raises BadRequest, ContextOverflow, NotReady, or UpstreamError when decoding fails or times out."""
        return self.stream(request).read()

    def stream(self, request: Request) -> ReplyStream:
        """The reply piece by piece. Raises like `complete`; what goes wrong later is raised while iterating."""
        request, began = checked(request), time.monotonic()

        def hand(decoder: Decoder | ChildDecoder) -> ReplyStream:
            waited = time.monotonic() - began
            if request.timeout is None or waited < WAITED_S:
                return decoder.stream(request)
            return decoder.stream(replace(request, timeout=max(0.001, round(request.timeout - waited, 3))))

        return self._use(hand, request.timeout)

    def tokenize(self, text: str, special: bool = False) -> list[int]:
        """The tokens of a text; control words are read as controls when `special`. Raises NotReady."""
        return self._use(lambda decoder: decoder.tokenize(text, special), self.settings.llm_request_timeout)

    def detokenize(self, tokens: list[int]) -> str:
        """The text of tokens. Raises BadRequest for a number that is no token, NotReady."""
        return self._use(lambda decoder: decoder.detokenize(tokens), self.settings.llm_request_timeout)

    def live(self) -> State:
        """Is there a server, loaded or not?"""
        return good(name=self.name, loaded=self._loaded is not None)

    def ready(self) -> State:
        """Would it answer: is a model loaded, or would the next request load it?"""
        with self._gate:
            loaded, asleep, why = self._loaded, self._asleep, self._why_not
        if loaded is None and asleep is None:
            return bad(why.message, retry_after=why.facts.get("retry_after", RETRY_S), part=self.name)
        fixed, stats = (loaded or asleep).fixed, self.stats()
        facts = {"model": fixed["id"], "smoke": fixed["smoke"], "n_ctx": fixed["n_ctx"], "busy": stats["busy"], "waiting": stats["waiting"],
                 "loaded": loaded is not None}
        return good(**facts) if loaded else good(**facts, note=why.message)

    def deep(self) -> State:
        """Does it generate a token?"""
        try:
            reply = self.complete(Request.of("1 + 1 = ?", max_tokens=1, temperature=0.0, seed=0, timeout=self.settings.llm_request_timeout))
        except SuiteError as error:
            return bad(error.message, part=self.name)
        if reply.tokens < 1:
            return bad(f"{self.name} ended its reply before the first token; check the model file and its chat template.", part=self.name)
        return good(model=reply.model, tokens=reply.tokens, seconds=reply.seconds, tokens_per_s=reply.tokens_per_s, smoke=reply.smoke)

    def expected(self) -> dict[str, str]:
        """What settings and profile ask this server to run: `model` (catalogue name or empty), `file`, `path`, `sha256` (empty when unpinned)."""
        try:
            place = self._place()
        except SuiteError:
            return {"model": self.profile.model, "file": "", "path": "", "sha256": ""}
        entry = place.entry
        return {"model": entry.name if entry else "", "file": place.path.name, "path": str(place.path), "sha256": entry.sha256 if entry else ""}

    def stats(self) -> dict[str, Any]:
        """What the decoder counts (Decoder.stats) since the model was loaded, zeros when none is, and `restarts`."""
        with self._gate:
            loaded = self._loaded
        if loaded is None:
            return {**nothing(), "restarts": self.restarts}
        return {**loaded.decoder.stats(), "restarts": self.restarts}

    def info(self) -> dict[str, Any]:
        """What is loaded: id, role, path, file, bytes, sha256, verified (None where nobody pinned the hash), sizes, speed, counts.

        `intact` says that the file is still the one that was loaded. Of a server that is asleep it says what will be loaded again.
        """
        with self._gate:
            loaded, asleep, why = self._loaded, self._asleep, self._why_not
        always = {"name": self.name, "role": self.role, "loaded": loaded is not None, "restarts": self.restarts,
                  "isolation": self.settings.serving_isolation, "idle_unload": self.settings.llama_idle_unload}
        reason = {} if loaded else {"reason": why.message}
        known = loaded or asleep
        if known is None:
            return {"id": "", **always, **reason}
        stats = self.stats()
        counts = {name: stats[name] for name in ("busy", "waiting", "requests", "tokens", "tokens_per_s")}
        return {**known.facts(), **always, **counts, **reason, "load_seconds": self.load_seconds}

    def memory(self, cards: Sequence[Gpu]) -> list[ModelMemory]:
        """What the loaded model takes of each memory, planned and seen; nothing when none is loaded."""
        loaded = self._loaded
        return loaded.memory(self.name, cards) if loaded else []

    def _place(self) -> Place:
        return locate(self.role, getattr(self.settings, f"{self.role}_model"), self.profile, self.models_dir)

    def _count(self) -> None:
        self.restarts, self._loads = self._loads, self._loads + 1

    def _use(self, use: Callable[[Decoder | ChildDecoder], T], limit: float | None = None) -> T:
        """Hand something to the decoder, which cannot be closed meanwhile; where it is asleep, wake it and wait, `limit` seconds at most."""
        with self._gate:
            loaded = self._loaded
            if loaded is None and self._asleep is None:
                why = self._why_not
                raise NotReady(why.message, part=self.name, retry_after=why.facts.get("retry_after", RETRY_S)) from why
            if loaded is None:
                future: Future[T] = Future()
                self._wanted.append((future, use))
                if not self._waking:
                    self._waking = True
                    threading.Thread(target=self._wake, name=f"wake-{self.name}", daemon=True).start()
            else:
                self._inside += 1
                if self._idleness is not None:
                    self._idleness.used = time.monotonic()
        if loaded is None:
            return self._awaited(future, limit)
        try:
            return use(loaded.decoder)
        finally:
            with self._gate:
                self._inside -= 1
                self._gate.notify_all()

    def _awaited(self, future: Future[T], limit: float | None) -> T:
        try:
            return future.result(limit)
        except TimeoutError:
            raise UpstreamError(f"{self.name} was being loaded again and was not ready within {limit:g} s; ask again in a moment, or raise "
                                "LLM_REQUEST_TIMEOUT.", part=self.name, timeout=True) from None
        finally:
            future.cancel()

    def _wake(self) -> None:
        """Load what is asleep, and let in those who wait before anybody else may take it down again."""
        with self._residence.turn:
            why: SuiteError | None = None
            asleep = self._asleep
            try:
                if self._loaded is None and asleep is not None:
                    self._bring_up(asleep.prepared.place)
            except SuiteError as error:
                why = error
            except Exception as error:  # the edge of the thread: those who wait must hear something
                log.exception("%s could not be loaded again", self.name, extra={"service": self.name})
                why = NotReady(f"{self.name} could not be loaded again ({type(error).__name__}: {error}); look into the log.")
            if why is not None:
                with self._gate:
                    self._asleep, self._why_not = None, why
            while True:
                with self._gate:
                    waiting, self._wanted = self._wanted, []
                    if not waiting:
                        self._waking = False
                        return
                for future, use in waiting:
                    self._let_in(future, use)

    def _let_in(self, future: Future[Any], use: Callable[[Any], Any]) -> None:
        if not future.set_running_or_notify_cancel():
            return  # it waited long enough
        loaded, why = self._loaded, self._why_not
        try:
            if loaded is None:
                raise NotReady(why.message, part=self.name, retry_after=RETRY_S) from why
            future.set_result(use(loaded.decoder))
        except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
            future.set_exception(error)

    def _bring_up(self, place: Place, prepared: Any = None) -> None:
        """Load a file and let requests in; the caller holds the turn."""
        began = time.monotonic()
        if prepared is None:
            prepared = prepare(place, self.settings, self.profile, self.role, self.cache_dir,
                               room=lambda model: self._residence.make_room(self, model))
        else:
            self._residence.make_room(self, prepared.model)
            prepared = settle(prepared, self.settings, self.profile, self.role, self.cache_dir)
        loaded = load(self.name, prepared, self.settings)
        self.load_seconds = time.monotonic() - began
        seconds = self.settings.llama_idle_unload
        with self._gate:
            self._loaded, self._asleep, self._broken = loaded, None, None
            if seconds:
                self._idleness = Idleness(self.name, seconds, lambda: busy(loaded.decoder), lambda: self._doze(loaded))
        if loaded.supervised:
            loaded.decoder.watch(lambda _, death: self._died(loaded, death))

    def _return_to(self, old: Loaded) -> None:
        """Load again what served before a swap that failed after all."""
        try:
            self._bring_up(old.prepared.place)
        except SuiteError as error:
            log.error("%s could not return to %s: %s", self.name, old.prepared.model, error, extra={"service": self.name})
            self._why_not = error

    def _take_down(self, why: SuiteError, drain: bool, sleep: bool = False) -> None:
        """Let nobody in any more, and close the decoder once nobody is on the way in; the caller holds the turn."""
        with self._gate:
            loaded, self._loaded = self._loaded, None
            idleness, self._idleness = self._idleness, None
            if loaded is not None or not sleep:
                self._why_not = why
            if loaded is not None and sleep:
                self._asleep = replace(loaded, decoder=None)
            self._gate.wait_for(lambda: not self._inside)
        if idleness is not None:
            idleness.stop()
        if loaded is not None:
            if drain:  # in a thread of its own, so that an interrupt of the caller's long wait does not leave it half closed
                self._draining = loaded.decoder
                closing = threading.Thread(target=self._drain, args=(loaded.decoder,), name=f"drain-{self.name}", daemon=True)
                closing.start()
                closing.join()
            else:
                loaded.decoder.close()

    def _drain(self, decoder: Decoder | ChildDecoder) -> None:
        try:
            decoder.close(drain=True)
        finally:
            if self._draining is decoder:
                self._draining = None

    def _doze(self, loaded: Loaded) -> bool:
        """Called when nobody has asked for long enough; whether that is the end of this model in memory."""
        with self._residence.turn:
            with self._gate:
                idleness = self._idleness
                if self._loaded is not loaded or idleness is None:
                    return True
                if not idleness.over:
                    return False
            self.step_aside(f"was unloaded after {idleness.seconds:g} s idle")
            return True

    def _died(self, loaded: Loaded, death: str) -> None:
        """Called by the decoder's own thread when its process died: keep callers out, and have it started again by another thread."""
        with self._gate:
            if self._loaded is not loaded:
                return
            self._loaded, self._broken = None, loaded  # kept, so that a load by somebody else in between is noticed
            idleness, self._idleness = self._idleness, None
            self._deaths.append(time.monotonic())
            often = len(self._deaths) == DEATHS and self._deaths[-1] - self._deaths[0] < WITHIN_S
            self._why_not = NotReady(
                f"{death}. That was the {DEATHS}rd time within {WITHIN_S:.0f} s, so it stays down: lower LLAMA_CTX, LLAMA_KV_TOKENS or the GPU "
                f"layers, or choose another model, then load it again." if often else
                f"{death}; it is being started again, ask again in a moment.", retry_after=60 if often else 2)
        if idleness is not None:
            idleness.stop()
        threading.Thread(target=self._bury, args=(loaded, death, not often), name=f"restart-{self.name}", daemon=True).start()

    def _bury(self, loaded: Loaded, death: str, again: bool) -> None:
        """Clear away a decoder whose process died, and start the next one."""
        loaded.decoder.close()
        with self._residence.turn:
            if self._broken is not loaded:  # somebody unloaded it, or loaded another, meanwhile
                return
            try:
                if again:
                    self._bring_up(loaded.prepared.place)
                    self._count()
            except SuiteError as error:
                self._why_not = error
            up = self._loaded is not None
            self._restarted(self.name, f"{death}; it was started again." if up else self._why_not.message, up)
