"""`%%chat` and `%%code`: the text of a cell is the question, and the reply is written into the cell as it comes. `%%ask` asks documents,
`%remember` keeps a turn, `%recall` finds it again.

    %load_ext suite.magics

    %%chat --temperature 0
    What is a GGUF file?

    %%ask --collection handbook
    When does the backup start?

    %remember
    %recall GGUF file

`%%chat --help` lists the options. The suite kernel has all of them loaded.
"""

from __future__ import annotations

import argparse
import re
import shlex
import time
from contextlib import closing
from functools import partial
from typing import Any, NoReturn

from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import no_var_expand
from IPython.display import display

from suite import render
from suite.bench import Bench, start
from suite.errors import BadRequest, SuiteError
from suite.gateway.conversation import Conversation, describe

NAMES = ("chat", "code", "ask")
LINES = ("remember", "recall")  # of one line, without a cell
_OPTION = re.compile(r"""(--(?:help|debug)(?=\s|$)|--[a-z]+)(?:(?<!--help)(?<!--debug)[ =]+("[^"]*"|'[^']*'|\S+))?(?:\s+|$)""")
REDRAW_S = 0.05  # a cell is drawn at most this often: each time its whole text goes to the browser
REDRAW_S_PER_CHARACTER = 2e-6  # so a very long one less often


def load_ipython_extension(shell: InteractiveShell) -> None:
    """What `%load_ext suite.magics` calls."""
    cells = ChatCells(shell)
    for name in NAMES:
        shell.register_magic_function(cells.magic(name), "line_cell", name)
    for name in LINES:
        shell.register_magic_function(cells.magic(name), "line", name)
    shell.input_transformers_cleanup.append(_lone_line)


def _lone_line(lines: list[str]) -> list[str]:
    """IPython refuses a cell magic without a body before we see it; as a line magic it can still show its help, or say what is missing."""
    lone = lines and lines[0].split(None, 1)[:1] in [[f"%%{name}"] for name in NAMES] and not "".join(lines[1:]).strip()
    return [lines[0][1:]] if lone else lines


