"""Errors of poses in space, in millimetres: MPJPE and its aligned relatives, PCK3D, AUC3D, MPJVE.

Each first says how the estimate P may be moved before it is compared with the truth G:

    MPJPE      "root"        P - P_root + G_root                                  protocol 1
    N-MPJPE    "scale"       the same, times s = sum(p . g) / sum(p . p) on root-centred poses
    PA-MPJPE   "similarity"  s P R + t with the least *squared* error, R a proper rotation     protocol 2

Traps. PA-MPJPE minimises squares, so it can be larger than MPJPE. Without the check for reflections it
forgives a mirrored person, the very error that left/right confusion makes. One library's text exchanges "p"
and "n" while its code does not. The root differs between data sets; a tuple of joints (both hips) means their
middle.

An estimate with a missing joint has infinite error there; since it cannot be aligned by squares either, N-
and PA-MPJPE of that person are infinite at every joint.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_lib.errors import CourseError, unknown_name
from course_lib.metrics.marks import Marks, check_shapes, distances, exact, labelled_joints, within

ALIGNMENTS = ("none", "root", "scale", "similarity")
PCK3D_LIMIT = 150.0  # millimetres, MPI-INF-3DHP
Root = int | tuple[int, ...]


def joint_errors_3d(
    estimated: Tensor, true: Tensor, visible: Tensor | None = None, align: str = "root", root: Root = 0
) -> tuple[Tensor, Tensor]:
    """Errors (N, K) of estimated (N, K, 3) against true (N, K, 3) after alignment, and scored (N, K).

    visible (N, K): None means all labelled. People whose root is not labelled are not scored where the root
    is needed.
    """
    if align not in ALIGNMENTS:
        raise unknown_name("alignment", align, ALIGNMENTS)
    estimated, true = exact(estimated), exact(true)
    visible = torch.ones(true.shape[:-1]) if visible is None else visible
    check_shapes(estimated, true, visible, dimensions=3)
    labelled = labelled_joints(true, visible)
    scored = labelled
    if align in ("root", "scale"):
        where = list(_root(root, true.shape[1]))
        scored = labelled & labelled[:, where].all(-1, keepdim=True)
        estimated = estimated - estimated[:, where].mean(1, keepdim=True)
        true = true - true[:, where].mean(1, keepdim=True)
    if align in ("scale", "similarity"):
        whole = (estimated.isfinite().all(-1) | ~labelled).all(-1)[:, None, None]  # (N, 1, 1)
        if align == "scale":
            moved = best_scale(estimated, true, labelled)[:, None, None] * estimated
        else:
            moved = align_similarity(estimated, true, labelled)[0]
        estimated = torch.where(whole, moved, math.inf)
    return distances(estimated, true), scored


def best_scale(estimated: Tensor, true: Tensor, labelled: Tensor) -> Tensor:
    """s (N,) that minimises |s P - G|^2 over labelled joints: sum(p . g) / sum(p . p); 1 for a P that is all zero."""
    keep = labelled[..., None] & estimated.isfinite()
    p, g = torch.where(keep, estimated, 0.0), torch.where(keep, true, 0.0)
    square = (p * p).sum((-1, -2))
    return torch.where(square > 0, (p * g).sum((-1, -2)) / torch.where(square > 0, square, 1.0), 1.0)


def align_similarity(
    estimated: Tensor, true: Tensor, labelled: Tensor, reflection: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Procrustes: aligned (N, K, 3), scale (N,), R (N, 3, 3) with aligned = scale (P - mean P) R + mean G.

    With (P - mean)^T (G - mean) = U S V^T the answer is R = U D V^T, scale = trace(S D) / |P - mean|^2, where
    D = diag(1, 1, det(U V^T)) keeps R a rotation. reflection=True leaves D out: the well-known bug, here to
    look at.
    """
    estimated, true = exact(estimated), exact(true)
    keep = (torch.as_tensor(labelled).cpu() > 0)[..., None]
    count = keep.sum(1, keepdim=True).clamp(min=1)
    clean = torch.nan_to_num(estimated, nan=0.0, posinf=0.0, neginf=0.0)
    p_mean = torch.where(keep, clean, 0.0).sum(1, keepdim=True) / count
    g_mean = torch.where(keep, true, 0.0).sum(1, keepdim=True) / count
    p, g = torch.where(keep, clean - p_mean, 0.0), torch.where(keep, true - g_mean, 0.0)
    u, singular, vt = torch.linalg.svd(p.transpose(1, 2) @ g)
    signs = torch.ones_like(singular)
    if not reflection:
        signs[:, 2] = torch.linalg.det(u @ vt).sign()
    rotation = (u * signs[:, None, :]) @ vt
    square = (p * p).sum((1, 2))
    scale = torch.where(square > 0, (singular * signs).sum(-1) / torch.where(square > 0, square, 1.0), 1.0)
    aligned = scale[:, None, None] * (estimated - p_mean) @ rotation + g_mean
    return aligned, scale, rotation


