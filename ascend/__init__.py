"""The device side: what ATC needs to know. Knows nothing of onnx_passes, eval and pipeline."""
