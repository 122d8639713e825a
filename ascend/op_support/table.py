"""What ATC does with an operator: which engine runs it, or why it is refused.

Which dtype the table is asked for: ATC's default is ``--precision_mode force_fp16``. A float32
tensor of the model is float16 on the device wherever the kernel has float16, and stays float32
where it has not (GridSample). So float32 matches a kernel that takes either, and sizes in bytes are
those of float16, unless the operator is kept float32 (``Operator.keep_float32``: by --keep_dtype,
or all of them by ``must_keep_origin_dtype``). float16 in the model matches float16; whether ATC
widens it for a kernel that has float32 only is not known. All other dtypes match themselves.

Which data answers for a version: see ``known``. For CANN 5 to 8.0 the engines are not
known, and nobody should believe that those of 8.1 hold there.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from ascend.op_support.data import Source
from ascend.op_support.files import DATA
from ascend.op_support.kernels import kernel_ruling
from ascend.op_support.known import Known
from ascend.op_support.query import Answer, Verdict
from ascend.op_support.rules import RULES, Ruling

if TYPE_CHECKING:
    from pathlib import Path

    from ascend.op_support.known import Claim
    from ascend.op_support.query import Operator

DEFAULT_DOMAINS = ("", "ai.onnx")
# Facts of the parser itself.
_LOOK_UP = Source("reports of ATC: optype [ai.onnx::11::grid_sampler]", "log", "not stated")
_ADAPTERS = Source("sub-graph adapters of the public ONNX parser", "source", "not stated")


class OpSupport:
    """What ATC of one CANN version does for one chip.

    Args:
        cann: As 8.1.RC1; one without a data file is answered from its neighbours.
        soc: As Ascend310P3; the lists hold for any, engines for those of the data files only.
        folder: Where the data files are.

    Raises:
        AscendError: If ``cann`` is no version or a data file cannot be used.
    """

    def __init__(self, cann: str, soc: str, folder: Path = DATA) -> None:
        """Read the data files, once a process."""
        self.cann = cann
        self.soc = soc
        self.known = Known(cann, soc, folder)
        # A model has thousands of nodes and tens of operators.
        self._operator = functools.cache(self.known.operator)
        self._engines = functools.cache(self.known.engines)

    @property
    def engines_known(self) -> bool:
        """Return whether there is a table of engines for this version and chip."""
        return self.known.table is not None

    def verdict(self, operator: Operator) -> Verdict:
        """Return what ATC does with ``operator``, and why."""
        name, opset = operator.op_type, operator.opset
        if operator.domain not in DEFAULT_DOMAINS:
            where = f"{operator.domain}::{opset}::{name}"
            reason = f"ATC looks up a parser for {where}; only a plugin of your own has one"
            return _verdict(Ruling("refused", "domain", reason), _LOOK_UP)
        if operator.has_subgraphs and name != "If":
            reason = f"{name} has a sub-graph; the parser reads those of If only"
            return _verdict(Ruling("refused", "sub-graph", reason), _ADAPTERS)
        claim = self._operator(name, opset)
        if claim is None or not claim.holds:
            return self._not_taken(claim)
        return self._engine(operator, claim)

    def _not_taken(self, claim: Claim | None) -> Verdict:
        if claim is None:
            reason = f"no data on CANN {self.cann} or its neighbours"
            return Verdict("unknown", "no data", reason, "no source", self.cann, "unverified")
        answer: Answer = "unknown" if claim.holds is None else "refused"
        return _verdict(Ruling(answer, claim.why, claim.reason), claim.source)

    def _engine(self, operator: Operator, claim: Claim) -> Verdict:
        engines = self._engines(operator.op_type)
        if engines is None:
            return self._without_engine(claim)
        rulings = (RULES[rule](operator) for rule in engines.rules)
        ruling = next((each for each in rulings if each), None) or kernel_ruling(operator, engines)
        return _verdict(ruling, engines.source)

    def _without_engine(self, claim: Claim) -> Verdict:
        """Return that the parser takes it, and why its engine is not known."""
        if self.known.table is None:
            reason = f"taken; which engine runs it is not known for CANN {self.cann}, {self.soc}"
        else:
            reason = f"taken; the table of CANN {self.known.table.cann} has no engine for it"
        return _verdict(Ruling("parsed", "no data", reason), claim.source)


def _verdict(ruling: Ruling, source: Source) -> Verdict:
    return Verdict(*ruling, source.text, source.cann, source.certainty)
