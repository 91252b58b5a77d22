"""Where a measurement takes place: its scratch folder, its contenders (each started when it is first needed), its order of sections."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from suite.benchmark.child import Child, Process
from suite.benchmark.row import Limit
from suite.errors import SuiteError
from suite.settings import Settings
from suite.storage.place import open_data_dir

Running = TypeVar("Running", bound=Process)
LOAD_SECONDS = 600.0
# what a stack of a measurement must not take from the user's settings: other databases, other models, other places
OWN = {"profile": "smoke", "stage": "dev", "port_base": "auto", "database_url": "", "qdrant_url": "", "reports_dir": "", "api_gateway_upstreams": "",
       "chat_model": "", "code_model": "", "chat_n_gpu_layers": 0, "code_n_gpu_layers": 0, "llama_ctx": 0, "llama_slots": 0, "llama_kv_tokens": 0,
       "llama_kv_type": "f16", "llama_idle_unload": 0}


class Scene:
    """Use it in a `with`: whatever was started is ended there, also by Ctrl-C. `say` gets a short text before each piece of work.

    What is kept for the next time goes to the data directory's `cache`; raises DataDirError where that cannot be used.
    """

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        self.settings, self.say = settings, say
        self.cache = open_data_dir(settings.data_dir) / "cache"
        self._running: dict[str, Process] = {}
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Scene:
        self.scratch = Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix="suite-bench-")))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._open.close()

    def contender(self, name: str, make: Callable[[], Running], ready: Callable[[Running], Any]) -> Running:
        """The contender of that name, started and warmed up by `ready` at the first call. Raises RunFailed when it has died."""
        found = self._running.get(name)
        if found is None:
            self.say(f"starting {name}")
            found = self._open.enter_context(make())
            try:
                ready(found)
            except BaseException:
                found.close()  # it would take the others' time until the end
                raise
            self._running[name] = found
        error = found.ended()
        if error is not None:
            raise error
        return found  # type: ignore[return-value]

    def child(self, name: str, kind: str, /, **values: Any) -> Child:
        """A contender that is one of our own processes."""
        return self.contender(name, lambda: Child(kind, **values), lambda made: made.ask("ready", LOAD_SECONDS))

    def end(self, name: str) -> None:
        """End a contender that is not needed any more."""
        found = self._running.pop(name, None)
        if found is not None:
            found.close()

    def stack(self, name: str, /, **settings: Any) -> tuple[Child, dict[str, Any]]:
        """A stack of its own on free ports, and where it answers: `urls` by part, `token`."""
        own = {**OWN, "data_dir": str(self.scratch / name.replace(" ", "-")), "models_dir": str(self.settings.models_dir), **settings}
        child = self.child(name, "stack", **own)
        return child, child.ask("ready")

    def measure(self, sections: Sequence[tuple[str, Sequence[Limit], Callable[[], list[dict[str, Any]]]]]) -> list[dict[str, Any]]:
        """The rows of all sections; one that fails gives rows that say why they were not measured, and the others go on."""
        rows = []
        for title, limits, section in sections:
            self.say(title)
            try:
                rows += section()
            except SuiteError as error:
                rows += [limit.unmeasured(error.message.rstrip(".")) for limit in limits]
        return rows
