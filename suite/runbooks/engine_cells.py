"""How the engine `suite` executes cells: limits of time, a bar that names the check, a notebook that is whole after each cell, a crash capsule."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, NotebookExecutionManager
from papermill.log import logger

from suite.checks.check import now
from suite.runbooks.ending import CRASHED, TIMED_OUT, Ending, Pulse, capsule, titles, told
from suite.runbooks.scrub import scrub
from suite.settings import kernel_environment

CELL_SECONDS = 1800.0  # one cell starts the whole stack, and a profile's models may have to be read from a slow disk
START_SECONDS = 180  # for a kernel on a machine with much else to do
Announce = Callable[[str, int, int], None]  # the title of what is done now, how many cells are done, of how many


class Keeper(NotebookExecutionManager):
    """Keeps the notebook: each save replaces the file in one step, for its owner only, without paths and names in its metadata."""

    def cell_start(self, cell: Any, cell_index: int | None = None, **kwargs: Any) -> None:
        """Note when a cell began; it is written down together with what it gave."""
        cell.metadata.papermill.update(start_time=self.now().isoformat(), status=self.RUNNING, exception=False)

    def save(self, **kwargs: Any) -> None:
        """Write the notebook to `output_path`; what is no local file is left to papermill."""
        self.nb = kwargs.get("nb") or self.nb
        if self.output_path and (self.output_path == "-" or "://" in self.output_path):
            super().save()
        elif self.output_path:
            write_whole(self.nb, Path(self.output_path))
        self.last_save_time = self.now()


def write_whole(notebook: Any, path: Path) -> None:
    """Replace the file by the notebook in one step, with its metadata scrubbed. Raises OSError."""
    kept = nbformat.from_dict({**notebook, "metadata": scrub(notebook["metadata"]),
                               "cells": [{**cell, "metadata": scrub(cell["metadata"])} for cell in notebook["cells"]]})
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.touch(mode=0o600)
        partial.write_text(nbformat.v4.writes(kept) + "\n", encoding="utf-8")  # not validated: this is done after each cell
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


class Client(PapermillNotebookClient):
    """Executes the cells of one notebook, and writes into `ending` what becomes of it."""

    def __init__(self, keeper: Keeper, ending: Ending, cell_limit: float, deadline: float, announce: Announce | None, **options: Any) -> None:
        super().__init__(keeper, **options)
        self.ending, self._cell_limit, self._deadline, self._announce = ending, cell_limit, deadline, announce
        self.timeout_func = lambda cell: max(0.05, min(self._cell_limit, self._deadline - time.monotonic()))
        self._titles = titles(self.nb.cells)

    def execute(self, **start: Any) -> Any:
        """Start a kernel and execute the notebook in it; `start` is for the kernel's process."""
        self.reset_execution_trackers()
        with self.setup_kernel(**start):
            # asked before the first cell: a kernel that is gone or busy at the end would not answer
            self.nb.metadata["language_info"] = self.wait_for_reply(self.kc.kernel_info())["content"]["language_info"]
            self.papermill_execute_cells()
            self.set_widgets_metadata()
        return self.nb

    def papermill_execute_cells(self) -> None:
        """Execute the code cells in order; the first that raises, takes too long or loses its kernel is the last."""
        process = getattr(self.km.provisioner, "process", None)
        pulse = Pulse(process.pid) if process is not None else None
        code = [index for index, cell in enumerate(self.nb.cells) if cell.cell_type == "code"]
        try:
            for number, index in enumerate(code):
                if self._announce is not None:
                    self._announce(self._titles[index], number, len(code))
                if not self._one(index, process, pulse):
                    return
            if self._announce is not None:
                self._announce("", len(code), len(code))
        finally:
            if pulse is not None:
                pulse.close()

    def _one(self, index: int, process: Any, pulse: Pulse | None) -> bool:
        """Execute one cell; whether the next one follows."""
        cell, title, began = self.nb.cells[index], self._titles[index], time.monotonic()
        self.nb_man.cell_start(cell, index)
        try:
            self.execute_cell(cell, index)
        except CellExecutionError as error:
            self.nb_man.cell_exception(cell, cell_index=index, exception=error)
            return False
        except CellTimeoutError:
            self.ending.state, self.shutdown_kernel = TIMED_OUT, "immediate"
            over = time.monotonic() >= self._deadline - 0.01
            limit = "the time limit of the whole run" if over else f"its limit of {self._cell_limit:g} s"
            self.ending.trouble = f"Cell {index} ({title}) was ended after {time.monotonic() - began:.1f} s by {limit}."
            self.nb_man.cell_exception(cell, cell_index=index)
            return False
        except DeadKernelError:
            self.ending.state = CRASHED
            self.ending.crash = capsule(index, title, self.nb.cells, process.poll() if process is not None else None, pulse, self.last_words())
            self.ending.trouble = f"The kernel died in cell {index} ({title}): {self.ending.crash['how']}."
            self.nb_man.cell_exception(cell, cell_index=index)
            return False
        finally:
            self.ending.cells.append({"index": index, "title": title, "seconds": round(time.monotonic() - began, 3)})
            self.nb_man.cell_complete(cell, cell_index=index)
        return True

    def last_words(self) -> str:
        """The end of what the kernel's process has written to its error stream."""
        if self.words is None:
            return ""
        self.words.seek(max(0, self.words.seek(0, os.SEEK_END) - 8000))
        return self.words.read().decode("utf-8", "replace")

    words: Any = None


