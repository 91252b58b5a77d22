"""From token bytes to pieces of text that may be shown: whole characters only, nothing after a stop text."""

from __future__ import annotations

import codecs


class Pieces:
    """Takes the bytes of one token after another and gives text; `stopped` says that a stop text came up (it is not part of the text).

    A character whose bytes are spread over tokens comes out once it is whole. Text that may yet grow into a stop text is held back.
    With `strip`, white space before the first word is dropped: a SentencePiece vocabulary begins every word with a space.
    """

    def __init__(self, stops: tuple[str, ...] = (), strip: bool = True) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stops, self._held, self._said = stops, "", not strip
        self.stopped = False

    def feed(self, raw: bytes) -> str:
        """The text that can be shown now, possibly none."""
        return self._give(self._decoder.decode(raw), final=False)

    def end(self) -> str:
        """What was held back; the bytes of an unfinished character are dropped, since it was cut off by the limit of tokens."""
        return self._give("", final=True)

    def _give(self, text: str, final: bool) -> str:
        if self.stopped:
            return ""
        self._held += text
        if not self._said:
            self._held = self._held.lstrip()
        found = [at for at in (self._held.find(stop) for stop in self._stops) if at >= 0]
        if found:
            self.stopped = True
            shown, self._held = self._held[: min(found)], ""
        else:
            cut = len(self._held) - (0 if final else self._growing())
            shown, self._held = self._held[:cut], self._held[cut:]
        self._said = self._said or bool(shown)
        return shown

    def _growing(self) -> int:
        """Length of the longest end of the held text that is the beginning of a stop text."""
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-length:]) for stop in self._stops):
                return length
        return 0
