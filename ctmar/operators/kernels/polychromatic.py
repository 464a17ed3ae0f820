"""Compiled loops of the polychromatic inversion: metal projected, rays modelled, rays inverted.

Every output is written by one task in a fixed order, so results do not depend on the number of threads.
Rays are rows ``r`` of tables; a bin's sub-rays lie side by side in dense arrays ``(view, sub-ray, alloy)``.
"""

import math

import numpy as np
from numba import njit

FEW = 1e-300
NEWTON_STEPS = 30
TOLERANCE_MM = 1e-6


@njit(nogil=True, cache=True)
def _reach(place, half, count):
    """First and last sub-ray that a pixel's shadow reaches."""
    return max(math.ceil(place - half), 0), min(math.floor(place + half), count - 1)


@njit(nogil=True, cache=True)
def project(out, fractions, x, y, cos, sin, pixel, step, offset, first, last):
    """Paths in mm through ``(pixel, alloy)`` fractions of the views ``[first, last)``, into ``out`` of zeros.

    The weights are Joseph's: linear across the rays, as the ray transform's own.
    """
    count, alloys = out.shape[1], out.shape[2]
    for view in range(first, last):
        c, s = cos[view], sin[view]
        larger = max(abs(c), abs(s))
        half, height = pixel * larger / step, pixel / larger
        for p in range(len(x)):
            place = (x[p] * c + y[p] * s - offset) / step + (count - 1) / 2
            low, high = _reach(place, half, count)
            for n in range(low, high + 1):
                weight = height * (1 - abs(n - place) / half)
                for a in range(alloys):
                    out[view, n, a] += weight * fractions[p, a]


@njit(nogil=True, cache=True)
def backproject(out, rays, x, y, cos, sin, pixel, step, offset, first, last):
    """The transpose of :func:`project` for the pixels ``[first, last)``."""
    count, alloys = rays.shape[1], rays.shape[2]
    for p in range(first, last):
        for a in range(alloys):
            out[p, a] = 0.0
        for view in range(len(cos)):
            c, s = cos[view], sin[view]
            larger = max(abs(c), abs(s))
            half, height = pixel * larger / step, pixel / larger
            place = (x[p] * c + y[p] * s - offset) / step + (count - 1) / 2
            low, high = _reach(place, half, count)
            for n in range(low, high + 1):
                weight = height * (1 - abs(n - place) / half)
                for a in range(alloys):
                    out[p, a] += weight * rays[view, n, a]


@njit(nogil=True, cache=True)
def corrected(g, coefficients, largest, straight):
    """The water precorrection of ``g`` and its slope there."""
    inside = min(g, largest) if straight else g
    scaled = inside / largest
    value, slope = 0.0, 0.0
    for n in range(len(coefficients) - 1, -1, -1):
        slope = slope * scaled + (n + 1) * coefficients[n]
        value = (value + coefficients[n]) * scaled
    slope /= largest
    return value + (g - inside) * slope, slope


@njit(nogil=True, cache=True)
def model(paths, water, bone, spectrum, mu_water, mu_bone, mu_metal, water_fit, out, slopes, first, last):
    """What the scanner would measure on the rays ``[first, last)``.

    Args:
        paths: ``(ray, sub-ray, alloy)`` in mm.
        water: ``(ray,)`` mm of water, as if there were no metal.
        bone: ``(ray,)`` mm of cortical bone.
        spectrum: ``(energy,)`` weights of sum 1.
        mu_water: ``(energy,)`` 1/mm.
        mu_bone: The same.
        mu_metal: ``(alloy, energy)``, less the tissue that the metal replaces.
        water_fit: Coefficients, largest value and straightness of the precorrection.
        out: ``(ray, 4)``: the line integral, its slopes by water and by what was logged, and what was logged.
        slopes: ``(ray, sub-ray, alloy)`` of the line integral by the paths.
        first: First ray.
        last: Behind the last.
    """
    coefficients, largest, straight = water_fit
    energies, subs, alloys = len(spectrum), paths.shape[1], paths.shape[2]
    before, left = np.empty(energies), np.empty(energies)
    for r in range(first, last):
        for e in range(energies):
            before[e] = spectrum[e] * math.exp(-mu_water[e] * water[r] - mu_bone[e] * bone[r])
            left[e] = 0.0
        for k in range(subs):
            for a in range(alloys):
                slopes[r, k, a] = 0.0
            for e in range(energies):
                through = 0.0
                for a in range(alloys):
                    through += mu_metal[a, e] * paths[r, k, a]
                arrived = before[e] * math.exp(-through)
                left[e] += arrived
                for a in range(alloys):
                    slopes[r, k, a] += mu_metal[a, e] * arrived
        total, by_water = 0.0, 0.0
        for e in range(energies):
            total += left[e]
            by_water += mu_water[e] * left[e]
        total = max(total, FEW)
        logged = -math.log(total / subs)
        value, steep = corrected(logged, coefficients, largest, straight)
        out[r, 0], out[r, 1], out[r, 2], out[r, 3] = value, steep * by_water / total, steep, logged
        for k in range(subs):
            for a in range(alloys):
                slopes[r, k, a] *= steep / total


@njit(nogil=True, cache=True)
def invert(
    measured, paths, bone, spectrum, mu_water, mu_bone, mu_metal, water_fit, bounds, water, first, last
):
    """Water in mm that explains the rays ``[first, last)``: Newton steps within a shrinking bracket.

    Args:
        measured: ``(ray,)`` line integrals.
        paths: As in :func:`model`.
        bone: As in :func:`model`.
        spectrum: As in :func:`model`.
        mu_water: As in :func:`model`.
        mu_bone: As in :func:`model`.
        mu_metal: As in :func:`model`.
        water_fit: As in :func:`model`.
        bounds: Least and most water.
        water: ``(ray,)``, where to start; the answer.
        first: First ray.
        last: Behind the last.
    """
    coefficients, largest, straight = water_fit
    energies, subs, alloys = len(spectrum), paths.shape[1], paths.shape[2]
    behind = np.empty(energies)
    for r in range(first, last):
        for e in range(energies):
            total = 0.0
            for k in range(subs):
                through = mu_bone[e] * bone[r]
                for a in range(alloys):
                    through += mu_metal[a, e] * paths[r, k, a]
                total += math.exp(-through)
            behind[e] = spectrum[e] * total / subs
        low, high = bounds
        depth = min(max(water[r], low), high)
        for _ in range(NEWTON_STEPS):
            total, by_water = 0.0, 0.0
            for e in range(energies):
                arrived = behind[e] * math.exp(-mu_water[e] * depth)
                total += arrived
                by_water += mu_water[e] * arrived
            total = max(total, FEW)
            value, steep = corrected(-math.log(total), coefficients, largest, straight)
            missing = measured[r] - value
            if missing > 0:
                low = depth
            else:
                high = depth
            slope = steep * by_water / total
            ahead = depth + missing / slope if slope > 0 else 0.5 * (low + high)
            if not (low <= ahead <= high):
                ahead = 0.5 * (low + high)
            moved = abs(ahead - depth)
            depth = ahead
            if moved < TOLERANCE_MM:
                break
        water[r] = depth
