"""`suite report`: the archive of sealed releases: list, verify, seal, prune and open them, and show the key that signs them."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import webbrowser
from pathlib import Path
from typing import Any

from suite import render
from suite.cli.signing import add_key_options, key_of
from suite.cli.terminal import when
from suite.errors import BadRequest

READING = ("suite.cli.report_reading",)  # modules that add further verbs: each has `add(verbs)`, which is given the sub-parsers
START_PAGE = "report.html"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the group."""
    verbs = commands.add_parser("report", help="list, verify, seal, prune and open sealed releases", description=__doc__).add_subparsers(
        dest="verb", required=True, metavar="verb")
    listing = verbs.add_parser("list", help="every sealed release, the oldest first")
    checked = verbs.add_parser("verify", help="whether a sealed release, or the whole archive, is as it was sealed; 0 when it is, 1 on any doubt")
    checked.add_argument("path", nargs="?", default="", metavar="PATH", help="a release's folder or name, or an archive; by default the archive")
    checked.add_argument("--key", type=Path, metavar="PUB", help="the public key whose signature is demanded; by default the one in the report")
    checked.add_argument("--head", default="", metavar="HEX", help="the ledger's head as it was kept elsewhere: finds a removed last release")
    checked.add_argument("--all", action="store_true", help="of an archive verify every release in full, too")
    afterwards = verbs.add_parser("seal", help="archive and seal an executed runbook that plain papermill wrote; marked as sealed afterwards")
    afterwards.add_argument("notebook", type=Path, metavar="OUT.ipynb")
    afterwards.add_argument("--release", default="", metavar="NAME", help="its name in the archive (default: the file's)")
    afterwards.add_argument("--stage", default="dev", choices=("dev", "staging", "prod"))
    pruning = verbs.add_parser("prune", help="remove notebooks and evidence of old releases; ledger, attestations and results stay")
    pruning.add_argument("--keep", type=int, default=30, metavar="N", help="how many of the newest stay whole (default 30)")
    pruning.add_argument("--yes", action="store_true", help="do it; without it only what would be pruned is said")
    opening = verbs.add_parser("open", help="open a release's report in the browser")
    opening.add_argument("release", nargs="?", default="", metavar="RELEASE", help="its folder or name; by default the newest")
    opening.add_argument("--print", action="store_true", help="only print where the report lies")
    key = verbs.add_parser("key", help="the public half of the key that reports are signed with; the key is made at first use")
    key.add_argument("--out", type=Path, metavar="FILE", help="write it there, to verify with it on another machine")
    runs = ((listing, run_list), (checked, run_verify), (afterwards, run_seal), (pruning, run_prune), (opening, run_open), (key, run_key))
    for parser, run in runs:
        if parser is not key:
            parser.add_argument("--reports", type=Path, metavar="DIR", help="another archive than the settings' REPORTS_DIR")
        if parser in (afterwards, pruning, key):
            add_key_options(parser)
        parser.add_argument("--json", action="store_true")
        parser.set_defaults(run=run)
    for name in READING:
        importlib.import_module(name).add(verbs)


def run_list(args: argparse.Namespace) -> int:
    """Every sealed release, and what was broken off."""
    from suite.runbooks import archive

    reports = archive_of(args)
    found, half = archive.releases(reports), archive.unfinished(reports)
    if args.json:
        print(json.dumps({"rows": [row.to_dict() for row in found], "unfinished": [str(path) for path in half]}, ensure_ascii=False))
        return 0
    rows = [[row.n, when(row.at), row.release, row.stage, row.verdict, "" if row.lowest is None else f"{row.lowest:.0%}",
             row.path.name + (" (pruned)" if row.pruned else "") + (" (sealed afterwards)" if row.sealed == "afterwards" else "")] for row in found]
    print(render.text_table(("n", "sealed", "release", "stage", "verdict", "lowest", "folder"), rows))
    for path in half:
        print(f"not sealed: {path.name}")
    if found:
        print(f"the ledger's head, for keeping elsewhere: {found[-1].head}")
    return 0


