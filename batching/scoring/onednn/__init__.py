"""A packed CPU forward for encoders on prepacked oneDNN linears: no padding, nothing compiled at start, weights packed once at load.

`PackedEncoder` is the forward; `available` says what this machine lacks for it and `unsupported` what a model has that it does not know;
`choose` measures it against another forward, `check_int8` what int8 costs in exactness.
"""

from __future__ import annotations

from batching.scoring.onednn.choose import Choice, check_int8, choose
from batching.scoring.onednn.encoder import PackedEncoder, Read
from batching.scoring.onednn.support import available
from batching.scoring.onednn.weights import unsupported

__all__ = ["Choice", "PackedEncoder", "Read", "available", "check_int8", "choose", "unsupported"]
