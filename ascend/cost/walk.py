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
from typing import TYPE_CHECKING, TypeAlias

from ascend.cost.engine import Place
from ascend.cost.kernels import Kernel, Kernels
from ascend.cost.operators import demand_of
from ascend.cost.site import Demand, Site
from ascend.cost.tensors import Form, Tensor
from ascend.op_support.node_query import label

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir

    from ascend.cost.chip import Chip

Given: TypeAlias = "dict[ir.Value, tuple[Tensor, Form]]"

_CONVERSION = Place("AI Core", "inserted by the compiler")


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
        self._forms: dict[ir.Value, tuple[Form, ...]] = {}  # the first is how it was made
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
        if isinstance(site, str):
            self.found.not_counted.append((label(node), site))
        elif node.op_type in {"Shape", "Size"}:
            self._constants.update(node.outputs)
            self.found.constant += 1
        elif node.outputs[0] in self._same_as:
            self.found.free += 1
        else:
            self._count(site)

    def _count(self, site: Site) -> None:
        place = self._place_of(site.node)
        if place.refused:
            self.found.refused.append((label(site.node), place.reason))
        # What an AI CPU does needs no formula: its price is by element.
        demand = Demand() if place.engine == "AI CPU" else demand_of(site)
        if isinstance(demand, str):
            self.found.not_counted.append((label(site.node), demand))
        else:
            self._place(site, demand, place)

    def _place(self, site: Site, demand: Demand, place: Place) -> None:
        """Convert the inputs of a node, and add it to a kernel or start one."""
        node = site.node
        form = self._form_of(site, demand)
        given = self._given(site, demand, form)
        for value, (tensor, wanted) in given.items():
            if not self._is_constant(value):
                self._convert(value, tensor, wanted, label(node))
        self._forms.update(dict.fromkeys(node.outputs, (form,)))
        if demand.kind == "free":
            self.found.free += 1
            return
        kernel = self._host(site, demand, form, given) if place.engine == "AI Core" else None
        if kernel is None:
            kernel = Kernel(label(node), node.op_type, place, demand, form)
            self.found.started.append(kernel)
        else:
            kernel.fused.append(label(node))
        kernel.vector_cycles += demand.vector_cycles
        kernel.read_bytes += sum(
            tensor.stored_bytes(wanted, self._chip)
            for value, (tensor, wanted) in given.items()
            if self._maker.get(value) is not kernel
        )
        kernel.written_bytes = sum(t.stored_bytes(form, self._chip) for t in site.outputs)
        kernel.written_elements = sum(tensor.elements for tensor in site.outputs)
        self._maker.update(dict.fromkeys(node.outputs, kernel))

    def _given(self, site: Site, demand: Demand, form: Form) -> Given:
        """Return what a node reads, and in which form; a constant lies as the compiler likes."""
        given: Given = {}
        others = Form(demand.layout_of_others or form.layout, form.wide)
        for index, (value, tensor) in enumerate(zip(site.node.inputs, site.inputs, strict=True)):
            if value is not None and tensor is not None:
                root = self._root(value)
                constant = Form("ND", form.wide) if self._is_constant(root) else None
                given.setdefault(root, (tensor, constant or (others if index else form)))
        return given

    def _form_of(self, site: Site, demand: Demand) -> Form:
        """Return the form in which a node writes, and reads its first input."""
        pairs = zip(site.node.inputs, site.inputs, strict=True)
        natives = [
            (tensor.elements, self._native(self._root(value)))
            for value, tensor in pairs
            if value and tensor and not self._is_constant(self._root(value))
        ]
        largest = max(natives, key=lambda pair: pair[0])[1] if natives else Form()
        wide = site.wide if demand.wide is None else demand.wide
        if demand.kind == "free":
            wide = largest.wide
        return Form(demand.layout or largest.layout, wide)

    def _host(self, site: Site, demand: Demand, form: Form, given: Given) -> Kernel | None:
        """Return the kernel that a node joins, or None if it starts its own."""
        if demand.kind != "element-wise":
            return None
        for value, (tensor, _) in given.items():
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
        made = self._native(value)
        if not tensor.is_float:
            form = dataclasses.replace(form, wide=made.wide)
        turned = dataclasses.replace(made, layout=form.layout)
        cast = dataclasses.replace(made, wide=form.wide)
        between = turned if form.wide else cast  # the step in two bytes moves less
        for before, after in ((made, between), (between, form)):
            known = self._forms.get(value, (made,))
            if form not in known and after not in known:
                operator = "Cast" if after.wide != before.wide else "TransData"
                self._conversion(operator, tensor, (before, after), reader)
                self._forms[value] = (*known, after)

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
