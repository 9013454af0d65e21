"""PCK and its family: a joint is found if its error is at most alpha times one size of the whole person.

    PCK@alpha  =  share of labelled joints with  d_i / s <= alpha

Only s differs between the names (and, in some code, "<=" from "<"):

    name                     s                                                alpha     here
    PCK, LSP                 |left shoulder - right hip|                      0.2       "torso"
    PDJ, FLIC                the same, or |right shoulder - left hip|         0.2       "other_diagonal"
    PCK, Yang and Ramanan    longer side of the tight box of the true joints  0.1, 0.2  "box"
    PCK, J-HMDB              longer side of the person's box, or the torso    0.2       a tensor, or "torso"
    PCKh, MPII               0.6 x diagonal of the head rectangle             0.5       `pckh`

The division d / s comes before the comparison, so that an exact tie (10 px of 50 at alpha 0.2) is a tie.
"""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.errors import CourseError, unknown_name
from course_lib.geometry import box_of
from course_lib.metrics.marks import Marks, check_shapes, distances, exact, labelled_joints, within
from course_lib.skeletons import Skeleton, get, mirror_name

REFERENCES = ("torso", "other_diagonal", "box")
HEAD_SCALE = 0.6  # MPII's SC_BIAS: what the official evaluation makes of the head rectangle's diagonal
NOT_IN_PCKH = ("pelvis", "thorax")  # scored by MPII's evaluation, but left out of its mean
AUC_DEFINITIONS = ("mean", "trapezoid", "mmpose")
_COLUMNS = {  # what the official tables of the two data sets print
    "lsp": {"head": ("neck", "head_top")},
    "mpii": {"head": ("head_top",), "hidden": ("neck", *NOT_IN_PCKH)},
}


def reference_size(
    joints: Tensor, visible: Tensor, skeleton: str | Skeleton, reference: str | tuple[str, str] = "torso"
) -> Tensor:
    """The size (N,) of people with true joints (N, K, 2), visible (N, K); 0 where it is not known.

    reference: "torso" is the skeleton's torso pair (left shoulder, right hip), "other_diagonal" the right
    shoulder and left hip, "box" the longer side of the tight box of the labelled joints; or name any two
    joints yourself. Always measured on the *true* joints: one published script measured the estimated torso
    and got other numbers.
    """
    skeleton, joints, labelled = get(skeleton), exact(joints), labelled_joints(joints, visible)
    if reference == "box":
        box = box_of(joints, labelled)
        return (box[..., 2:] - box[..., :2]).amax(-1)
    if isinstance(reference, str):
        if reference not in REFERENCES:
            raise unknown_name("reference size", reference, REFERENCES)
        pair = skeleton.torso if reference == "torso" else tuple(mirror_name(name) for name in skeleton.torso)
    else:
        pair = reference
    a, b = (skeleton.index(name) for name in pair)
    size = torch.linalg.vector_norm(joints[..., a, :] - joints[..., b, :], dim=-1)
    return torch.where(labelled[..., a] & labelled[..., b], size, 0.0)


def head_size(head_box: Tensor, scale: float = HEAD_SCALE) -> Tensor:
    """MPII's head size (N,): 0.6 x the diagonal of the head rectangle (N, 4). A rectangle of NaN gives 0.

    It is neither the head-top-to-neck distance nor the whole diagonal; both usually allow more.
    """
    box = exact(head_box)
    size = scale * torch.linalg.vector_norm(box[..., 2:] - box[..., :2], dim=-1)
    return torch.where(size.isfinite(), size, 0.0)


