"""A real model server of the suite (8001's app over the bundled model) in a process of its own: prints its port, serves until it is killed."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from suite.http import model
from suite.http.problem import add_problems
from suite.http.serve import HttpServers, bind
from suite.serving.catalog import profile
from suite.serving.server import ModelServer
from suite.settings import load

folder = Path(sys.argv[1])
settings = load({"data_dir": str(folder / "data")}, environ={}, cwd=folder)
server = ModelServer("inference-chat", "chat", settings, folder / "models", folder / "cache", profile("smoke").chat)
server.load()
app = model.app(server)
add_problems(app)
sock, ports = bind("127.0.0.1", 0, "a model server"), HttpServers()
ports.start({"model": (sock, app)})
print(sock.getsockname()[1], flush=True)
threading.Event().wait()
