"""From the nodes of a model to the kernels the device would start: fused, converted, counted.

Stated simply, because nobody outside the compiler knows its rules:

* a node whose inputs are all constant is computed at compile time; Identity is nothing; Reshape and
  its kin only need their bytes in order;
* an element-wise node joins the kernel that makes one of its inputs, if that kernel is a Conv, a
  MatMul or element-wise, nothing else reads the input, and shape, layout and width stay;
* a tensor that a node wants in another layout or width is converted once, by a kernel of its own.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from ascend.cost_engine import Place
from ascend.cost_operators import Demand, Site, demand_of
from ascend.cost_prices import Work
from ascend.cost_tensors import Form, Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir

    from ascend.cost_chip import Chip

_CONVERSION = Place("AI Core", "inserted by the compiler")


@dataclasses.dataclass
class Kernel:
    """One kernel: a node, what joined it, and what it moves.

    Attributes:
        label: The node that starts it, or what a conversion is for.
        operator: Its operator; TransData or Cast for a conversion.
        place: Where it is thought to run, and why.
        demand: What its first node asks for.
        form: The form of what it writes.
        fused: The labels of the nodes that joined it.
        vector_cycles: Of all its nodes.
        read_bytes: What it reads.
        written_bytes: What it writes.
        written_elements: Likewise.
    """

    label: str
    operator: str
    place: Place
    demand: Demand
    form: Form
    fused: list[str] = dataclasses.field(default_factory=list)
    vector_cycles: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    written_elements: int = 0

    def work(self, chip: Chip) -> Work:
        """Return the amounts of this kernel."""
        if self.place.engine == "AI CPU":
            return Work(cpu_launches=1, cpu_elements=self.written_elements)
        demand = self.demand
        return Work(
            launches=demand.launches,
            peak_us=max(self._peaks_us(chip).values()),
            copies=demand.copies,
            row_copies=demand.row_copies,
            fetches=demand.fetches,
        )

    def bound(self, chip: Chip) -> str:
        """Return which of cube, vector unit and memory needs the most time at its peak."""
        peaks = self._peaks_us(chip)
        return max(peaks, key=lambda unit: peaks[unit])

    def _peaks_us(self, chip: Chip) -> dict[str, float]:
        moved = self.demand.moved_bytes or self.read_bytes + self.written_bytes
        return {
            "cube": chip.cycles_us(self.demand.cube_cycles),
            "vector": chip.cycles_us(self.vector_cycles),
            "memory": chip.memory_us(moved),
        }


@dataclasses.dataclass
class Kernels:
    """What a model is thought to become.

    Attributes:
        started: The kernels, in order.
        not_counted: Label and reason of each node whose cost is not known.
        constant: How many nodes are computed at compile time.
        free: How many nodes start no kernel.
    """

    started: list[Kernel] = dataclasses.field(default_factory=list)
    not_counted: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    constant: int = 0
    free: int = 0


def label(node: ir.Node) -> str:
    """Return operator and first output, which every node has."""
    return f"{node.op_type} -> {node.outputs[0].name!r}"


def kernels_of(model: ir.Model, chip: Chip, place_of: Callable[[ir.Node], Place]) -> Kernels:
    """Return the kernels of a model whose values carry static shapes and types."""
    walk = _Walk(chip, place_of)
    for node in model.graph:
        walk.count_readers(node)
    for value in model.graph.outputs:
        walk.read(value)
    for node in model.graph:
        walk.visit(node)
    for value in model.graph.outputs:
        walk.give_back(value)
    return walk.found


class _Walk:
    """The state of one walk over the nodes; every node and edge is seen a fixed number of times."""

    def __init__(self, chip: Chip, place_of: Callable[[ir.Node], Place]) -> None:
        self.found = Kernels()
        self._chip = chip
        self._place_of = place_of
        self._readers: dict[ir.Value, int] = {}
        self._same_as: dict[ir.Value, ir.Value] = {}
        self._constants: set[ir.Value] = set()
        self._forms: dict[ir.Value, list[Form]] = {}
        self._maker: dict[ir.Value, Kernel] = {}

    def count_readers(self, node: ir.Node) -> None:
        """Note who reads what; what an Identity reads is read by its readers."""
        if node.op_type in {"Identity", "Dropout"} and node.inputs and node.inputs[0] is not None:
            self._same_as[node.outputs[0]] = self._root(node.inputs[0])
            return
        for value in {value for value in node.inputs if value is not None}:
            self.read(value)

    def read(self, value: ir.Value) -> None:
        """Note one reader."""
        root = self._root(value)
        self._readers[root] = self._readers.get(root, 0) + 1

    def visit(self, node: ir.Node) -> None:
        """Add what ``node`` costs to what was found."""
        given = [self._root(value) for value in node.inputs if value is not None]
        if node.op_type == "Constant" or (given and all(map(self._is_constant, given))):
            self._constants.update(node.outputs)
            self.found.constant += 1
            return
        site = Site.of(node, self._chip, self._is_constant)
        if isinstance(site, Site) and node.op_type in {"Shape", "Size"}:
            self._constants.update(node.outputs)
            self.found.constant += 1
            return
        demand = demand_of(site) if isinstance(site, Site) else site
        if isinstance(site, str) or isinstance(demand, str):
            reason = site if isinstance(site, str) else str(demand)
            self.found.not_counted.append((label(node), reason))
            return
        if node.outputs[0] in self._same_as:
            self.found.free += 1
            return
        self._place(site, demand)

    def _place(self, site: Site, demand: Demand) -> None:
        node, place = site.node, self._place_of(site.node)
        if place.refused:
            self.found.not_counted.append((label(node), f"ATC refuses it: {place.reason}"))
            return
        form = self._wanted(site, demand)
        pairs = zip(node.inputs, site.inputs, strict=True)
        given = {self._root(value): tensor for value, tensor in pairs if value and tensor}
        for value, tensor in given.items():
            if not self._is_constant(value):
                self._convert(value, tensor, form, label(node))
        if demand.kind == "free":
            self.found.free += 1
            self._forms[node.outputs[0]] = [form]
            return
        kernel = self._host(site, demand, form, given) if place.engine == "AI Core" else None
        if kernel is None:
            kernel = Kernel(label(node), node.op_type, place, demand, form)
            self.found.started.append(kernel)
        else:
            kernel.fused.append(label(node))
        kernel.vector_cycles += demand.vector_cycles
        kernel.read_bytes += sum(
            tensor.stored_bytes(
                Form("ND", form.wide) if self._is_constant(value) else form, self._chip
            )
            for value, tensor in given.items()
            if self._maker.get(value) is not kernel
        )
        kernel.written_bytes = sum(t.stored_bytes(form, self._chip) for t in site.outputs)
        kernel.written_elements = sum(tensor.elements for tensor in site.outputs)
        for value in node.outputs:
            self._forms[value] = [form]
            self._maker[value] = kernel

    def _wanted(self, site: Site, demand: Demand) -> Form:
        """Return the form in which a node reads and writes."""
        wide = site.wide if demand.wide is None else demand.wide
        if demand.layout is not None:
            return Form(demand.layout, wide)
        pairs = zip(site.node.inputs, site.inputs, strict=True)
        largest = max(
            (
                (tensor.elements, self._native(self._root(value)).layout)
                for value, tensor in pairs
                if value and tensor and not self._is_constant(self._root(value))
            ),
            default=(0, "ND"),
            key=lambda pair: pair[0],
        )
        return Form(largest[1], wide)

    def _host(
        self, site: Site, demand: Demand, form: Form, given: dict[ir.Value, Tensor]
    ) -> Kernel | None:
        """Return the kernel that a node joins, or None if it starts its own."""
        if demand.kind != "element-wise":
            return None
        for value, tensor in given.items():
            kernel = self._maker.get(value)
            if (
                kernel is not None
                and kernel.demand.kind in {"cube", "element-wise"}
                and kernel.place.engine == "AI Core"
                and kernel.form == form
                and tensor.shape == site.y.shape
                and self._readers.get(value) == 1
            ):
                return kernel
        return None

    def _convert(self, value: ir.Value, tensor: Tensor, form: Form, reader: str) -> None:
        """Bring ``value`` into a form, unless it is there already."""
        forms = self._forms.setdefault(value, [self._native(value)])
        if not tensor.is_float:
            form = dataclasses.replace(form, wide=forms[0].wide)
        if form in forms:
            return
        turned = dataclasses.replace(forms[0], layout=form.layout)
        cast = dataclasses.replace(forms[0], wide=form.wide)
        between = turned if form.wide else cast  # the step in two bytes moves less
        for target in (between, form):
            if target not in forms:
                operator = "Cast" if target.wide != forms[-1].wide else "TransData"
                self._conversion(operator, tensor, (forms[-1], target), reader)
                forms.append(target)

    def _conversion(
        self, operator: str, tensor: Tensor, forms: tuple[Form, Form], reader: str
    ) -> None:
        before, after = (tensor.stored_bytes(form, self._chip) for form in forms)
        text = f"{operator} for {reader}"
        self.found.started.append(
            Kernel(
                text,
                operator,
                _CONVERSION,
                Demand(),
                forms[1],
                read_bytes=before,
                written_bytes=after,
                written_elements=tensor.elements,
            )
        )

    def give_back(self, value: ir.Value) -> None:
        """Convert an output of the model to what its reader on the host expects."""
        root, tensor = self._root(value), Tensor.of(value)
        if tensor is not None and root in self._forms:
            self._convert(root, tensor, _on_the_host(tensor), f"output {value.name!r}")

    def _native(self, value: ir.Value) -> Form:
        """Return the form in which a value was made; what nothing made comes from the host."""
        if value in self._forms:
            return self._forms[value][0]
        tensor = Tensor.of(value)
        return Form() if tensor is None else _on_the_host(tensor)

    def _is_constant(self, value: ir.Value) -> bool:
        return value.const_value is not None or value in self._constants

    def _root(self, value: ir.Value) -> ir.Value:
        return self._same_as.get(value, value)


def _on_the_host(tensor: Tensor) -> Form:
    return Form("ND", wide=tensor.is_float and tensor.dtype.itemsize > 2)  # noqa: PLR2004  bytes