def normalised_errors(estimated: Tensor, true: Tensor, visible: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """Errors (N, K) in units of the size (N,), and scored (N, K): labelled joints of people whose size is known."""
    check_shapes(estimated, true, visible)
    size = exact(size)
    if size.shape != torch.as_tensor(visible).shape[:1]:
        raise CourseError(f"there must be one reference size for each person; got {tuple(size.shape)}")
    usable = (size > 0) & size.isfinite()
    scored = labelled_joints(true, visible) & usable[:, None]
    return distances(estimated, true) / torch.where(usable, size, 1.0)[:, None], scored


def pck(
    estimated: Tensor,
    true: Tensor,
    visible: Tensor,
    skeleton: str | Skeleton = "lsp",
    alpha: float = 0.2,
    reference: str | tuple[str, str] | Tensor = "torso",
    comparison: str = "<=",
) -> Marks:
    """PCK@alpha of estimated (N, K, 2) against true (N, K, 2), visible (N, K): d / s <= alpha.

    reference: as in `reference_size`, or the sizes (N,) themselves.
    """
    skeleton = get(skeleton)
    check_shapes(estimated, true, visible, joints=len(skeleton))
    if not isinstance(reference, Tensor):
        reference = reference_size(true, visible, skeleton, reference)
    errors, scored = normalised_errors(estimated, true, visible, reference)
    return Marks(within(errors, alpha, comparison) & scored, scored, skeleton.joints)


def pdj(
    estimated: Tensor,
    true: Tensor,
    visible: Tensor,
    skeleton: str | Skeleton = "lsp",
    alpha: float = 0.2,
    reference: str | tuple[str, str] = "torso",
    comparison: str = "<=",
) -> Marks:
    """PDJ, the percentage of detected joints (DeepPose on FLIC): PCK with a torso diagonal as its size.

    FLIC code uses either diagonal; reference="other_diagonal" is right shoulder to left hip. Papers plot it
    against alpha: see `pck_curve`.
    """
    return pck(estimated, true, visible, skeleton, alpha, reference, comparison)


def pckh(
    estimated: Tensor,
    true: Tensor,
    visible: Tensor,
    head_box: Tensor,
    skeleton: str | Skeleton = "mpii",
    alpha: float = 0.5,
    scale: float = HEAD_SCALE,
    comparison: str = "<=",
    outside: tuple[str, ...] = NOT_IN_PCKH,
) -> Marks:
    """PCKh@alpha of MPII: d / (0.6 x diagonal of the head rectangle) <= alpha.

    head_box (N, 4), NaN where unknown.

    The official conventions are the defaults: every labelled joint counts, hidden or not; pelvis and thorax
    stay outside the mean, the upper neck is inside though no column shows it; the mean is pooled, that is
    weighted by how often a joint is labelled. `columns(marks, "mpii")` is the official table, whose head
    column is the head top alone.

    Traps. PCKh@0.1 means alpha = 0.10 here. The "Mean@0.1" of two well-known repositories reads the twelfth
    entry of a table that starts at 0.00, which is alpha = 0.11; pass 0.11 to compare with them. A PyTorch
    hourglass port averages all 16 joints (outside=()) and uses "<".
    """
    skeleton = get(skeleton)
    check_shapes(estimated, true, visible, joints=len(skeleton))
    errors, scored = normalised_errors(estimated, true, visible, head_size(head_box, scale))
    outside = tuple(name for name in outside if name in skeleton.joints)
    return Marks(within(errors, alpha, comparison) & scored, scored, skeleton.joints, outside)


def columns(marks: Marks, skeleton: str | Skeleton) -> dict[str, float | None]:
    """The table papers print: sides averaged; the head is neck and head top on LSP, head top alone on MPII."""
    return marks.columns(**_COLUMNS.get(get(skeleton).name, {}))


def pck_curve(errors: Tensor, alphas: Tensor, scored: Tensor | None = None, comparison: str = "<=") -> Tensor | None:
    """PCK at every alpha (T,) from normalised errors of any shape: (T,). None where nothing is scored."""
    errors, alphas = exact(errors), exact(alphas)
    errors = errors[scored] if scored is not None else errors.flatten()
    if not len(errors):
        return None
    return within(errors[None], alphas[:, None], comparison).double().mean(-1)


def auc(errors: Tensor, scored: Tensor | None = None, definition: str = "mean", limit: float = 0.2) -> float | None:
    """Area under the PCK curve of normalised errors (any shape), 0 to 1. Say which one: they differ a lot.

    "mean"       mean of PCK at 0, 0.01, ... limit (21 alphas for 0.2) with "<="
    "trapezoid"  the trapezoid rule over the same alphas, divided by the limit
    "mmpose"     mean over i / 20 for i = 0 ... 19 with "<", that library's rule; `limit` is not used
    """
    if definition not in AUC_DEFINITIONS:
        raise unknown_name("AUC definition", definition, AUC_DEFINITIONS)
    if definition == "mmpose":
        curve = pck_curve(errors, exact(range(20)) / 20, scored, "<")
        return None if curve is None else float(curve.mean())
    steps = round(limit * 100)  # counted in whole hundredths, so that 0.07 is the number 0.07
    if steps < 1:
        raise CourseError(f"the area under a PCK curve needs a limit of at least 0.01; got {limit}")
    curve = pck_curve(errors, exact(range(steps + 1)) / 100, scored)
    if curve is None:
        return None
    return float(curve.mean() if definition == "mean" else torch.trapezoid(curve).item() / steps)
