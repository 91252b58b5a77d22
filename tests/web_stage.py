"""What the tests of the web tools stand on: small sites on loopback, and whether there is a browser."""

from __future__ import annotations

import importlib.util
import shutil
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

Page = tuple[int, dict[str, str], bytes]
NO_BROWSER = "" if importlib.util.find_spec("playwright") and any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))) else (
    "no Chromium on PATH, or no Playwright: the web tools cannot be tried")


class Site:
    """An HTTP server with some pages; `seen` lists the paths that were asked for. A page that is None is never answered."""

    def __init__(self, pages: dict[str, str | Page | None]) -> None:
        self.pages, self.seen, self.gone = pages, [], threading.Event()  # type: ignore[var-annotated]
        site = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                site.seen.append(self.path)
                page = site.pages.get(path, (404, {}, b"none"))
                if page is None:
                    site.gone.wait(60)
                    return
                status, headers, body = page if isinstance(page, tuple) else (200, {}, page.encode())
                self.send_response(status)
                for name, value in {"Content-Type": "text/html; charset=utf-8", "Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  a browser that breaks off is no news
        self.port = self._server.server_port
        self.place, self.url = f"127.0.0.1:{self.port}", f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def encrypt(self, folder: Path) -> None:
        """Speak TLS from now on, with a certificate that the site signed itself."""
        key = ec.generate_private_key(ec.SECP256R1())
        name, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")]), datetime.now(UTC)
        made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - timedelta(1), now + timedelta(30))
        made = made.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (folder / "site.pem").write_bytes(secret + made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "site.pem")
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)

    def close(self) -> None:
        self.gone.set()
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()


@contextmanager
def site(pages: dict[str, str | Page | None]) -> Iterator[Site]:
    """A running site."""
    made = Site(pages)
    try:
        yield made
    finally:
        made.close()
