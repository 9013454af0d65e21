"""What the papers of lesson 11 print: COCO val2017, average precision and recall in percent, with the flip test.

The rows of the simple baseline are its authors' own page, which the page of HRNet repeats. "printed" is their GFLOPs.
"""

from __future__ import annotations

from typing import Any

_COLUMNS = ("network", "crop", "printed", "AP", "AP50", "AP75", "medium", "large", "AR")
_NONE = (None,) * 5
VALIDATION: list[dict[str, Any]] = [
    dict(zip(_COLUMNS, row, strict=True))
    for row in (
        ("8 hourglasses (quoted)", "256 x 192", 14.3, 66.9, *_NONE),
        ("CPN, ResNet-50 (quoted)", "256 x 192", None, 68.6, *_NONE),
        ("CPN, its special loss (quoted)", "256 x 192", None, 69.4, *_NONE),
        ("ResNet-50", "256 x 192", 8.9, 70.4, 88.6, 78.3, 67.1, 77.2, 76.3),
        ("ResNet-101", "256 x 192", 12.4, 71.4, 89.3, 79.3, 68.1, 78.1, 77.1),
        ("ResNet-152", "256 x 192", 15.7, 72.0, 89.3, 79.8, 68.7, 78.9, 77.8),
        ("HRNet-W32, not from ImageNet", "256 x 192", 7.1, 73.4, 89.5, 80.7, 70.2, 80.1, 78.9),
        ("HRNet-W32", "256 x 192", 7.1, 74.4, 90.5, 81.9, 70.8, 81.0, 79.8),
        ("HRNet-W48", "256 x 192", 14.6, 75.1, 90.6, 82.2, 71.5, 81.8, 80.4),
        ("ResNet-50", "384 x 288", 20.0, 72.2, 89.3, 78.9, 68.1, 79.7, 77.6),
        ("ResNet-101", "384 x 288", 27.9, 73.6, 89.6, 80.3, 69.9, 81.1, 79.1),
        ("ResNet-152", "384 x 288", 35.3, 74.3, 89.6, 81.1, 70.5, 81.6, 79.7),
        ("HRNet-W32", "384 x 288", 16.0, 75.8, 90.6, 82.7, 71.9, 82.8, 81.0),
        ("HRNet-W48", "384 x 288", 32.9, 76.3, 90.8, 82.9, 72.3, 83.4, 81.2),
    )
]