class Options(argparse.ArgumentParser):
    """The options of the first line; what is wrong with them is a BadRequest, not the end of the kernel."""

    def __init__(self, name: str) -> None:
        if name in LINES:
            self._of_memory(name)
            return
        what = {"code": "the code model", "chat": "a model", "ask": "the documents of a collection"}[name]
        stops = "The answer names the places that it was written from." if name == "ask" else "An interrupt of the kernel stops the reply."
        super().__init__(prog=f"%%{name}", add_help=False, allow_abbrev=False,
                         description=f"Ask {what}: the text under this line is the question. {stops}")
        if name == "ask":
            self.add_argument("--collection", default="", metavar="NAME", help="the collection (default: RAG_DEFAULT_COLLECTION)")
            self.add_argument("--topk", type=int, metavar="N", help="how many passages the answer is written from (default: RAG_TOPK)")
            self.add_argument("--to", metavar="NAME", help="put the Answer into a variable")
        else:
            self._of_a_reply(name)
        self._ends()

    def _ends(self) -> None:
        self.add_argument("--debug", action="store_true", help="show the whole traceback of an error")
        self.add_argument("--help", action="store_true", help="show this")

    def _of_memory(self, name: str) -> None:
        what = {"remember": "Keep a turn: the last one of %%chat or %%code, or the question and the reply that are given with a | between them.",
                "recall": "Find what was remembered, by words and by meaning."}[name]
        super().__init__(prog=f"%{name}", add_help=False, allow_abbrev=False, description=what)
        self.add_argument("text", nargs="*", help="question | reply, behind the options" if name == "remember" else "what to look for")
        self.add_argument("--project", default="", metavar="ID", help="whose memory (default: this folder's, else DEFAULT_PROJECT_ID)")
        self.add_argument("--tag", action="append", default=[], metavar="TAG", help="several times for several tags")
        if name == "remember":
            self.add_argument("--importance", type=int, metavar="N", help="1 to 10 (default: by rules)")
        else:
            self.add_argument("--how", default="hybrid", metavar="HOW", help="hybrid (the default), words or vector")
            self.add_argument("--limit", type=int, default=5, metavar="N", help="how many turns (default 5)")
        self.add_argument("--to", metavar="NAME", help=f"put the {'Remembered turn' if name == 'remember' else 'Recall'} into a variable")
        self._ends()

    def _of_a_reply(self, name: str) -> None:
        self.add_argument("--model", metavar="NAME", help="which model answers: an alias of the gateway, or auto (by your words"
                          + (")" if name == "code" else "; the default)"))
        self.add_argument("--system", default="", metavar="TEXT", help="a system message")
        self.add_argument("--temperature", type=float, metavar="T", help="0 always takes the likeliest word")
        self.add_argument("--max-tokens", type=int, metavar="N", help="the longest reply (default 256)")
        self.add_argument("--seed", type=int, metavar="N", help="the same seed gives the same reply")
        self.add_argument("--keep", action="store_true", help="go on with the conversation of the cell before")
        self.add_argument("--remember", action="store_true", help="give the model what is remembered about the question, and keep this turn")
        self.add_argument("--to", metavar="NAME", help="put the Reply into a variable")

    def of_line(self, line: str, verbatim: bool) -> argparse.Namespace:
        """The options of a line that is mostly text, as `text`: an apostrophe in it opens nothing. `verbatim`: options stand before the text."""
        options, text = [], line.strip()
        while verbatim and (found := _OPTION.match(text)):
            options += [found[1]] if found[2] is None else [found[1], found[2].strip("\"'")]
            text = text[found.end():]
        if not verbatim:
            try:
                return self._joined(shlex.split(text))
            except ValueError:
                return self._joined(text.split())
        args = self.parse_args(options)
        args.text = text
        return args

    def _joined(self, words: list[str]) -> argparse.Namespace:
        args = self.parse_args(words)
        args.text = " ".join(args.text)
        return args

    def error(self, message: str) -> NoReturn:
        """Raise instead of exiting."""
        raise BadRequest(f"{self.prog}: {message}; `{self.prog} --help` shows the options.")


