"""`suite models`: which models there are, and fetching the bundled embedder by hand."""

from __future__ import annotations

import argparse
import json

from suite import render
from suite.errors import NotFound
from suite.settings import load


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the group."""
    group = commands.add_parser("models", help="list the catalogue, pull weights").add_subparsers(dest="verb", required=True, metavar="verb")
    listing = group.add_parser("list", help="the models of the catalogue")
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(run=run_list)
    pull = group.add_parser("pull", help="fetch weights into MODELS_DIR")
    pull.add_argument("name", help="minilm: the bundled embedding model")
    pull.set_defaults(run=run_pull)


def run_list(args: argparse.Namespace) -> int:
    """Print the catalogue."""
    from suite.serving.catalog import catalog

    rows = [{"name": model.name, "role": model.role, "file": model.file, "bytes": model.bytes, "licence": model.licence,
             "verified": bool(model.sha256)} for model in catalog().values()]
    print(json.dumps({"rows": rows}, ensure_ascii=False) if args.json
          else render.text_table(["name", "role", "file", "bytes", "licence", "verified"], [list(row.values()) for row in rows]))
    return 0


def run_pull(args: argparse.Namespace) -> int:
    """Fetch, verify and convert the embedder."""
    from suite.embedding.embed import Embedder

    settings = load()
    if args.name != "minilm":
        raise NotFound(f"There is no model {args.name!r} to pull; `minilm` is the one this version fetches. Put GGUF files into "
                       f"{settings.models_dir} yourself.")
    Embedder(settings, settings.models_dir, settings.data_dir / "cache").fetch()
    print(f"suite: minilm is in {settings.models_dir}.")
    return 0
