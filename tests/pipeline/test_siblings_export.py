"""The networks without weights that ship, exported for real with weights that are alive."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from eval.heads import decode
from onnx_passes.core.manager import optimize
from onnx_passes.core.model_io import load
from onnx_passes.numerics.runner import run_model
from onnx_passes.numerics.watch import expose
from pipeline.drawn_words import draw_words
from pipeline.sources import Source, fetch

if TYPE_CHECKING:
    from pathlib import Path

    from tests.pipeline.conftest import Siblings

# Published: 248, 1944 and 1859 nodes, and 333 of StarNet MobileNetV3, of which our export leaves
# 321. What folds those 12 folds 249 of a network with 25 steps.
NODES = {
    "starnet_resnet34": 248 - 12,
    "rare_mobilenetv3": 1944 - 249,
    "rare_resnet34_vd": 1859 - 249,
}


@pytest.mark.parametrize("name", NODES)
def test_onnx_reads_what_paddle_reads(name: str, siblings: Siblings, tmp_path: Path) -> None:
    source = Source(network=name, checkpoint=siblings.checkpoint(name))
    fetched = fetch(source, tmp_path / "model.onnx")
    assert fetched.nodes == NODES[name]
    agreement = fetched.agreement
    assert agreement is not None
    assert 0 < agreement.max_abs <= agreement.tolerance == 1.7e-2
    assert agreement.same_argmax == 1  # of every column of 8 words: the same texts
    assert agreement.moves > 0.7  # from one word to the next

    model, images = load(fetched.path), draw_words(4, 3, 32, 100)
    (sampled,) = (
        node.outputs[0].name or "" for node in model.graph if node.op_type == "GridSample"
    )
    replaced = optimize(model, "decompose-grid-sample", check=False).model
    assert "GridSample" not in {node.op_type for node in replaced.graph}
    before, after = (run_model(expose(one, [sampled]), {"x": images}) for one in (model, replaced))
    for tensor in (sampled, "fetch_name_0"):
        np.testing.assert_array_equal(before[tensor], after[tensor])
    assert np.abs(np.diff(before[sampled], axis=0)).max(axis=(1, 2, 3)).min() > 0.5
    texts = [reading.text for reading in decode(before["fetch_name_0"])]
    assert len(set(texts)) == len(texts)
