"""Data sets, transforms, decoding and metrics. Knows nothing of onnx_passes, ascend and pipeline."""
