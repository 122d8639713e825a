"""Export networks of torchvision, and small ones, with live weights: a child of exports.py.

    python benchmarks/torch_networks.py FOLDER [NAME ...]

Writes ``NAME-script.onnx`` (by TorchScript, opset 16) and ``NAME-dynamo.onnx`` (by torch.export)
into FOLDER. Batch norms are calibrated and biases drawn at random: an untrained network answers
nearly the same to every input, and biases of 0 can be left out.
"""

# mypy: allow-subclassing-any

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torchvision
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

_OPSET = 16


class _Transformed(nn.Module):
    """A spatial transformer: AffineGrid and GridSample before a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.theta, self.conv = nn.Linear(3 * 32 * 32, 6), nn.Conv2d(3, 8, 3)
        self.register_buffer("identity", torch.tensor([[1.0, 0, 0], [0, 1, 0]]))

    def forward(self, x: Any) -> Any:  # noqa: ANN401
        theta = self.theta(x.flatten(1)).view(-1, 2, 3) * 0.1 + self.identity
        grid = nn.functional.affine_grid(theta, x.size(), align_corners=False)
        return self.conv(nn.functional.grid_sample(x, grid, align_corners=False))


class _Recurrent(nn.Module):
    """Two layers of LSTM or GRU in both directions."""

    def __init__(self, kind: Callable[..., Any]) -> None:
        super().__init__()
        self.layers = kind(16, 32, num_layers=2, bidirectional=True, batch_first=True)
        self.out = nn.Linear(64, 7)

    def forward(self, x: Any) -> Any:  # noqa: ANN401
        return self.out(self.layers(x)[0])


class _Attention(nn.Module):
    """Queries and keys by einsum, as much code of the field writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(32, 96), nn.Linear(32, 32)

    def forward(self, x: Any) -> Any:  # noqa: ANN401
        q, k, v = (part.view(*x.shape[:2], 4, 8) for part in self.qkv(x).chunk(3, dim=-1))
        weights = torch.einsum("blhd,bshd->bhls", q, k).softmax(-1)
        return self.out(torch.einsum("bhls,bshd->blhd", weights, v).flatten(2)) + x


def _networks() -> dict[str, tuple[Callable[[], Any], tuple[int, ...], int]]:
    """Return how each network is made, the shape of an input, and how many inputs it takes."""
    models = torchvision.models
    image = (1, 3, 64, 64)
    no_weights: dict[str, Any] = {"weights": None, "weights_backbone": None}
    return {
        "resnet18": (models.resnet18, image, 1),
        "mobilenet_v3": (models.mobilenet_v3_small, image, 1),
        "efficientnet_b0": (models.efficientnet_b0, image, 1),
        "shufflenet_v2": (models.shufflenet_v2_x0_5, image, 1),
        "densenet121": (models.densenet121, image, 1),
        "convnext": (models.convnext_tiny, image, 1),
        "swin_t": (models.swin_t, (1, 3, 224, 224), 1),
        "swin_v2_t": (models.swin_v2_t, (1, 3, 256, 256), 1),
        "maxvit_t": (models.maxvit_t, (1, 3, 224, 224), 1),
        "lraspp": (
            lambda: models.segmentation.lraspp_mobilenet_v3_large(**no_weights), image, 1
        ),
        "raft": (models.optical_flow.raft_small, (1, 3, 128, 128), 2),
        "r3d_18": (models.video.r3d_18, (1, 3, 4, 32, 32), 1),
        "transformer": (_Transformed, (1, 3, 32, 32), 1),
        "attention": (_Attention, (2, 12, 32), 1),
        "lstm": (lambda: _Recurrent(nn.LSTM), (2, 5, 16), 1),
        "gru": (lambda: _Recurrent(nn.GRU), (2, 5, 16), 1),
    }  # fmt: skip


def _live(make: Callable[[], Any], shape: tuple[int, ...], inputs: int) -> Any:  # noqa: ANN401
    """Return a network whose output depends on its input."""
    torch.manual_seed(0)
    network = make()
    with torch.no_grad():
        for weight in network.parameters():
            if weight.dim() == 1 or not bool(weight.any()):
                weight.add_(torch.randn_like(weight), alpha=0.1)
        norms = [
            each for each in network.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)
        ]
        network.eval()
        for each in norms:
            each.train()
            each.momentum = None  # the mean of all batches
        for _ in range(8 if norms else 0):
            network(*(torch.randn(4, *shape[1:]) for _ in range(inputs)))
    return network.eval()


def main() -> None:
    """Export."""
    warnings.simplefilter("ignore")
    folder, wanted = Path(sys.argv[1]), sys.argv[2:]
    for name, (make, shape, inputs) in _networks().items():
        if wanted and name not in wanted:
            continue
        network = _live(make, shape, inputs)
        given = tuple(torch.randn(*shape) for _ in range(inputs))
        for way in ("script", "dynamo"):
            path = folder / f"{name}-{way}.onnx"
            kind: dict[str, Any] = {"dynamo": True} if way == "dynamo" else {
                "dynamo": False, "opset_version": _OPSET}  # fmt: skip
            try:
                torch.onnx.export(network, given, path, **kind)
            except Exception as error:
                path.unlink(missing_ok=True)
                print(f"{name}, {way}: not exported, {type(error).__name__}", flush=True)


if __name__ == "__main__":
    main()
