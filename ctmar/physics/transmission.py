"""Beer and Lambert over a spectrum: what materials on a ray leave of the signal and of its variance."""

from torch import Tensor

RAYS_AT_ONCE = 4096
"""As many rays times energies stay in cache between the product, the exponential and the sums."""


def transmitted(paths: Tensor, mu: Tensor, weights: Tensor) -> Tensor:
    """``Σ_E w(E) exp(-Σ_m μ_m(E) L_m)`` for several weightings of the energies at once.

    A block of rays at a time: energies × views × bins are never held at once.

    Args:
        paths: ``(material, ...)`` path lengths in mm at the materials' own densities, float32.
        mu: ``(material, energy)`` attenuation in 1/mm.
        weights: ``(weighting, energy)``.

    Returns:
        ``(weighting, ...)``.
    """
    flat = paths.reshape(len(paths), -1)
    through = (flat != 0).any(0)
    rays = flat[:, through]
    left = flat.new_empty((len(weights), rays.shape[1]))
    for start in range(0, rays.shape[1], RAYS_AT_ONCE):
        block = slice(start, start + RAYS_AT_ONCE)
        by_energy = (rays[:, block].T @ -mu).exp_()
        for n, weight in enumerate(weights):
            left[n, block] = by_energy @ weight
    out = weights.sum(1, keepdim=True).repeat(1, flat.shape[1])
    out[:, through] = left
    return out.reshape(-1, *paths.shape[1:])
