"""Ask an address of this machine by GET, over a connection that is kept."""

from __future__ import annotations

from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit


class Asker:
    """One kept connection for each host and port. http.client, because a richer client costs more than the answer. Not safe for threads.

    `seconds` is how long connecting, and each wait for a piece of the answer, may take.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._kept: dict[str, HTTPConnection] = {}

    def get(self, url: str) -> tuple[int, str]:
        """Status and media type of an http URL, once its body was read. Raises OSError (among them TimeoutError) and http.client.HTTPException."""
        parts = urlsplit(url)
        kept = self._kept.pop(parts.netloc, None)
        if kept is not None:
            try:
                return self._asked(kept, parts.netloc, parts.path)
            except TimeoutError:
                raise
            except (HTTPException, OSError):
                pass  # whoever served it has closed it meanwhile, or was started anew: a fresh one tells
        return self._asked(HTTPConnection(parts.netloc, timeout=self._seconds), parts.netloc, parts.path)

    def close(self) -> None:
        """Close the connections."""
        for connection in self._kept.values():
            connection.close()
        self._kept.clear()

    def _asked(self, connection: HTTPConnection, netloc: str, path: str) -> tuple[int, str]:
        try:
            connection.request("GET", path or "/")
            response = connection.getresponse()
            response.read()
        except BaseException:
            connection.close()
            raise
        if response.will_close:
            connection.close()
        else:
            self._kept[netloc] = connection
        return response.status, response.headers.get("content-type", "")