def mpjpe(estimated: Tensor, true: Tensor, visible: Tensor | None = None, root: Root | None = 0) -> float | None:
    """Mean per-joint position error after putting the roots together; root=None compares as they are."""
    align = "none" if root is None else "root"
    return _mean(*joint_errors_3d(estimated, true, visible, align, 0 if root is None else root))


def n_mpjpe(estimated: Tensor, true: Tensor, visible: Tensor | None = None, root: Root = 0) -> float | None:
    """MPJPE after the best scale of the root-centred pose: how far off if only the size was unknown."""
    return _mean(*joint_errors_3d(estimated, true, visible, "scale", root))


def pa_mpjpe(estimated: Tensor, true: Tensor, visible: Tensor | None = None) -> float | None:
    """MPJPE after the best similarity (rotation, translation, scale; no mirror image)."""
    return _mean(*joint_errors_3d(estimated, true, visible, "similarity"))


def mpjve(estimated: Tensor, true: Tensor, visible: Tensor | None = None, root: Root | None = None) -> float | None:
    """Mean error of velocities, the first differences over time, of a clip (T, K, 3): millimetres a frame.

    A joint counts in a step where it is labelled in both frames. With a root the poses are first centred on
    it.
    """
    estimated, true = exact(estimated), exact(true)
    visible = torch.ones(true.shape[:-1]) if visible is None else visible
    check_shapes(estimated, true, visible, dimensions=3)
    labelled = labelled_joints(true, visible)
    if root is not None:
        where = list(_root(root, true.shape[1]))
        labelled = labelled & labelled[:, where].all(-1, keepdim=True)
        estimated = estimated - estimated[:, where].mean(1, keepdim=True)
        true = true - true[:, where].mean(1, keepdim=True)
    return _mean(distances(estimated.diff(dim=0), true.diff(dim=0)), labelled[1:] & labelled[:-1])


def pck3d(
    estimated: Tensor,
    true: Tensor,
    visible: Tensor | None = None,
    limit: float = PCK3D_LIMIT,
    root: Root = 0,
    comparison: str = "<",
    names: tuple[str, ...] | None = None,
) -> Marks:
    """Share of joints less than 150 mm off after putting the roots together. Strict "<" is the common code's rule."""
    errors, scored = joint_errors_3d(estimated, true, visible, "root", root)
    names = names or tuple(str(k) for k in range(errors.shape[1]))
    return Marks(within(errors, limit, comparison) & scored, scored, names)


def auc3d(
    estimated: Tensor,
    true: Tensor,
    visible: Tensor | None = None,
    limit: int = 150,
    step: int = 5,
    root: Root = 0,
    comparison: str = "<",
) -> float | None:
    """Mean of PCK3D at 0, 5, ... 150 mm (31 limits). One port for MuPoTS goes on to limit=195."""
    errors, scored = joint_errors_3d(estimated, true, visible, "root", root)
    limits = torch.arange(0, limit + 1, step, dtype=errors.dtype)
    if not bool(scored.any()):
        return None
    return float(within(errors[scored][None], limits[:, None], comparison).double().mean())


def _root(root: Root, joints: int) -> tuple[int, ...]:
    where = (root,) if isinstance(root, int) else tuple(root)
    if not where or not all(0 <= index < joints for index in where):
        raise CourseError(f"the root must be one or more of the {joints} joints, counted from 0; got {root}")
    return where


def _mean(errors: Tensor, scored: Tensor) -> float | None:
    return float(errors[scored].mean()) if bool(scored.any()) else None