class ChatCells:
    """The magics of one shell, and the conversation that `--keep` goes on with."""

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell
        self.conversation: Conversation | None = None

    def magic(self, name: str) -> Any:
        """The function that IPython calls for `%%name`."""
        def ask(line: str, cell: str = "") -> None:
            debug = "--debug" in line.split()
            try:
                self._ask(name, line, cell)
            except (SuiteError, KeyboardInterrupt) as error:
                if not debug:
                    said = [f"{type(error).__name__}: {str(error) or 'the reply was stopped.'}"]
                    # IPython asks an exception for its own traceback: one sentence here, while whoever executes the notebook still sees it fail
                    error._render_traceback_ = lambda: said  # type: ignore[union-attr]
                raise

        ask.__name__, ask.__doc__ = name, Options(name).format_help()
        return no_var_expand(ask) if name in LINES else ask  # a $ or a brace in a text to keep is meant

    def _ask(self, name: str, line: str, cell: str) -> None:
        parser = Options(name)
        if name in LINES:
            args = parser.of_line(line, verbatim=name == "remember")
        else:
            try:
                args = parser.parse_args(shlex.split(line))
            except ValueError as error:  # an open quotation mark
                parser.error(str(error).lower().removesuffix("."))
        if args.help:
            print(parser.format_help().rstrip())
            return
        if name not in LINES and not cell.strip():
            parser.error("the question is missing: write it under this line")
        if args.to and not args.to.isidentifier():
            parser.error(f"--to is {args.to!r}, which is no name of a variable")
        if name == "remember":
            self._remember(parser, args)
        elif name == "recall":
            self._recall(parser, args)
        elif name == "ask":
            self._ask_documents(args, cell)
        else:
            self._ask_a_model(name, args, cell)

    def _ask_documents(self, args: argparse.Namespace, cell: str) -> None:
        answer = self._bench().collection(args.collection).ask(cell.strip(), args.topk)
        display(answer)
        if args.to:
            self.shell.push({args.to: answer})

    def _remember(self, parser: Options, args: argparse.Namespace) -> None:
        said = args.text
        question, bar, reply = (part.strip() for part in said.partition("|"))
        last = self.conversation.last if self.conversation else None
        if said and not (bar and question and reply):
            parser.error("the reply is missing: write question | reply")
        if not said and (self.conversation is None or last is None or not self.conversation.turns):
            parser.error("there is no turn of %%chat to remember yet: ask one, or write question | reply")
        options = {"project": args.project, "tags": args.tag, "importance": args.importance}
        turn = self._bench().memory.remember(question, reply, **options) if said else self._bench().memory.remember(
            self.conversation.turns[-1].question, last, **options)  # type: ignore[union-attr]
        display(turn)
        if args.to:
            self.shell.push({args.to: turn})

    def _recall(self, parser: Options, args: argparse.Namespace) -> None:
        query = args.text
        if not query.strip():
            parser.error("what to look for is missing")
        found = self._bench().memory.recall(query, how=args.how, limit=args.limit, project=args.project, tags=args.tag)
        display(found)
        if args.to:
            self.shell.push({args.to: found})

    def _ask_a_model(self, name: str, args: argparse.Namespace, cell: str) -> None:
        bench = self._bench()
        model = args.model or (bench.status()["host"]["aliases"][1] if name == "code" else "auto")
        options = {key: getattr(args, key) for key in ("temperature", "max_tokens", "seed") if getattr(args, key) is not None}
        conversation = self._conversation(bench, model, args)
        view = CellView()
        with closing(conversation.say(cell.strip(), model=model, **options)) as pieces:
            try:
                for piece in pieces:
                    view.add(piece)
            except BaseException:
                if view.begun:
                    view.end("this reply is not whole")
                raise
        reply = conversation.last
        given = f"{len(reply.memories)} earlier turns given, this one remembered" if reply and reply.remembered else ""
        view.end(" · ".join(part for part in (describe(reply), given, conversation.note) if part))
        if args.to:
            self.shell.push({args.to: conversation.last})

    def _bench(self) -> Bench:
        """The notebook's own `bench`, or the stack that runs, or a new one."""
        own = self.shell.user_ns.get("bench")
        return own if isinstance(own, Bench) else start(attach=True)

    def _conversation(self, bench: Bench, model: str, args: argparse.Namespace) -> Conversation:
        before = self.conversation if args.keep else None
        contexts = [row["context"] for row in bench.models.rows if row["alias"] and row["context"] and model in ("auto", row["alias"])]
        chat = partial(bench.chat, remember=True) if args.remember else bench.chat
        made = Conversation(chat, args.system or (before.system if before else ""), min(contexts, default=0))
        made.turns = list(before.turns) if before else []
        self.conversation = made
        return made


class CellView:
    """The reply in the output of the cell: one display that is drawn anew as the text grows, and stays as static HTML with a plain twin."""

    def __init__(self) -> None:
        self._text, self._drawn, self._display = "", 0.0, None

    @property
    def begun(self) -> bool:
        """Whether anything is shown."""
        return self._display is not None

    def add(self, piece: str) -> None:
        """Show more text, at most twenty times a second."""
        self._text += piece
        now = time.monotonic()
        if now - self._drawn >= REDRAW_S + REDRAW_S_PER_CHARACTER * len(self._text):
            self._drawn = now
            self._draw("…")

    def end(self, note: str) -> None:
        """Show the whole text and what there is to say about it."""
        self._draw(note)

    def _draw(self, note: str) -> None:
        data = {"text/plain": f"{self._text}\n[{note}]" if self._text else f"[{note}]", "text/html": render.prose(self._text, note)}
        if self._display is None:
            self._display = display(data, raw=True, display_id=True)
        else:
            self._display.update(data, raw=True)
