"""Compiled loops of the polychromatic inversion: metal projected, rays modelled, rays inverted.

Every output is written by one task in a fixed order, so results do not depend on the number of threads.
Rays are rows ``r`` of tables; a bin's sub-rays lie side by side in dense arrays ``(view, sub-ray, alloy)``,
and so do the alloys of each of the planes that a slice's signal comes through.
"""

import math

import numpy as np
from numba import njit

FEW = 1e-300
NEWTON_STEPS = 30
TOLERANCE_MM = 1e-6


@njit(nogil=True, cache=True)
def shadows(places, weights, x, y, cos, sin, pixel, step, offset, count, first, last):
    """Where the pixels' shadows fall in the views ``[first, last)``.

    A shadow is linear across the rays, as in Joseph's method, and no wider than two sub-rays' distance.

    Args:
        places: ``(view, pixel)``, the first of the two sub-rays that a pixel's shadow may reach.
        weights: ``(view, pixel, 2)``, mm of the pixel on these two; 0 beyond the detector.
        x: ``(pixel,)`` in mm.
        y: The same.
        cos: ``(view,)``.
        sin: The same.
        pixel: Edge of a pixel in mm, at most that of a sub-ray.
        step: Distance of the sub-rays in mm.
        offset: Of the detector in mm.
        count: Sub-rays.
        first: First view.
        last: Behind the last.
    """
    for view in range(first, last):
        c, s = cos[view], sin[view]
        larger = max(abs(c), abs(s))
        half, height = pixel * larger / step, pixel / larger
        for p in range(len(x)):
            at = (x[p] * c + y[p] * s - offset) / step + (count - 1) / 2
            low = math.floor(at)
            places[view, p] = min(max(low, 0), count - 2)
            for k in range(2):
                n = low + k
                inside = 0 <= n < count and places[view, p] == low
                weights[view, p, k] = height * max(1 - abs(n - at) / half, 0.0) if inside else 0.0


@njit(nogil=True, cache=True)
def project(out, fractions, places, weights, first, last):
    """Paths in mm of the views ``[first, last)`` through ``(pixel, alloy)`` fractions, into ``out`` of zeros.

    ``out`` is ``(view, sub-ray, alloy)``.
    """
    alloys = fractions.shape[1]
    for view in range(first, last):
        for p in range(len(fractions)):
            n, before, behind = places[view, p], weights[view, p, 0], weights[view, p, 1]
            for a in range(alloys):
                out[view, n, a] += before * fractions[p, a]
                out[view, n + 1, a] += behind * fractions[p, a]


@njit(nogil=True, cache=True)
def backproject(out, rays, places, weights, first, last):
    """The transpose of :func:`project` for the pixels ``[first, last)``, into ``out`` of zeros."""
    alloys = out.shape[1]
    for view in range(len(rays)):
        for p in range(first, last):
            n, before, behind = places[view, p], weights[view, p, 0], weights[view, p, 1]
            for a in range(alloys):
                out[p, a] += before * rays[view, n, a] + behind * rays[view, n + 1, a]


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
def model(
    paths,
    water,
    bone,
    stray,
    planes,
    spectrum,
    mu_water,
    mu_bone,
    mu_metal,
    water_fit,
    out,
    slopes,
    first,
    last,
):
    """What the scanner would measure on the rays ``[first, last)``.

    Args:
        paths: ``(ray, sub-ray, plane · alloy)`` in mm.
        water: ``(ray,)`` mm of water, as if there were no metal.
        bone: ``(ray,)`` mm of cortical bone.
        stray: ``(ray,)`` signal that came another way, in that through air.
        planes: ``(plane,)`` share of the signal that comes through each plane, of sum 1.
        spectrum: ``(energy,)`` weights of sum 1.
        mu_water: ``(energy,)`` 1/mm.
        mu_bone: The same.
        mu_metal: ``(alloy, energy)``, less the tissue that the metal replaces.
        water_fit: Coefficients, largest value and straightness of the precorrection.
        out: ``(ray, 4)``: the line integral, its slopes by water and by what was logged, and what was logged.
        slopes: As ``paths``, of the line integral by them.
        first: First ray.
        last: Behind the last.
    """
    coefficients, largest, straight = water_fit
    energies, subs, alloys = len(spectrum), paths.shape[1], len(mu_metal)
    before, left = np.empty(energies), np.empty(energies)
    for r in range(first, last):
        for e in range(energies):
            before[e] = spectrum[e] * math.exp(-mu_water[e] * water[r] - mu_bone[e] * bone[r])
            left[e] = 0.0
        for k in range(subs):
            for p in range(len(planes)):
                at = p * alloys
                for a in range(alloys):
                    slopes[r, k, at + a] = 0.0
                for e in range(energies):
                    through = 0.0
                    for a in range(alloys):
                        through += mu_metal[a, e] * paths[r, k, at + a]
                    arrived = planes[p] * before[e] * math.exp(-through)
                    left[e] += arrived
                    for a in range(alloys):
                        slopes[r, k, at + a] += mu_metal[a, e] * arrived
        total, by_water = subs * stray[r], 0.0
        for e in range(energies):
            total += left[e]
            by_water += mu_water[e] * left[e]
        total = max(total, FEW)
        logged = -math.log(total / subs)
        value, steep = corrected(logged, coefficients, largest, straight)
        out[r, 0], out[r, 1], out[r, 2], out[r, 3] = value, steep * by_water / total, steep, logged
        for k in range(subs):
            for a in range(paths.shape[2]):
                slopes[r, k, a] *= steep / total


@njit(nogil=True, cache=True)
def invert(
    measured,
    paths,
    bone,
    stray,
    planes,
    spectrum,
    mu_water,
    mu_bone,
    mu_metal,
    water_fit,
    bounds,
    water,
    first,
    last,
):
    """Water in mm that explains the rays ``[first, last)``: Newton steps within a shrinking bracket.

    Args:
        measured: ``(ray,)`` line integrals.
        paths: As in :func:`model`.
        bone: As in :func:`model`.
        stray: As in :func:`model`.
        planes: As in :func:`model`.
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
    energies, subs, alloys = len(spectrum), paths.shape[1], len(mu_metal)
    behind = np.empty(energies)
    for r in range(first, last):
        for e in range(energies):
            total = 0.0
            for k in range(subs):
                for p in range(len(planes)):
                    through = mu_bone[e] * bone[r]
                    for a in range(alloys):
                        through += mu_metal[a, e] * paths[r, k, p * alloys + a]
                    total += planes[p] * math.exp(-through)
            behind[e] = spectrum[e] * total / subs
        low, high = bounds
        depth = min(max(water[r], low), high)
        for _ in range(NEWTON_STEPS):
            total, by_water = stray[r], 0.0
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
