"""Progress bars that keep quiet where nobody watches."""

from __future__ import annotations

import os
from typing import Any

from tqdm.auto import tqdm


def progress_bar(*arguments: Any, wanted: bool = True, **options: Any) -> tqdm:
    """tqdm's bar, unless it is not wanted or TQDM_DISABLE says so, which tqdm's own notebook bar would ignore."""
    unwatched = os.environ.get("TQDM_DISABLE", "0") not in ("", "0")
    return tqdm(*arguments, disable=unwatched or not wanted, **options)
