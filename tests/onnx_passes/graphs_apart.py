"""Makers of operators that are taken apart: Einsum, IsNaN."""

from __future__ import annotations

import numpy as np

from tests.onnx_passes.graphs import BOOL, F32, Sketch, Tensor
from tests.onnx_passes.graphs_makers import feeds

_LABELS = "abcdef"


@feeds("decompose-einsum", "set-opset")
def einsum(s: Sketch) -> None:
    """Operands of any labels, at times repeated, in an ellipsis, or with a result not written."""
    if s.opset < 12:
        return
    x = s.pick(
        lambda v: v.dtype == F32 and 0 < v.rank <= 4 and 0 not in v.shape, shape=lambda: (2, 3)
    )
    sizes = dict(zip(_LABELS, x.shape, strict=False))
    terms, operands = [_LABELS[: x.rank]], [x]
    for _ in range(s.number(0, 2)):
        term = "".join(one for one in _LABELS if s.flip(2))[:3] or "a"
        if s.flip():
            term = term[::-1]
        for one in term:
            sizes.setdefault(one, s.number(1, 3))
        shape = tuple(1 if s.flip(12) else sizes[one] for one in term)
        terms.append(term)
        fed = s.is_main and s.flip()
        operands.append(s.input(F32, shape) if fed else s.weight(shape))
    every = sorted(set("".join(terms)))
    kept = [one for one in every if s.flip(2)]
    result = "".join(reversed(kept) if s.flip() else kept)
    equation = f"{','.join(terms)}->{result}"
    if s.flip(5):
        once = [one for one in every if "".join(terms).count(one) == 1]
        equation, result = ",".join(terms), "".join(once)
    elif s.flip(5) and all("a" in term[:1] for term in terms) and result[:1] == "a":
        equation = ",".join(f"...{term[1:]}" for term in terms) + f"->...{result[1:]}"
    shape = tuple(sizes[one] for one in result)
    s.add("Einsum", operands, (F32, shape), equation=equation, rough=True)


@feeds("decompose-is-nan")
def is_nan(s: Sketch) -> None:
    """Replace what is not a number, as behind the Softmax of a masked row, or only ask for it."""
    x = s.pick(lambda v: v.dtype == F32, shape=lambda: (2, 3))
    if s.flip():
        x = s.like("Log", Tensor(x.name, x.dtype, x.shape, rough=True))
    asked = s.add("IsNaN", [x], (BOOL, x.shape))
    if s.flip(2):
        zero = s.constant(np.array(s.one_of(0.0, 1.0), np.float32))
        s.add("Where", [asked, zero, x], (F32, x.shape))
