"""Operators in NumPy, as one would write them, over a batch along the first axes."""

from collections.abc import Callable
from typing import Any

import numpy as np


def soft(v: np.ndarray, t: Any) -> np.ndarray:
    return np.sign(v) * np.maximum(np.abs(v) - t, 0)


def l_half(v: np.ndarray, t: float) -> np.ndarray:
    size = np.maximum(np.abs(v), 1.5 * t ** (2 / 3))
    angle = np.arccos(-(t / 4) * (size / 3) ** -1.5)
    root = 2 / 3 * v * (1 + np.cos(2 / 3 * angle))
    return np.where(np.abs(v) > 1.5 * t ** (2 / 3), root, 0)


def mcp(v: np.ndarray, step: float, lam: float, gamma: float) -> np.ndarray:
    return np.where(np.abs(v) > gamma * lam, v, soft(v, step * lam) / (1 - step / gamma))


def scad(v: np.ndarray, step: float, lam: float, gamma: float) -> np.ndarray:
    size, rest = np.abs(v), gamma - 1 - step
    sloped = ((gamma - 1) * v - step * gamma * lam * np.sign(v)) / rest
    middle = np.where(size > gamma * lam, v, sloped)
    return np.where(size <= (1 + step) * lam, soft(v, step * lam), middle)


def log_sum(v: np.ndarray, t: float, epsilon: float) -> np.ndarray:
    size = np.abs(v)
    root = (size - epsilon + np.sqrt(np.maximum((size + epsilon) ** 2 - 4 * t, 0))) / 2
    root = np.maximum(root, 0)
    better = t * np.log1p(root / epsilon) + root * (root / 2 - size) < 0
    return np.where(((size + epsilon) ** 2 > 4 * t) & better, np.sign(v) * root, 0)


def capped_l1(v: np.ndarray, t: float, theta: float) -> np.ndarray:
    return np.where(np.abs(v) > theta + t / 2, v, soft(v, t))


def length(v: np.ndarray) -> np.ndarray:
    return np.sqrt(np.sum(v * v, -1, keepdims=True))


def block_soft(v: np.ndarray, t: float) -> np.ndarray:
    size = length(v)
    return np.maximum(1 - t / np.where(size == 0, 1, size), 0) * v


def in_groups(f: Callable, v: np.ndarray, *parameters: Any) -> np.ndarray:
    """f of groups of ten along the last axis."""
    return f(v.reshape(*v.shape[:-1], -1, 10), *parameters).reshape(v.shape)


def block_soft_in_metric(v: np.ndarray, t: float, step: np.ndarray) -> np.ndarray:
    """Newton's method from the left on `1 / |v / (r + t step)| - 1`."""
    step = step.reshape(-1, 10)
    active = np.sum((v / step) ** 2, -1, keepdims=True) > t * t
    r = np.zeros_like(active, v.dtype)
    for _ in range(60):
        ratio = v / (r + t * step)
        h = np.sum(ratio**2, -1, keepdims=True)
        slope = np.sum(ratio**2 / (r + t * step), -1, keepdims=True)
        move = np.where(active, h * (np.sqrt(h) - 1) / slope, 0)
        r = np.maximum(r + move, 0)
        if np.all(np.abs(move) <= 1e-15 * r):
            break
    return r / (r + t * step) * v


def pool(v: np.ndarray, f: Callable) -> np.ndarray:
    """SLOPE from an isotonic regression f."""
    order = np.argsort(-np.abs(v))
    shrunk = np.empty_like(v)
    shrunk[order] = f(np.abs(v)[order])
    return np.sign(v) * np.maximum(shrunk, 0)


def lifted(f: Callable, V: np.ndarray, *parameters: Any) -> np.ndarray:
    U, sigma, Wt = np.linalg.svd(V, full_matrices=False)
    return (U * f(sigma, *parameters)[..., None, :]) @ Wt


def simplex(v: np.ndarray, total: float) -> np.ndarray:
    falling = -np.sort(-v, -1)
    excess = np.cumsum(falling, -1) - total
    count = np.sum(falling * np.arange(1, v.shape[-1] + 1) > excess, -1, keepdims=True)
    return np.maximum(v - np.take_along_axis(excess, count - 1, -1) / count, 0)


def l1_ball(v: np.ndarray, radius: float) -> np.ndarray:
    inside = np.sum(np.abs(v), -1, keepdims=True) <= radius
    return np.where(inside, v, np.sign(v) * simplex(np.abs(v), radius))


def section(v: np.ndarray, lower: Any, upper: Any, a: Any, b: float) -> np.ndarray:
    """Bisection on the multiplier, then one Newton step, which is exact in the last piece."""
    low, high = np.full((*v.shape[:-1], 1), -100.0), np.full((*v.shape[:-1], 1), 100.0)
    for _ in range(60):
        tau = (low + high) / 2
        above = np.sum(a * np.clip(v - tau * a, lower, upper), -1, keepdims=True) > b
        low, high = np.where(above, tau, low), np.where(above, high, tau)
    return np.clip(v - tau * a, lower, upper)


def l0_ball(v: np.ndarray, k: float) -> np.ndarray:
    z, rest = v.copy(), np.argpartition(-np.abs(v), int(k), -1)[..., int(k) :]
    np.put_along_axis(z, rest, 0, -1)
    return z


def linf_sphere(v: np.ndarray, radius: float) -> np.ndarray:
    z, at = np.clip(v, -radius, radius), np.argmax(np.abs(v), -1, keepdims=True)
    np.put_along_axis(z, at, np.sign(np.take_along_axis(v, at, -1)) * radius, -1)
    return z


def halfspace(v: np.ndarray, a: np.ndarray, low: float, high: float) -> np.ndarray:
    at = (v @ a)[..., None]
    return v - (at - np.clip(at, low, high)) / (a @ a) * a


def psd(V: np.ndarray) -> np.ndarray:
    values, U = np.linalg.eigh((V + np.swapaxes(V, -1, -2)) / 2)
    return (U * np.maximum(values, 0)[..., None, :]) @ np.swapaxes(U, -1, -2)
