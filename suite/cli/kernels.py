"""`suite kernels install`: the kernelspecs of kernels/, for the Python that runs this command."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from suite.settings import package_file


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the group."""
    group = commands.add_parser("kernels", help="Jupyter kernels that start with the bench ready").add_subparsers(
        dest="verb", required=True, metavar="verb")
    install = group.add_parser("install", help="install the kernelspecs for this user or environment")
    install.add_argument("--sys-prefix", action="store_true", help="into this environment instead of the user's folder")
    install.set_defaults(run=run_install)


def run_install(args: argparse.Namespace) -> int:
    """Copy each spec with this interpreter's path in it."""
    from jupyter_client.kernelspec import KernelSpecManager

    for source in sorted(path for path in package_file("kernels").iterdir() if (path / "kernel.json").is_file()):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / source.name
            folder.mkdir()
            for file in source.iterdir():
                (folder / file.name).write_bytes(file.read_bytes())
            spec = json.loads((source / "kernel.json").read_text(encoding="utf-8"))
            spec["argv"][0] = sys.executable
            (folder / "kernel.json").write_text(json.dumps(spec, indent=2), encoding="utf-8")
            place = KernelSpecManager().install_kernel_spec(str(folder), source.name, user=not args.sys_prefix,
                                                            prefix=sys.prefix if args.sys_prefix else None)
        print(f"suite: kernel {source.name} installed in {place}.")
    return 0
