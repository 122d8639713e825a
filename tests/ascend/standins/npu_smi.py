"""A stand-in for npu-smi, run as a program: only ``npu-smi info``, in the documented form.

``STANDIN_NPU_SMI_SHOW`` chooses what it prints (a key of `TABLES`); ``STANDIN_NPU_SMI_FAIL`` is
``crash`` (a message and status 255) or ``hang``.
"""

from __future__ import annotations

import os
import sys
import time

RULE = "+-----------------------+-----------------+-----------------------------------------+"
DOUBLE = RULE.replace("-", "=")
VERSIONED = f"{RULE}\n| npu-smi 22.0.2.3             Version: 22.0.2.3                   |\n"
HEAD_310P = f"""\
{RULE}
| NPU     Name          | Health          | Power(W)     Temp(C)           Hugepages-Usage(page) |
| Chip    Device        | Bus-Id          | AICore(%)    Memory-Usage(MB)                        |
{DOUBLE}
"""
ONE = f"""{HEAD_310P}\
| 2144    310P3         | OK              | NA           47                0    / 0              |
| 0       0             | 0000:86:00.0    | 0            1807 / 21527                            |
{RULE}
"""
PROCESSES = f"""\
{RULE}
| NPU     Chip          | Process id      | Process name             | Process memory(MB)        |
{DOUBLE}
| 0       0             | 4711            | python3                  | 92                        |
| 0       0             | 4712            | python3                  | 92                        |
{RULE}
"""
DUO = f"""{VERSIONED}{HEAD_310P}\
| 1       310P3         | OK              | 17.6         41                0    / 0              |
| 0       0             | 0000:3B:00.0    | 35           2103 / 44280                            |
{RULE}
| 1       310P3         | OK              | NA           43                0    / 0              |
| 1       1             | 0000:3B:00.0    | 0            1620 / 43693                            |
{DOUBLE}
{PROCESSES}"""
HBM = f"""{VERSIONED}{RULE}
| NPU     Name          | Health          | Power(W)     Temp(C)           Hugepages-Usage(page) |
| Chip                  | Bus-Id          | AICore(%)    Memory-Usage(MB)  HBM-Usage(MB)         |
{DOUBLE}
| 0       910B4         | OK              | 86.5         40                0    / 0              |
| 0                     | 0000:C1:00.0    | 0            0    / 0          2785 / 32768          |
{DOUBLE}
{PROCESSES}"""
PHY = f"""{VERSIONED}{RULE}
| NPU     Name          | Health          | Power(W)     Temp(C)           Hugepages-Usage(page) |
| Chip    Phy-ID        | Bus-Id          | AICore(%)    Memory-Usage(MB)  HBM-Usage(MB)         |
{DOUBLE}
| 0       Ascend910     | OK              | 178.5        36                0    / 0              |
| 0       0             | 0000:9D:00.0    | 0            0    / 0          3416 / 65536          |
{RULE}
| 0       Ascend910     | OK              | -            36                0    / 0              |
| 1       1             | 0000:9F:00.0    | 0            0    / 0          3195 / 65536          |
{DOUBLE}
"""
TABLES = {
    "one": ONE,
    "duo": DUO,
    "hbm": HBM,
    "phy": PHY,
    "unhealthy": ONE.replace("OK       ", "Unhealthy"),
    "none": HEAD_310P,
    "truncated": ONE[: ONE.index("| 0000:86")],
    "garbage": "\x1b[31m\ufffd |||| 7 7 7 ++==\n",
}


def main(arguments: list[str]) -> int:
    """Answer as npu-smi does."""
    if arguments != ["info"]:
        sys.stderr.write(f"npu-smi: this stand-in knows 'info' only, not {arguments}\n")
        return 1
    fail = os.environ.get("STANDIN_NPU_SMI_FAIL")
    if fail == "hang":
        time.sleep(3600)
    if fail == "crash":
        sys.stdout.write("DrvMngGetConsoleLogLevel failed. (g_conLogLevel=3)\n")
        sys.stdout.write("dcmi module initialize failed. ret is -8005\n")
        return 255
    sys.stdout.write(TABLES[os.environ.get("STANDIN_NPU_SMI_SHOW", "one")])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
