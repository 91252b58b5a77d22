"""Where a command takes the signing key from: a file or an open descriptor, never an argument or the environment."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from suite.errors import BadRequest

if TYPE_CHECKING:
    from suite.runbooks.sign import SigningKey
    from suite.settings import Settings


def add_key_options(parser: argparse.ArgumentParser) -> None:
    """`--key`, `--key-fd` and `--passphrase-fd`."""
    parser.add_argument("--key", type=Path, metavar="FILE", help="the Ed25519 key to sign with (PEM, mode 0600); by default the data directory's "
                        "own, which is made at first use")
    parser.add_argument("--key-fd", type=int, metavar="N", help="read that key from an open file descriptor, as in `--key-fd 3 3<key.pem`")
    parser.add_argument("--passphrase-fd", type=int, metavar="N", help="read the key's passphrase from an open file descriptor; a "
                        "terminal asks for it")


def key_of(args: argparse.Namespace, settings: Settings) -> SigningKey:
    """The key that the options name. Raises BadRequest when it cannot be read or opened."""
    from suite.runbooks.sign import load_key

    if args.key is not None and args.key_fd is not None:
        raise BadRequest("--key and --key-fd name two keys; give one of them.")
    source = args.key_fd if args.key_fd is not None else args.key or settings
    passphrase = _passphrase(args.passphrase_fd) if args.passphrase_fd is not None else ""
    try:
        return load_key(source, passphrase)
    except BadRequest as error:
        if passphrase or "passphrase" not in error.message or not sys.stdin.isatty():
            raise
        return load_key(source, getpass.getpass("Passphrase of the signing key: "))


def _passphrase(number: int) -> str:
    try:
        with os.fdopen(os.dup(number), encoding="utf-8") as stream:
            return stream.readline().rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"The passphrase cannot be read from file descriptor {number} ({error}); open it for this process.") from error
