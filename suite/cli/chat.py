"""`suite chat`: one question, or a conversation, with the stack that runs, or with one that is started for as long as it takes."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.cli.terminal import dim, own_process, say_looking, write
from suite.errors import BadRequest, HostGone, SuiteError, UpstreamError

if TYPE_CHECKING:
    from suite.bench import Bench
    from suite.gateway.conversation import Conversation

HISTORY = "chat_history"
MOST_LINES = 1000
PROMPT = "you> "
HELP = """/model NAME  ask another model (without a name: which there are)
/clear       forget the conversation
/help        these lines
/exit        end (as Ctrl-D does); Ctrl-C stops a reply that is being written"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    chat = commands.add_parser("chat", help="ask a model, or talk with it", description=(
        "Ask one question (as arguments, or from a pipe), or hold a conversation when none is given. Uses the stack that runs on the data "
        "directory; when none runs, one is started and stopped again at the end."))
    chat.add_argument("question", nargs="*", help="the question; without one, standard input or a conversation")
    who = chat.add_mutually_exclusive_group()
    who.add_argument("--model", default="auto", metavar="NAME", help="which model answers: an alias of the gateway (default auto: by your words)")
    who.add_argument("--code", action="store_true", help="ask the code model")
    chat.add_argument("--system", default="", metavar="TEXT", help="a system message")
    chat.add_argument("--temperature", type=float, metavar="T", help="0 always takes the likeliest word")
    chat.add_argument("--max-tokens", type=int, metavar="N", help="the longest reply (default 256)")
    chat.add_argument("--seed", type=int, metavar="N", help="the same seed gives the same reply")
    chat.add_argument("--json", action="store_true", help="print the whole reply as one JSON object (one question only)")
    chat.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Answer; 0 when the reply came whole, 1 when it broke off."""
    from suite.serving.request import Request

    options = {name: getattr(args, name) for name in ("temperature", "max_tokens", "seed") if getattr(args, name) is not None}
    question = _question(args)
    if question is None and args.json:
        raise BadRequest("--json goes with one question; write it behind the options, or pipe it in.")
    Request.of("?" if question is None else question, model=args.model, **options)  # what cannot be asked is said before a stack is started
    with own_process(), contextlib.ExitStack() as opened:
        session = Session(options)
        opened.callback(session.close)
        session.open(args)
        if question is None:
            return session.converse()
        return session.answer(question, as_json=args.json)


def _question(args: argparse.Namespace) -> str | None:
    """The question of the arguments, or of a pipe; None asks for a conversation."""
    question = " ".join(args.question)
    if not args.question:
        if sys.stdin is None or sys.stdin.isatty():
            return None
        question = sys.stdin.buffer.read().decode("utf-8", "replace")
    if not question.strip():
        raise BadRequest('The question is empty; write one: suite chat "What is a GGUF file?", or run `suite chat` in a terminal.')
    return question.strip()


class Session:
    """A conversation at the terminal. `options` are those of Request that every question is asked with."""

    conversation: Conversation

    def __init__(self, options: dict[str, Any]) -> None:
        self.options, self.model = options, "auto"
        self._bench: Bench | None = None

    def open(self, args: argparse.Namespace) -> None:
        """Join the running stack or start one."""
        from suite.gateway.conversation import Conversation

        bench = self._joined()
        self.model = bench.status()["host"]["aliases"][1] if args.code else args.model
        self.conversation = Conversation(lambda messages, **options: self._joined().chat(messages, **options), args.system, self._context())

    def close(self) -> None:
        """Let go of the stack; it ends when this process hosts it."""
        if self._bench is not None:
            self._bench.stop()

    def answer(self, question: str, as_json: bool) -> int:
        """Answer one question; a reply that breaks off after it has begun is said, with status 1."""
        begun = False
        try:
            with contextlib.closing(self.conversation.say(question, model=self.model, **self.options)) as pieces:
                for piece in pieces:
                    begun = True
                    if not as_json:
                        write(piece)
        except KeyboardInterrupt:
            write("\n" * (begun and not as_json))
            raise
        except (UpstreamError, HostGone) as error:
            if not begun:
                raise
            write("\n" * (not as_json))
            print(f"suite: {error}", file=sys.stderr)
            return 1
        reply = self.conversation.last
        write(json.dumps(reply.to_dict(), ensure_ascii=False) + "\n" if as_json else "\n")
        self._say_facts()
        return 0

    def converse(self) -> int:
        """Question by question until Ctrl-D or /exit; what goes wrong is said, and the conversation goes on."""
        with _line_editing(self._bench.settings.data_dir):
            print(dim("/help lists the commands, Ctrl-D ends."), file=sys.stderr)
            while True:
                try:
                    line = input(PROMPT)
                    if line.startswith("/"):
                        if not self._command(line.split()):
                            return 0
                    elif line.strip():
                        self._turn(line.strip())
                except EOFError:
                    print()
                    return 0
                except KeyboardInterrupt:
                    print()
                except SuiteError as error:
                    print(f"suite: {error}", file=sys.stderr)
                except UnicodeDecodeError:
                    print("suite: That line is not UTF-8 text; write it again.", file=sys.stderr)

    def _turn(self, question: str) -> None:
        shown = False
        try:  # closing: the generation ends, also when the interrupt comes while a piece is being printed
            with contextlib.closing(self.conversation.say(question, model=self.model, **self.options)) as pieces:
                for piece in pieces:
                    if not shown and self.conversation.note:
                        print(dim(self.conversation.note), file=sys.stderr)
                    shown = True
                    write(piece)
        except KeyboardInterrupt:
            pass
        except SuiteError:
            write("\n" * shown)
            raise
        write("\n")
        self._say_facts()

    def _command(self, words: list[str]) -> bool:
        """Do what a line that begins with a slash asks; False ends the conversation."""
        name, rest = words[0], words[1:]
        if name in ("/exit", "/quit"):
            return False
        if name == "/clear":
            self.conversation.clear()
            print(dim("The conversation is forgotten."), file=sys.stderr)
        elif name == "/model":
            self._switch(rest)
        elif name == "/help":
            print(HELP, file=sys.stderr)
        else:
            raise BadRequest(f"There is no command {name!r}; /help lists them (a blank before the slash sends the line as a question).")
        return True

    def _switch(self, wanted: list[str]) -> None:
        rows = [row for row in self._joined().models.rows if row["alias"]]
        known = [*(row["alias"] for row in rows), "auto"]
        if wanted and wanted[0] not in known:
            raise BadRequest(f"No model is called {wanted[0]!r} here; choose one of: {', '.join(known)}.")
        if wanted:
            self.model = wanted[0]
            self.conversation.context = self._context()
            print(dim(f"Asking {self.model} from now on."), file=sys.stderr)
            return
        for row in rows:
            print(f"{'*' if row['alias'] == self.model else ' '} {row['alias']}: {row['model'] or row['state']}", file=sys.stderr)
        print(f"{'*' if self.model == 'auto' else ' '} auto: chosen by your words", file=sys.stderr)

    def _joined(self) -> Bench:
        """The bench; a new one where its host has ended since the last question."""
        from suite.bench import start

        if self._bench is None:
            say_looking()
        self._bench = start(attach=True)  # whatever runs is what is wanted; the line behind each reply names its model
        return self._bench

    def _context(self) -> int:
        rows = [row for row in self._joined().models.rows if row["alias"] and (self.model == "auto" or row["alias"] == self.model)]
        return min((row["context"] for row in rows if row["context"]), default=0)

    def _say_facts(self) -> None:
        from suite.gateway.conversation import describe

        if self.conversation.last is not None and sys.stderr.isatty():
            print(dim(describe(self.conversation.last)), file=sys.stderr)


@contextmanager
def _line_editing(data_dir: Path) -> Iterator[None]:
    """Arrow keys and a history of the questions, for the owner only; without a history where none can be kept."""
    try:
        import readline
    except ImportError:  # a Python that was built without it
        yield
        return
    file = data_dir / HISTORY
    with contextlib.suppress(OSError):
        os.close(os.open(file, os.O_CREAT | os.O_RDONLY | os.O_NOFOLLOW, 0o600))
        file.chmod(0o600)
        readline.clear_history()
        readline.read_history_file(file)
    readline.set_history_length(MOST_LINES)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            readline.write_history_file(file)
