"""Tools that look at web pages: a picture, some text, how a page is made, and a few steps on it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypedDict

from suite.errors import BadRequest, ToolFailed
from suite.tools.builtin.address import Addresses
from suite.tools.builtin.browser import Visit, WebOptions, visit
from suite.tools.tool import Tool, Watch, tool_of

ITEMS_LIMIT = 1000  # elements of one scrape
DATA_LIMIT = 1_000_000  # bytes of one scrape
PICTURE_LIMIT = 8_000_000  # bytes of one screenshot
ACTIONS_LIMIT, PICTURES_LIMIT = 50, 5  # of one web_automate
PATIENCE = 2.0  # seconds that a scrape waits for a page which makes its elements by script
_URL = {"description": "An http or https URL of the public web.", "minLength": 1, "maxLength": 4096}
_SELECTOR = {"description": "A CSS selector.", "minLength": 1, "maxLength": 1000}
_WIDTH = {"description": "Pixels.", "minimum": 320, "maximum": 3840}
_HEIGHT = {"description": "Pixels.", "minimum": 240, "maximum": 2160}
_ATTRIBUTE = {"description": "textContent, innerHTML, href, src, or the name of any attribute.", "minLength": 1, "maxLength": 100}
_READ = """(elements, [attribute, most, room]) => elements.slice(0, most).map(element => {
  const property = ["textContent", "innerHTML", "href", "src"].includes(attribute) ? element[attribute] : null;
  const text = typeof property === "string" ? property : element.getAttribute(attribute);
  return text === null ? null : text.slice(0, room);
})"""
_ANALYSE = """() => {
  const often = (values, most) => {
    const counts = new Map();
    for (const value of values) counts.set(value, (counts.get(value) || 0) + 1);
    return [...counts].sort((a, b) => b[1] - a[1]).slice(0, most).map(([value]) => value.slice(0, 200));
  };
  const styles = [...document.querySelectorAll("body, body *")].slice(0, 100).map(element => getComputedStyle(element));
  const body = getComputedStyle(document.body || document.documentElement);
  const count = selector => document.querySelectorAll(selector).length;
  return {
    body: {color: body.color, background: body.backgroundColor, font: body.fontFamily.slice(0, 200), size: body.fontSize},
    layout: {header: count("header"), nav: count("nav"), main: count("main"), section: count("section"), article: count("article"),
             aside: count("aside"), footer: count("footer"), headings: count("h1, h2, h3, h4, h5, h6"), links: count("a[href]"),
             buttons: count("button"), forms: count("form"), inputs: count("input, textarea, select"),
             images: count("img, svg, picture"), tables: count("table")},
    colors: often(styles.flatMap(style => [style.color, style.backgroundColor]).filter(color => color !== "rgba(0, 0, 0, 0)"), 10),
    fonts: often(styles.slice(0, 50).map(style => style.fontFamily), 5),
  };
}"""


class Screenshot(TypedDict):
    """A picture of what the window shows: `image` is a PNG in base64 of `size` bytes; `url` is where the page ended up, `status` its HTTP status."""

    url: str
    title: str
    status: int
    image: str
    size: int
    width: int
    height: int


class Scraped(TypedDict):
    """The texts of `count` matching elements (null where one has no such attribute); `cut` when not all are in `data`."""

    url: str
    selector: str
    status: int
    data: list[str | None]
    count: int
    cut: bool


class BodyStyle(TypedDict):
    """The computed style of the body."""

    color: str
    background: str
    font: str
    size: str


class Analysis(TypedDict):
    """How a page is made: counts of its parts, its most frequent colours (at most 10) and fonts (at most 5)."""

    url: str
    title: str
    status: int
    body: BodyStyle
    layout: dict[str, int]
    colors: list[str]
    fonts: list[str]


class _Step(TypedDict):
    type: Literal["click", "fill", "wait", "screenshot"]


class Action(_Step, total=False):
    """One step: `click` and `fill` need a selector, `fill` a value, `wait` waits for a selector or for some seconds."""

    selector: Annotated[str, _SELECTOR]
    value: Annotated[str, {"maxLength": 10_000}]
    seconds: Annotated[float, {"minimum": 0, "maximum": 30}]


class Picture(TypedDict):
    """What the window showed at step `step` (from 0): a PNG in base64."""

    step: int
    image: str
    size: int


class Automated(TypedDict):
    """Where the steps ended: `done` of them were made."""

    url: str
    title: str
    status: int
    done: int
    screenshots: list[Picture]


class Web:
    """The web tools under one set of options."""

    def __init__(self, options: WebOptions) -> None:
        Addresses(options.allowed)  # an entry that is no place is told at the start
        self._options = options

    def screenshot(self, url: Annotated[str, _URL], watch: Watch, width: Annotated[int, _WIDTH] = 1280,
                   height: Annotated[int, _HEIGHT] = 720) -> Screenshot:
        """Take a picture of a web page as a window of the given size shows it."""
        def look(seen: Visit) -> Screenshot:
            image = _picture(seen)
            return {**seen.facts(), "image": b64encode(image).decode("ascii"), "size": len(image), "width": width, "height": height}

        return visit("web_screenshot", self._options, watch, url, look, width, height)

    def scrape(self, url: Annotated[str, _URL], selector: Annotated[str, _SELECTOR], watch: Watch,
               attribute: Annotated[str, _ATTRIBUTE] = "textContent") -> Scraped:
        """Read the text, or an attribute, of the elements of a web page that match a selector (at most 1000, 1 MB)."""
        return self.scrape_all("web_scrape", url, {selector: ITEMS_LIMIT}, watch, attribute)[0]

    def scrape_all(self, tool: str, url: str, selectors: dict[str, int], watch: Watch, attribute: str = "textContent") -> list[Scraped]:
        """The same for several selectors of one page, each with the most elements that are wanted."""
        def look(seen: Visit) -> list[Scraped]:
            return [_scraped(seen, selector, attribute, most) for selector, most in selectors.items()]

        return visit(tool, self._options, watch, url, look)

    def analyze_ui(self, url: Annotated[str, _URL], watch: Watch) -> Analysis:
        """Tell how a web page is made: its parts, colours and fonts."""
        def look(seen: Visit) -> Analysis:
            found = _answer(seen.page.evaluate(_ANALYSE))
            seen.check()
            return {**seen.facts(), "body": found["body"], "layout": found["layout"], "colors": found["colors"], "fonts": found["fonts"]}

        return visit("web_analyze_ui", self._options, watch, url, look)

    def automate(self, url: Annotated[str, _URL], actions: Annotated[list[Action], {"description": "At most 50 steps, 5 of them screenshots."}],
                 watch: Watch) -> Automated:
        """Open a web page and click, fill in, wait and take pictures, step by step."""
        _refuse_unready(actions)

        def look(seen: Visit) -> Automated:
            pictures: list[Picture] = []
            for number, action in enumerate(actions):
                if action["type"] == "screenshot":
                    image = _picture(seen)
                    pictures.append({"step": number, "image": b64encode(image).decode("ascii"), "size": len(image)})
                else:
                    _STEPS[action["type"]](seen, action)
                    seen.page.wait_for_load_state("load", timeout=seen.left())
                seen.check()
            return {**seen.facts(), "done": len(actions), "screenshots": pictures}

        return visit("web_automate", self._options, watch, url, look)


def _picture(seen: Visit) -> bytes:
    image = seen.page.screenshot(type="png", animations="disabled", timeout=seen.left())
    if len(image) > PICTURE_LIMIT:
        raise ToolFailed(f"The picture has {len(image)} bytes, more than {PICTURE_LIMIT}; ask for a smaller window.", tool="web_screenshot")
    seen.check()
    return image


def _scraped(seen: Visit, selector: str, attribute: str, most: int) -> Scraped:
    seen.appears(selector, PATIENCE)  # there being none is an answer too
    found = seen.page.locator(selector)
    given = found.evaluate_all(_READ, [attribute, most, DATA_LIMIT])
    count = found.count()
    seen.check()
    data, room = [], DATA_LIMIT
    for text in given if isinstance(given, list) else []:  # what the page's own scripts left of our question
        text = None if text is None else str(text)
        room -= len((text or "").encode("utf-8", "replace"))
        if room < 0 or len(data) == most:
            break
        data.append(None if text is None else text.encode("utf-8", "replace").decode("utf-8"))
    facts = seen.facts()
    return {"url": facts["url"], "selector": selector, "status": facts["status"], "data": data, "count": count, "cut": len(data) < count}


def _answer(value: Any) -> dict[str, Any]:
    """What our question gave, unless the page's own scripts made something else of it."""
    kinds = {"body": dict, "layout": dict, "colors": list, "fonts": list}
    if not isinstance(value, dict) or any(not isinstance(value.get(word), kind) for word, kind in kinds.items()) or len(str(value)) > DATA_LIMIT:
        raise ToolFailed("The page's scripts do not let it be looked at; take a screenshot instead.", tool="web_analyze_ui")
    return value


