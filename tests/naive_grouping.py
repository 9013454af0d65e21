"""Grouping as one would write it down first: one pair, one connection, one person after the other.

The oracle of the tests and the baseline of the benchmark. The points of a line are one array even here, as in most
implementations in Python.
"""

from __future__ import annotations

import numpy as np


def find_peaks(maps: np.ndarray, threshold: float = 0.1) -> list[list[tuple[float, float, float]]]:
    """Of every map (K, H, W): x, y and height of its peaks, the highest first."""
    found = []
    for plane in maps:
        high, wide = plane.shape
        own = []
        for y in range(high):
            for x in range(wide):
                here = plane[y, x]
                if here <= threshold:
                    continue
                around = [
                    ((v, u), plane[v, u])
                    for v in range(max(0, y - 1), min(high, y + 2))
                    for u in range(max(0, x - 1), min(wide, x + 2))
                    if (v, u) != (y, x)
                ]
                if all(here > value if place < (y, x) else here >= value for place, value in around):
                    place = []
                    for at, last, values in ((x, wide - 1, plane[y]), (y, high - 1, plane[:, x])):
                        step = 0.0
                        if 0 < at < last:
                            before, middle, after = np.log(np.maximum(values[at - 1 : at + 2], 1e-10))
                            bend = before - 2 * middle + after
                            step = float(np.clip((before - after) / (2 * bend), -0.5, 0.5)) if bend else 0.0
                        place.append(at + 0.5 + step)
                    own.append((*place, float(here)))
        found.append(sorted(own, key=lambda peak: -peak[2]))
    return found


def integrate(field: np.ndarray, a, b, samples=10, along=0.05, share=0.8, longest=0.5) -> tuple[float, bool]:
    """E from a to b in one limb's field (2, H, W), and whether there may be a limb."""
    _, high, wide = field.shape
    vector = np.subtract(b[:2], a[:2])
    length = float(np.hypot(*vector))
    if length == 0:
        return 0.0, False
    u = (np.arange(samples) + 0.5) / samples
    x = np.clip(a[0] + u * vector[0] - 0.5, 0, wide - 1)
    y = np.clip(a[1] + u * vector[1] - 0.5, 0, high - 1)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    right, low = np.minimum(left + 1, wide - 1), np.minimum(top + 1, high - 1)
    x, y = x - left, y - top
    upper = field[:, top, left] * (1 - x) + field[:, top, right] * x
    lower = field[:, low, left] * (1 - x) + field[:, low, right] * x
    projections = (vector / length) @ (upper * (1 - y) + lower * y)
    score = float(projections.mean()) + min(longest * high / length - 1, 0)
    return score, bool((projections > along).sum() > share * samples + 1e-6 and score > 0)


def connect(peaks, fields: np.ndarray, limbs) -> list[list[tuple[int, int, float]]]:
    """Of every limb the chosen pairs and their scores."""
    connections = []
    for c, (first, second) in enumerate(limbs):
        pairs = []
        for m, a in enumerate(peaks[first]):
            for n, b in enumerate(peaks[second]):
                score, possible = integrate(fields[2 * c : 2 * c + 2], a, b)
                if possible:
                    pairs.append((score, m, n))
        pairs.sort(key=lambda pair: -pair[0])
        taken = []
        for score, m, n in pairs:
            if all(m != other[0] and n != other[1] for other in taken):
                taken.append((m, n, score))
        connections.append(taken)
    return connections


def build(peaks, connections, limbs, redundant=(), least_joints=3, least_score=0.4) -> list[tuple[dict, float]]:
    """People as joint -> (x, y, score), and their scores, the highest first."""
    people = []
    for c, (first, second) in enumerate(limbs):
        for m, n, score in sorted(connections[c]):
            holders = [p for p in people if p["slots"].get(first) == m or p["slots"].get(second) == n]
            if not holders:
                if c not in redundant:
                    people.append({"slots": {first: m, second: n}, "score": score})
            elif len(holders) == 1:
                person = holders[0]
                if person["slots"].get(first) == m and person["slots"].get(second) == n:
                    person["score"] += score
                elif person["slots"].get(first) == m and second not in person["slots"]:
                    person["slots"][second] = n
                    person["score"] += score
                elif person["slots"].get(second) == n and first not in person["slots"]:
                    person["slots"][first] = m
                    person["score"] += score
            else:
                one, two = holders
                if not set(one["slots"]) & set(two["slots"]):
                    one["slots"] |= two["slots"]
                    one["score"] += two["score"] + score
                    people.remove(two)
    result = []
    for person in people:
        joints = {joint: peaks[joint][index] for joint, index in person["slots"].items()}
        total = person["score"] + sum(peak[2] for peak in joints.values())
        if len(joints) >= least_joints and total >= least_score * len(joints):
            result.append((joints, total))
    return sorted(result, key=lambda pair: -pair[1])
