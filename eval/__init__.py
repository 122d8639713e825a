"""Data sets, transforms, decoding, metrics. Knows nothing of onnx_passes, ascend, pipeline."""
