"""What an alert says: a rule's sentence with the labels and the value of the moment filled in, the same here and in Prometheus' templates."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

_FIELD = re.compile(r"\{([a-z_]+)\}")
_SCALED = {"ratio": "humanizePercentage", "seconds": "humanizeDuration", "bytes": "humanize1024"}


def fields(sentence: str) -> list[str]:
    """The names in braces: labels, and `value`."""
    return _FIELD.findall(sentence)


def without_fields(sentence: str) -> str:
    """What the sentence says beside them."""
    return _FIELD.sub("", sentence)


def template(sentence: str, unit: str) -> str:
    """The sentence as a template of Prometheus' language."""
    scaled = _SCALED.get(unit, 'printf "%.4g"')
    return _FIELD.sub(lambda found: f"{{{{ $value | {scaled} }}}}" if found[1] == "value" else f"{{{{ $labels.{found[1]} }}}}", sentence)


def fill(sentence: str, unit: str, labels: Mapping[str, str], value: float) -> str:
    """The sentence for one alert; a label that it has not is left empty."""
    return _FIELD.sub(lambda found: _words(value, unit) if found[1] == "value" else labels.get(found[1], ""), sentence)


def _words(value: float, unit: str) -> str:
    if not math.isfinite(value):
        return {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}[str(value)] + ("%" if unit == "ratio" else "")
    if unit == "ratio":
        return f"{value * 100:.4g}%"
    if unit == "seconds":
        return _duration(value)
    if unit == "bytes":
        return _binary(value)
    return f"{value:.4g}"


def _binary(value: float) -> str:
    if abs(value) <= 1:
        return f"{value:.4g}"
    prefix = ""
    for larger in ("ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"):
        if abs(value) < 1024:
            break
        prefix, value = larger, value / 1024
    return f"{value:.4g}{prefix}"


def _duration(value: float) -> str:
    if value == 0:
        return f"{value:.4g}s"
    if abs(value) < 1:
        prefix = ""
        for smaller in ("m", "u", "n", "p", "f", "a", "z", "y"):
            if abs(value) >= 1:
                break
            prefix, value = smaller, value * 1000
        return f"{value:.4g}{prefix}s"
    sign, whole = ("-" if value < 0 else ""), int(abs(value))
    days, hours, minutes, seconds = whole // 86_400, whole // 3600 % 24, whole // 60 % 60, whole % 60
    if days:
        return f"{sign}{days}d {hours}h {minutes}m {seconds}s"
    if hours:
        return f"{sign}{hours}h {minutes}m {seconds}s"
    if minutes:
        return f"{sign}{minutes}m {seconds}s"
    return f"{sign}{abs(value):.4g}s"
