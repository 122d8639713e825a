"""The chips: what ATC calls ``--soc_version``, and what npu-smi calls them in its Name column.

The soc_version is ``Ascend`` and the name: 310P3 is Ascend310P3. Cards of the A3 series show only
``Ascend910`` there, which is no soc_version; theirs ends in a number of four digits.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from ascend.errors import AscendError

# CANN's build tool prints the names that it knows; ATC's page says how they are made.
_BUILD_TOOL = "https://github.com/ggml-org/llama.cpp/issues/10719"
_ATC_310 = (
    "https://www.hiascend.com/doc_center/source/zh/canncommercial/60RC1/"
    "inferapplicationdev/atctool/atctool_0064.html"
)
_ATC_310B = (
    "https://www.hiascend.com/doc_center/source/zh/canncommercial/62RC1/"
    "inferapplicationdev/atctool/atctool_000066.html"
)
_VLLM_310P = "https://github.com/vllm-project/vllm-ascend/issues/6676"


@dataclass(frozen=True)
class Soc:
    """A chip.

    Attributes:
        name: Its soc_version.
        series: The series that shares its kernels.
        source: Where the name is written down.
    """

    name: str
    series: str
    source: str


_SERIES = {
    ("310", _ATC_310): "310",
    ("310P", _BUILD_TOOL): "310P1 310P3 310P3vir01 310P3vir02 310P3vir04 310P3vir08",
    ("310P", _VLLM_310P): "310P5 310P7",
    ("310B", _ATC_310B): "310B1",
    ("310B", "https://github.com/Ascend/pytorch/issues/57"): "310B4",
    ("910", _BUILD_TOOL): "910A 910ProA 910B 910ProB 910PremiumA",
    ("910B", _BUILD_TOOL): "910B1 910B2 910B2C 910B3 910B4",
    ("910_93", _VLLM_310P): "910_9362 910_9372 910_9381 910_9382 910_9391 910_9392",
}
SOCS = tuple(
    Soc(f"Ascend{name}", series, source)
    for (series, source), names in _SERIES.items()
    for name in names.split()
)
_BY_KEY = {soc.name.casefold(): soc.name for soc in SOCS}


def normalise(text: str) -> str:
    """Return the soc_version that ``text`` means: ``310P3``, ``ascend310p3`` and so on.

    Raises:
        AscendError: If no such chip is known; the message offers the nearest name.
    """
    key = "".join(text.split()).casefold()
    key = key if key.startswith("ascend") else f"ascend{key}"
    if key in _BY_KEY:
        return _BY_KEY[key]
    near = difflib.get_close_matches(key, _BY_KEY, n=1)
    hint = f"; did you mean {_BY_KEY[near[0]]!r}?" if near else ""
    msg = (
        f"unknown chip {text[:40]!r}{hint}; a soc_version is 'Ascend' and the Name column of "
        "'npu-smi info', such as Ascend310P3"
    )
    raise AscendError(msg)