def _refuse_unready(actions: list[Action]) -> None:
    """Raise BadRequest before a browser starts for a step that lacks something."""
    if not 1 <= len(actions) <= ACTIONS_LIMIT:
        raise BadRequest(f"web_automate takes 1 to {ACTIONS_LIMIT} actions, not {len(actions)}; split them.", param="actions")
    if sum(action["type"] == "screenshot" for action in actions) > PICTURES_LIMIT:
        raise BadRequest(f"web_automate takes at most {PICTURES_LIMIT} screenshots; leave some out.", param="actions")
    for number, action in enumerate(actions):
        if action["type"] not in _NEEDS:
            raise BadRequest(f"Action {number} has the unknown type {action['type']!r}; known are {', '.join(_NEEDS)}.", param="actions")
        for need in _NEEDS[action["type"]]:
            if need not in action:
                raise BadRequest(f"Action {number} ({action['type']}) needs {need!r}; add it.", param="actions")
        if action["type"] == "wait" and not {"selector", "seconds"} & action.keys():
            raise BadRequest(f"Action {number} (wait) needs 'seconds' or 'selector'; add one.", param="actions")


def _click(seen: Visit, action: Action) -> None:
    seen.page.locator(action["selector"]).first.click(timeout=seen.left(10.0))


def _fill(seen: Visit, action: Action) -> None:
    seen.page.locator(action["selector"]).first.fill(action["value"], timeout=seen.left(10.0))


def _pause(seen: Visit, action: Action) -> None:
    if "selector" in action:
        seen.page.locator(action["selector"]).first.wait_for(timeout=seen.left(action.get("seconds", 10.0)))
    else:
        seen.page.wait_for_timeout(seen.left(action["seconds"]))


_NEEDS: dict[str, tuple[str, ...]] = {"click": ("selector",), "fill": ("selector", "value"), "wait": (), "screenshot": ()}
_STEPS: dict[str, Callable[[Visit, Action], None]] = {"click": _click, "fill": _fill, "wait": _pause}


def web_tools(options: WebOptions) -> tuple[Tool, ...]:
    """The web tools."""
    web = Web(options)
    return (tool_of(web.screenshot, name="web_screenshot"), tool_of(web.scrape, name="web_scrape"), tool_of(web.analyze_ui, name="web_analyze_ui"),
            tool_of(web.automate, name="web_automate"))
