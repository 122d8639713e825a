"""Convolution, batch norm and activation: the unit that every stage of the network repeats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pipeline.models.framework import paddle

if TYPE_CHECKING:
    from collections.abc import Callable

Tensor = Any  # paddle ships no types that mypy could follow here
BATCH_NORM_EPSILON = 1e-5


class ConvBn(paddle.nn.Layer):  # type: ignore[misc]  # paddle is untyped
    """Convolution without bias, batch norm, activation."""

    NAMES: ClassVar[tuple[str, str]] = ("conv", "bn")  # of the first two, in a checkpoint

    def __init__(
        self,
        channels: tuple[int, int],
        *,
        kernel: int,
        stride: tuple[int, int] = (1, 1),
        groups: int = 1,
        activation: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Pad so that stride 1 keeps the size.

        Args:
            channels: In and out.
            kernel: Side of the square kernel, in pixels; odd.
            stride: Down, right.
            groups: ``channels[0]`` makes the convolution depthwise.
            activation: Applied last; None leaves the batch norm's output.
        """
        super().__init__()
        conv = paddle.nn.Conv2D(
            *channels,
            kernel,
            stride=list(stride),
            padding=kernel // 2,
            groups=groups,
            bias_attr=False,
        )
        norm = paddle.nn.BatchNorm2D(channels[1], epsilon=BATCH_NORM_EPSILON)
        for name, layer in zip(self.NAMES, (conv, norm), strict=True):
            self.add_sublayer(name, layer)
        self._activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Map float32 [N, in, H, W] to float32 [N, out, Ho, Wo]."""
        conv, norm = self.NAMES
        y = getattr(self, norm)(getattr(self, conv)(x))
        return y if self._activation is None else self._activation(y)
