"""Data sets, transforms, decoding, metrics. Knows nothing of onnx_passes, ascend, pipeline."""

import os

# A picture of a few kilobytes may claim a gigapixel, and OpenCV would take 3 GB for it. This many
# are 100 MB, more than any cropped word. OpenCV looks at the variable when it is loaded.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 25))