class CellEngine(Engine):
    """Executes a notebook as papermill's own engine does, within limits and with a record of how it ended."""

    @classmethod
    def execute_notebook(cls, nb: Any, kernel_name: str, output_path: str | None = None, progress_bar: Any = True, log_output: bool = False,
                         autosave_cell_every: int = 30, *, ending: Ending | None = None, keep: Path | None = None,
                         announce: Announce | None = None, **options: Any) -> Any:
        """Execute `nb` and keep it at `keep`, or where papermill says; `ending` is filled, and says what papermill's exceptions cannot."""
        ending = ending if ending is not None else Ending()
        keeper = Keeper(nb, str(keep) if keep else output_path, log_output, progress_bar=False, autosave_cell_every=autosave_cell_every)
        ending.notebook, ending.started_at = nb, now()
        keeper.notebook_start()
        try:
            with _bar(progress_bar if announce is None else False) as shown:
                cls.execute_managed_notebook(keeper, kernel_name, log_output=log_output, ending=ending, announce=announce or shown, **options)
        finally:
            ending.ended_at = now()
            if ending.crash is not None:
                metadata = {"tags": ["not-run"], "papermill": {"status": "completed"}}
                nb.cells.append(nbformat.v4.new_markdown_cell(told(ending.crash), metadata=metadata))
            keeper.notebook_complete()
        return keeper.nb

    @classmethod
    def execute_managed_notebook(cls, nb_man: Keeper, kernel_name: str, *, ending: Ending, announce: Announce | None, log_output: bool = False,
                                 stdout_file: Any = None, stderr_file: Any = None, start_timeout: int = START_SECONDS,
                                 execution_timeout: float | None = None, cell_limit: float = 0.0, time_limit: float = 0.0,
                                 environment: Mapping[str, str] | None = None, folder: Path | None = None, **options: Any) -> None:
        """Execute the cells of the notebook that the keeper holds. Limits are seconds; 0 is the usual one for a cell, and none for the run."""
        options.pop("input_path", None)
        deadline = time.monotonic() + time_limit if time_limit else math.inf
        client = Client(nb_man, ending, cell_limit or execution_timeout or CELL_SECONDS, deadline, announce, startup_timeout=start_timeout,
                        kernel_name=kernel_name, log=logger, log_output=log_output, stdout_file=stdout_file, stderr_file=stderr_file, **options)
        with tempfile.TemporaryFile() as words:
            client.words = words
            # a crash in a library shows where it was; its stream is kept for the capsule
            env = kernel_environment({"PYTHONFAULTHANDLER": "1", **(environment or {})})
            client.execute(env=env, stderr=words, **({"cwd": str(folder)} if folder else {}))


class _bar:
    """papermill's bar, with the title of what is done now; as a context, because a bar that is not closed stays on the screen."""

    def __init__(self, asked: Any) -> None:
        self._asked, self._bar = asked, None

    def __enter__(self) -> Announce | None:
        return self._show if self._asked else None

    def _show(self, title: str, done: int, total: int) -> None:
        from tqdm.auto import tqdm  # here, because in a notebook it loads the widgets

        if self._bar is None:
            self._bar = tqdm(total=total, **({"unit": "cell"} | (self._asked if isinstance(self._asked, dict) else {})))
        self._bar.set_description(title or "done", refresh=False)
        self._bar.update(done - self._bar.n)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
