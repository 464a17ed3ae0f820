"""Compiled loops of the polychromatic inversion: metal projected, rays modelled, rays inverted.

Every output is written by one task in a fixed order, so results do not depend on the number of threads.
Rays are rows ``r`` of tables; a bin's sub-rays lie side by side in dense arrays ``(view, sub-ray, alloy)``,
and so do the alloys of each of the planes that a slice's signal comes through.
"""

import math

import numpy as np
from numba import njit

FEW = 1e-300
LOG2E = 1 / math.log(2)
LEAST_POWER = -1022
POWERS = 2.0 ** np.arange(LEAST_POWER, 1024)
SERIES = tuple(math.log(2) ** n / math.factorial(n) for n in range(10))
REORDERED = {"reassoc", "nsz"}
"""Sums over energies may be taken in any order, which is the same for any number of threads."""
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
        if alloys == 2:  # the usual number: two values in registers
            for p in range(len(fractions)):
                n, before, behind = np.uint32(places[view, p]), weights[view, p, 0], weights[view, p, 1]
                one, other = fractions[p, 0], fractions[p, 1]
                out[view, n, 0] += before * one
                out[view, n, 1] += before * other
                out[view, n + 1, 0] += behind * one
                out[view, n + 1, 1] += behind * other
            continue
        for p in range(len(fractions)):
            n, before, behind = np.uint32(places[view, p]), weights[view, p, 0], weights[view, p, 1]
            for a in range(alloys):
                out[view, n, a] += before * fractions[p, a]
                out[view, n + 1, a] += behind * fractions[p, a]


@njit(nogil=True, cache=True)
def backproject(out, rays, places, weights, first, last):
    """The transpose of :func:`project` for the pixels ``[first, last)``, into ``out`` of zeros."""
    alloys = out.shape[1]
    for view in range(len(rays)):
        if alloys == 2:
            for p in range(first, last):
                n, before, behind = np.uint32(places[view, p]), weights[view, p, 0], weights[view, p, 1]
                out[p, 0] += before * rays[view, n, 0] + behind * rays[view, n + 1, 0]
                out[p, 1] += before * rays[view, n, 1] + behind * rays[view, n + 1, 1]
            continue
        for p in range(first, last):
            n, before, behind = np.uint32(places[view, p]), weights[view, p, 0], weights[view, p, 1]
            for a in range(alloys):
                out[p, a] += before * rays[view, n, a] + behind * rays[view, n + 1, a]


@njit(nogil=True, cache=True, inline="always")
def exp(x):
    """``e^x`` to 1e-11 of itself, 0.0 made 2^-1022; unlike ``math.exp`` it runs on several values at once."""
    y = min(max(x * LOG2E, LEAST_POWER), 1023.0)
    whole = math.floor(y + 0.5)
    part = y - whole
    power = SERIES[9]
    for n in range(8, -1, -1):
        power = power * part + SERIES[n]
    return power * POWERS[int(whole) - LEAST_POWER]


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


@njit(nogil=True, cache=True, inline="always")
def passed(out, paths, mu_metal):
    """Share ``(energy,)`` of the signal that ``(alloy,)`` mm of metal let pass, into ``out``."""
    energies = len(out)
    for e in range(energies):
        out[e] = 0.0
    for a in range(len(mu_metal)):
        for e in range(energies):
            out[e] -= mu_metal[a, e] * paths[a]
    for e in range(energies):
        out[e] = exp(out[e])


@njit(nogil=True, cache=True, fastmath=REORDERED)
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
    before, left, arrived = np.empty(energies), np.empty(energies), np.empty(energies)
    for r in range(first, last):
        for e in range(energies):
            before[e] = spectrum[e] * exp(-mu_water[e] * water[r] - mu_bone[e] * bone[r])
            left[e] = 0.0
        for k in range(subs):
            for p in range(len(planes)):
                at = p * alloys
                passed(arrived, paths[r, k, at : at + alloys], mu_metal)
                for e in range(energies):
                    arrived[e] *= planes[p] * before[e]
                    left[e] += arrived[e]
                for a in range(alloys):
                    slope = 0.0
                    for e in range(energies):
                        slope += mu_metal[a, e] * arrived[e]
                    slopes[r, k, at + a] = slope
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


@njit(nogil=True, cache=True, fastmath=REORDERED)
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
    behind, arrived = np.empty(energies), np.empty(energies)
    for r in range(first, last):
        behind[:] = 0.0
        for k in range(subs):
            for p in range(len(planes)):
                passed(arrived, paths[r, k, p * alloys : (p + 1) * alloys], mu_metal)
                for e in range(energies):
                    behind[e] += planes[p] * arrived[e]
        for e in range(energies):
            behind[e] *= spectrum[e] / subs * exp(-mu_bone[e] * bone[r])
        low, high = bounds
        depth = min(max(water[r], low), high)
        for _ in range(NEWTON_STEPS):
            total, by_water = stray[r], 0.0
            for e in range(energies):
                came = behind[e] * exp(-mu_water[e] * depth)
                total += came
                by_water += mu_water[e] * came
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
