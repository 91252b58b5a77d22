"""The raw rows of a load as one parquet file, so that anybody can count again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from suite.errors import NotFound


def keep(rows: Sequence[dict[str, Any]], file: Path) -> dict[str, Any]:
    """Write the rows; gives the file's name, its sha256 (64 hex digits) and how many rows can be read from it again.

    Raises NotFound where fastparquet is not installed.
    """
    try:
        import fastparquet  # here: of an extra, and slow to load
    except ImportError:
        raise NotFound("The rows of a load are kept as parquet, for which fastparquet is missing; install local-ai-suite[load].") from None
    import pandas as pd

    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o600)  # what was answered is nobody else's to read
    fastparquet.write(str(file), pd.DataFrame(list(rows)), compression="SNAPPY", write_index=False)  # pandas' own way to it is deprecated
    with file.open("rb") as opened:
        read = len(fastparquet.ParquetFile(opened).to_pandas())
    return {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest(), "rows": read}
