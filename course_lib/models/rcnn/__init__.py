"""Mask R-CNN: find the people, then ask of each of them which pixels are theirs and in which cell every joint is.

Kaiming He, Georgia Gkioxari, Piotr Dollár, Ross Girshick, "Mask R-CNN", ICCV 2017 (arXiv 1703.06870). All people share
one network's features; what each costs in addition is a small head or two on what is cut out of them.

    picture -> backbone -> features of strides 4, 8, 16, ...
    features -> proposals -> box head                                 a box and a score for every person
    features, box -> RoIAlign 14 x 14 -> keypoint head -> 56 x 56     for every joint: in which cell of the box is it?
    features, box -> RoIAlign 14 x 14 -> mask head -> 28 x 28         for every cell of the box: is it the person?

The joints' half is here in the open: head, target, loss, read-out (`keypoints`), and when each is called (`regions`).
Boxes and masks are torchvision's work: pyramid, proposals, box head, sampling, mask head. All parameters have
torchvision's names, so that `keypointrcnn_resnet50_fpn`'s state dict loads strictly and answers the same.

**What RoIAlign is for.** A box lies on a map of stride 16 somewhere between the cells. RoIPool, its predecessor,
rounds the box to whole cells (an edge moves by up to half a cell, 8 pixels) and then its inner divisions again. That
there is a person survives this; where the wrist is does not: on a person 200 pixels tall one of the 56 cells is 3.6
pixels, and no later layer can tell how far the box moved. RoIAlign rounds nothing. It reads the map at exact places
by bilinear interpolation (here 2 x 2 in each of 14 x 14 bins) and takes their mean: a box moved by a quarter of a cell
is answered with features moved as far. In the paper that is worth 4.4 AP of keypoints. One shift stays: torchvision
reads cell i at i, not at its centre i + 1/2. It is half a cell for every box of a level, so that the head can learn it.
"""

from course_lib.models.rcnn.keypoints import KeypointHead, KeypointPredictor, keypoint_loss, read_out, target_cells
from course_lib.models.rcnn.network import MaskRCNN, keypoint_rcnn, mask_rcnn_course
from course_lib.models.rcnn.regions import RegionHeads

__all__ = [
    "KeypointHead",
    "KeypointPredictor",
    "MaskRCNN",
    "RegionHeads",
    "keypoint_loss",
    "keypoint_rcnn",
    "mask_rcnn_course",
    "read_out",
    "target_cells",
]