def run_verify(args: argparse.Namespace) -> int:
    """Verify a release or the archive; exit 1 on any doubt."""
    from suite.runbooks import archive
    from suite.runbooks.sign import read_public
    from suite.runbooks.verify import verify

    keys = read_public(args.key) if args.key else ()
    reports = archive_of(args)
    path = archive.find(reports, args.path) if args.path and not Path(args.path).exists() else Path(args.path or reports)
    found = [verify(path, keys, args.head)]
    if args.all and "releases" in found[0].facts:
        found += [verify(row.path, keys, args.head) for row in archive.releases(path)]
    if args.json:
        print(json.dumps({"rows": [one.to_dict() for one in found], "ok": all(one.ok for one in found)}, ensure_ascii=False))
    else:
        print("\n".join(map(repr, found)))
        own, signers = _own_key(), {one.facts["key"] for one in found if one.facts.get("key")}
        if own and signers and not keys:
            print("The signing key is this machine's own." if signers == {own} else f"The signing key is NOT this machine's own, which is {own}.")
    return 0 if all(one.ok for one in found) else 1


def _own_key() -> str:
    """The id of the key that this data directory signs with; empty where none was made, which looking does not change."""
    from suite.runbooks.sign import key_file, read_public
    from suite.settings import load

    file = key_file(load()).with_suffix(".pub")
    return read_public(file)[0].id if file.is_file() else ""


def run_seal(args: argparse.Namespace) -> int:
    """Archive and seal one executed runbook."""
    from suite.runbooks.afterwards import seal_notebook
    from suite.settings import load

    settings = load()
    sealed = seal_notebook(args.notebook, archive_of(args), key_of(args, settings), args.release, args.stage, settings.waivers)
    if args.json:
        print(json.dumps(sealed.to_dict()))
    else:
        print(f"{sealed.path}\nsealed afterwards; the ledger's head, for keeping elsewhere: {sealed.head}")
    return 0


def run_prune(args: argparse.Namespace) -> int:
    """Prune, or say what would be pruned."""
    from suite.runbooks.prune import prune
    from suite.settings import load

    pruned = prune(archive_of(args), key_of(args, load()) if args.yes else None, args.keep, dry_run=not args.yes)
    print(json.dumps(pruned.to_dict()) if args.json else repr(pruned) + ("" if args.yes else "; add --yes to do it"))
    return 0


def run_open(args: argparse.Namespace) -> int:
    """Open the newest report, or the one named; print where it is where there is no browser."""
    from suite.runbooks import archive

    reports = archive_of(args)
    rows = archive.releases(reports)
    if not args.release and not rows:
        raise BadRequest(f"No release is sealed in {reports} yet; `suite check --release NAME` makes one.")
    folder = archive.find(reports, args.release) if args.release else rows[-1].path
    page = next((folder / name for name in (START_PAGE, archive.RESULTS) if (folder / name).is_file()), folder)
    print(json.dumps({"path": str(page)}) if args.json else page)
    if not args.print and not args.json and not webbrowser.open(page.as_uri()):
        print("no browser was found; open that file yourself", file=sys.stderr)
    return 0


def run_key(args: argparse.Namespace) -> int:
    """Show or write the public key."""
    from suite.runbooks.sign import key_file
    from suite.settings import load

    settings = load()
    public = key_of(args, settings).public
    if args.out:
        try:
            args.out.write_bytes(public.pem())
        except OSError as error:
            raise BadRequest(f"The public key cannot be written to {args.out} ({error.strerror}); name another file.") from error
    facts: dict[str, Any] = {"id": public.id, "public": public.pem().decode("ascii")}
    if args.key is None and args.key_fd is None:
        facts["file"] = str(key_file(settings))
    print(json.dumps(facts) if args.json else f"{facts['public']}id {public.id}")
    return 0


def archive_of(args: argparse.Namespace) -> Path:
    """The archive that a command works on."""
    from suite.settings import load

    return (args.reports.expanduser().absolute() if args.reports else load().reports_dir)
