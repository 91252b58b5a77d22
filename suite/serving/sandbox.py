"""Renders chat templates, which come from whoever made a model file: in jinja2's sandbox, and within bounds of time, steps and characters."""

from __future__ import annotations

import contextvars
import datetime
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

MOST_STEPS, MOST_SECONDS, LONGEST_SOURCE = 500_000, 5.0, 1 << 17  # seconds of computing, whatever else the machine does
MOST_CHARACTERS, PER_CHARACTER = 16_000_000, 8  # what a rendering may write in all its parts: this, and more for long messages
# What a template may ask of a text; the rest of Python's methods can make a gigabyte out of a number.
_TEXT_METHODS = {
    "strip", "lstrip", "rstrip", "split", "rsplit", "splitlines", "startswith", "endswith", "upper", "lower", "title", "capitalize", "replace",
    "join", "find", "rfind", "index", "count", "isdigit", "isalpha", "isalnum", "isspace", "isupper", "islower", "removeprefix", "removesuffix",
    "partition", "rpartition", "format",
}
_NO_FILTERS = ("center", "wordwrap", "format", "xmlattr", "urlize", "random", "pprint", "filesizeformat", "sum", "batch", "slice")


class _Budget:
    """What one rendering may still use up; every method raises SecurityError beyond it."""

    def __init__(self, characters: int) -> None:
        self._steps, self._characters, self._until = MOST_STEPS, characters, time.thread_time() + MOST_SECONDS

    def step(self, count: int = 1) -> None:
        """Take steps."""
        self._steps -= count
        if self._steps < 0:
            raise SecurityError("it takes too many steps")
        if time.thread_time() > self._until:
            raise SecurityError("it takes too long")

    def write(self, count: int) -> None:
        """Make a text of so many characters."""
        self._characters -= count
        if self._characters < 0:
            raise SecurityError("it writes too much")
        self.step()

    def weigh(self, value: Any) -> None:
        """Pay for the text of a value before it is made: a list of lists of itself is small until it is written."""
        waiting = [value]
        while waiting:
            item = waiting.pop()
            self.write(len(item) if isinstance(item, (str, bytes)) else item.bit_length() // 3 if isinstance(item, int) else 8)
            if isinstance(item, dict):
                waiting += [*item.keys(), *item.values()]
            elif isinstance(item, (list, tuple, set)):
                waiting += item


_budget: contextvars.ContextVar[_Budget] = contextvars.ContextVar("budget")


class Rendering:
    """One template. Raises jinja2.TemplateError, or another error of Python's compiler, when the source cannot be used."""

    def __init__(self, source: str, names: dict[str, Any]) -> None:
        if len(source) > LONGEST_SOURCE:
            raise jinja2.TemplateError(f"it has {len(source):,} characters")
        environment = _Environment()
        tree = environment.parse(source)
        for node in tree.find_all((nodes.For, nodes.Output, nodes.Compare)):
            _bounded(node)
        _concatenations(tree)
        code = environment.compile(tree)
        self._template = environment.template_class.from_code(environment, code, environment.make_globals(names), None)

    def text(self, size: int, **names: Any) -> str:
        """What it writes for these names, whose texts have `size` characters together."""
        token = _budget.set(_Budget(MOST_CHARACTERS + PER_CHARACTER * size))
        try:
            return "".join(self._template.generate(**names))
        finally:
            _budget.reset(token)


class _Generation(Extension):
    """The tag pair `generation`, by which templates mark the assistant's words for training; here it does nothing."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The words between the tags."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self) -> None:
        # without the optimizer: it would run filters on constants while it compiles, before there is a budget
        super().__init__(trim_blocks=True, lstrip_blocks=True, optimized=False, extensions=[loopcontrols, _Generation], finalize=_written)
        self.globals = {name: self.globals[name] for name in ("range", "dict", "namespace")}
        self.globals |= {"raise_exception": _refuse, "strftime_now": lambda form: datetime.datetime.now().strftime(form)}
        for name in _NO_FILTERS:
            del self.filters[name]
        self.filters |= {"tojson": _tojson, "replace": _replaced, "join": _joined, "indent": _indented, "string": _string,
                         "suite_counted": _counted, "suite_joined": _joined, "suite_compared": _compared}

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Every call in a template comes through here; the odd names are jinja2's, since a template's arguments may be called self."""
        budget = _budget.get()
        budget.step()
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        if isinstance(owner, str) and name == "replace":
            _fits_replaced(owner, *args[:2])
        if isinstance(owner, str) and name == "join" and args:
            return _joined(args[0], owner)
        if isinstance(owner, str) and name in ("split", "rsplit", "splitlines"):
            budget.step(len(owner) // 100)
        result = super().call(__context, __obj, *args, **kwargs)
        budget.write(len(result) if isinstance(result, (str, list)) else 0)
        return result

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Sums and products, whose results can be long."""
        budget = _budget.get()
        if operator == "+":
            budget.write(sum(len(side) for side in (left, right) if isinstance(side, (str, list, tuple))))
        elif operator == "*":
            for many, one in ((left, right), (right, left)):
                if isinstance(many, int) and isinstance(one, (str, list, tuple)):
                    budget.write(max(0, many) * len(one))
            _small(left, right)
        elif operator == "**":
            _small(left, right)
            if isinstance(right, int) and right > 64:
                raise SecurityError("it computes a power that is too high")
        elif isinstance(left, str):
            _plain_format(left)
            budget.weigh(right)
        return super().call_binop(context, operator, left, right)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Whether a template may have this attribute."""
        if isinstance(obj, str):
            return attr in _TEXT_METHODS
        return not isinstance(obj, (int, float, bytes)) and super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """str.format in the sandbox, for plain fields only."""
        made = super().wrap_str_format(value)
        if made is None:
            return None
        source = value.__self__

        def formatted(*args: Any, **kwargs: Any) -> str:
            _plain_format(source)
            _budget.get().weigh([args, kwargs])
            _budget.get().write(len(source))
            return made(*args, **kwargs)

        return formatted


def _bounded(node: nodes.Node) -> None:
    """Count a loop's rounds and what is compared; let literal text pass through `_written` like any other."""
    if isinstance(node, nodes.For):
        if node.recursive:
            raise jinja2.TemplateError("it has a recursive loop")
        node.iter = nodes.Filter(node.iter, "suite_counted", [], [], None, None, lineno=node.lineno)
    elif isinstance(node, nodes.Output):
        node.nodes = [nodes.Const(child.data, lineno=child.lineno) if isinstance(child, nodes.TemplateData) else child for child in node.nodes]
    elif isinstance(node, nodes.Compare):
        node.expr = nodes.Filter(node.expr, "suite_compared", [], [], None, None, lineno=node.lineno)


def _concatenations(node: nodes.Node) -> None:
    """Write `a ~ b` as a filter, which knows the budget."""
    for name, value in node.iter_fields():
        many = value if isinstance(value, list) else [value]
        for at, child in enumerate(many):
            if isinstance(child, nodes.Node):
                _concatenations(child)
            if isinstance(child, nodes.Concat):
                many[at] = nodes.Filter(nodes.List(child.nodes, lineno=child.lineno), "suite_joined", [], [], None, None, lineno=child.lineno)
        if not isinstance(value, list):
            setattr(node, name, many[0])


@jinja2.pass_eval_context
def _written(_context: Any, value: Any) -> Any:
    """Everything that a template writes, wherever to."""
    _budget.get().weigh(value)
    return value


def _counted(items: Any) -> Any:
    budget = _budget.get()
    if hasattr(items, "__len__"):
        budget.step(len(items) + 1)
        return items
    return _stepping(items, budget)


def _compared(value: Any) -> Any:
    waiting = [value] if isinstance(value, (list, tuple, dict)) else []
    while waiting:
        item = waiting.pop()
        _budget.get().step()
        waiting += item.values() if isinstance(item, dict) else item if isinstance(item, (list, tuple)) else ()
    return value


def _stepping(items: Iterable[Any], budget: _Budget) -> Iterator[Any]:
    for item in items:
        budget.step()
        yield item


def _refuse(message: str = "no reason given") -> None:
    raise jinja2.TemplateError(str(message)[:500])


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False) -> str:
    """JSON as it is, without HTML's escapes."""
    _budget.get().weigh(value)
    if indent is not None and (not isinstance(indent, int) or indent > 16):
        raise SecurityError("it indents too far")
    text = json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    _budget.get().write(len(text))
    return text


def _replaced(text: Any, old: str, new: str, count: int = -1) -> str:
    said = _string(text)
    _fits_replaced(said, old, new)
    return said.replace(str(old), str(new), -1 if count is None else count)


def _fits_replaced(text: str, old: Any = "", new: Any = "") -> None:
    times = text.count(str(old)) if str(new) else 0
    _budget.get().write(len(text) + times * len(str(new)))


def _joined(items: Any, between: Any = "", attribute: str | None = None) -> str:
    said = []
    for item in items:
        if attribute is not None:
            item = item.get(attribute, "") if isinstance(item, dict) else ""
        _budget.get().write(len(str(between)))
        said.append(_string(item))
    return str(between).join(said)


def _indented(text: Any, width: Any = 4, first: bool = False, blank: bool = False) -> str:
    space = width if isinstance(width, str) else " " * min(int(width), 100)
    said = _string(text)
    _budget.get().write(len(said) + (said.count("\n") + 1) * len(space))
    lines = said.splitlines() or [""]
    rest = [space + line if line or blank else line for line in lines[1:]]
    return "\n".join([space + lines[0] if first else lines[0], *rest])


def _string(value: Any) -> str:
    _budget.get().weigh(value)
    return str(value)


def _small(*numbers: Any) -> None:
    if all(isinstance(number, int) for number in numbers) and sum(number.bit_length() for number in numbers) > 1024:
        raise SecurityError("it computes with numbers that are too large")


def _plain_format(text: str) -> None:
    if re.search(r"[0-9]{4}|%[^a-zA-Z%]*\*|:[^}]*\{", text):
        raise SecurityError("it formats too wide")
