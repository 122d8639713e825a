"""The files that ``onnx-passes new-pass`` writes; ``{{words}}`` are filled in."""
