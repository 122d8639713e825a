"""Feeds, the ONNX Runtime oracle, comparison and tolerances."""
