"""The contract between a pass and the manager, and the tree of errors.

Errors::

    PassError                     anything this package refuses with a reason (exit code 2)
    ├── UsageError                a pass list, option, path or feed that cannot be used (2)
    ├── ModelError                a model that cannot be read, is invalid, or cannot run (2)
    ├── CheckError                numbers or integrity failed (1)
    ├── ToolError                 an external tool or a child process failed (3)
    └── MissingToolError          a tool or an extra is not installed (4)
"""

from __future__ import annotations

import abc
import contextlib
import contextvars
import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir

Exactness = Literal["exact", "close", "inexact"]


class PassError(Exception):
    """The root of every error this package raises on purpose; ``exit_code`` is the CLI's."""

    exit_code: ClassVar[int] = 2


class UsageError(PassError):
    """A pass list, an option, a path or a feed cannot be used as given."""


class ModelError(PassError):
    """A model cannot be read, is invalid, or cannot be run."""


class CheckError(PassError):
    """A rewritten model failed its numeric or integrity check."""

    exit_code = 1


class ToolError(PassError):
    """An external tool or a child process failed."""

    exit_code = 3


class MissingToolError(PassError):
    """A tool or an optional dependency is missing; the message says how to get it."""

    exit_code = 4


@dataclasses.dataclass(frozen=True)
class Note:
    """One sentence about one node.

    Attributes:
        node: The node's label, see :func:`label`.
        text: What was done to it, or why it was left alone.
    """

    node: str
    text: str


class RewriteLimitReached(BaseException):
    """A pass made as many rewrites as :func:`at_most` allows; ``rewritten`` holds them.

    No ``Exception``: a pass that tries one node after the other must not catch it.
    """

    def __init__(self, rewritten: list[Note]) -> None:
        """Keep the notes of the rewrites that were made."""
        super().__init__(f"stopped after {len(rewritten)} rewrites")
        self.rewritten = rewritten


@dataclasses.dataclass
class _Limit:
    rewrites: int | None
    made: list[Note]


_limit: contextvars.ContextVar[_Limit | None] = contextvars.ContextVar(
    "rewrite limit", default=None
)


@contextlib.contextmanager
def at_most(rewrites: int | None) -> Iterator[list[Note]]:
    """Within the block, stop a pass after that many rewrites (None: do not).

    The pass is left by :class:`RewriteLimitReached`; its edits so far stay in the model. A rewrite
    is noted after its edit, so that 0 stops after the first one too.

    Yields:
        The rewrites noted in the block so far; a pass that crashed has left them there.
    """
    limit = _Limit(rewrites, [])
    token = _limit.set(limit)
    try:
        yield limit.made
    finally:
        _limit.reset(token)


class _Rewrites(list[Note]):
    """The notes of one run, which end it at the limit."""

    def append(self, note: Note) -> None:
        super().append(note)
        limit = _limit.get()
        if limit is None:
            return
        limit.made.append(note)
        if limit.rewrites is not None and len(self) >= limit.rewrites:
            raise RewriteLimitReached(list(self))


@dataclasses.dataclass
class PassResult:
    """What a pass says it did. Whether the model changed is measured by the manager.

    A pass appends to ``rewritten`` right after each edit, when the model is whole again: a
    bisection stops the pass there, after the first N rewrites (see :func:`at_most`).
    """

    rewritten: list[Note] = dataclasses.field(default_factory=_Rewrites)
    skipped: list[Note] = dataclasses.field(default_factory=list)


class Pass(abc.ABC):
    """A rewrite of a model. Subclasses are frozen dataclasses; a field is an option.

    Attributes:
        name: Verb-noun in kebab case, unique in the registry.
        exactness: ``exact``: float32 outputs stay bit-equal in ONNX Runtime with graph
            optimisation off. ``close``: only rounding changes. ``inexact``: values change on
            purpose (a narrower dtype, say).
        purpose: The heading that ``onnx-passes list`` puts the pass under.
        isolated: Whether ``run`` calls native code that may crash or hang; the manager then runs
            the pass in a child process with a time limit.
        needs: Operators (of any domain) without which the pass finds nothing to do: a model that
            has none of them is not even searched. Empty: it always is.
        narrows_inputs: Whether ``run`` fixes sizes of graph inputs on purpose. Names and dtypes
            must stay all the same, and the numbers are compared at the sizes that are left.
    """

    name: ClassVar[str]
    exactness: ClassVar[Exactness]
    purpose: ClassVar[str] = "other"
    isolated: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset()
    narrows_inputs: ClassVar[bool] = False

    @abc.abstractmethod
    def run(self, model: ir.Model) -> PassResult:
        """Rewrite ``model`` in place and say what was done and what was left alone."""

    def options(self) -> dict[str, Any]:
        """Return the options that differ from their defaults, in the order of the fields."""
        if not dataclasses.is_dataclass(self):
            return {}
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        }


def label(node: ir.Node) -> str:
    """Return how messages name ``node``: operator and first output, ``GridSample -> 'y'``.

    ONNX allows empty node names, never empty outputs; an optional first output may be omitted,
    so the first named one is used.
    """
    output = next((value.name for value in node.outputs if value.name), "")
    return f"{node.op_type} -> {output!r}"
