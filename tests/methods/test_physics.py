"""The polychromatic inversion, on data of its own model and on what it must not look at."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from ctmar.case import Scan
from ctmar.config.build import make
from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.methods import MBHC, NMAR, Method, Physics
from ctmar.methods.ensemble import Ensemble
from ctmar.methods.polychromatic.fit import Fitted
from ctmar.methods.polychromatic.inversion import Inversion, Inverted, Prior
from ctmar.methods.polychromatic.noise import photons_seen
from ctmar.methods.polychromatic.rays import LOST, ONE_PLANE, MetalPixels, TraceRays
from ctmar.methods.polychromatic.scatter import scattered
from ctmar.methods.polychromatic.tables import Beam, Floats, Tables
from ctmar.operators import RayTransform
from ctmar.operators.kernels import polychromatic as kernels
from ctmar.physics import Water
from tests.tiny_runs import Compose

GRID, BEAM = ImageGrid((48, 48), 4.0), ParallelBeam(48, 69, 4.0)
NOISELESS = Beam(photons_per_ray=None)
ALLOYS = ("Ti-6Al-4V", "CoCrMo")
TITANIUM, COBALT = 0, 1


@dataclass(frozen=True)
class Told(Method):
    """A completion that is given, under a name of its own."""

    sinogram: Tensor
    name = "told"

    def trace(self, scan: Scan) -> Tensor:
        return self.sinogram


@dataclass(frozen=True)
class World:
    """A disk of water with metal in it, as the model itself sees it."""

    beam: Beam
    tables: Tables
    pixels: MetalPixels
    fractions: Floats
    scan: Scan
    clean: Tensor

    @property
    def trace(self) -> np.ndarray:
        return self.scan.metal_trace[0, 0].numpy()

    def inversion(self, path_error: float = 0.0, beam: Beam | None = None) -> Inversion:
        measured = self.scan.measured[0, 0].double().numpy()
        stray = scattered(measured, self.tables, BEAM.det_spacing_mm)
        return Inversion(
            beam or self.beam, self.tables, self.pixels, self.trace, measured, stray, 1, path_error
        )

    def prior(self, error: float, off: float = 0.0) -> Prior:
        """The truth, off by so much, as a prior that is taken to err by ``error``."""
        line = self.clean[0, 0].double().numpy()
        return Prior(line + off, self.no_bone, scattered(line, self.tables, BEAM.det_spacing_mm), error)

    @property
    def no_bone(self) -> Floats:
        return np.zeros(self.clean.shape[-2:])


def world(
    alloy: int = TITANIUM,
    radius_mm: float = 9.0,
    alloys: tuple[str, ...] = ALLOYS,
    made_of: tuple[str, ...] = ALLOYS,
    full: float = 1.0,
) -> World:
    """What is measured of a rod of one of ``made_of``, porous where not full; noise-free, in float32."""
    tables = NOISELESS.tables(made_of, 120)
    y, x = torch.meshgrid(*2 * [(torch.arange(48) - 23.5) * 4.0], indexing="ij")
    body, mask = x**2 + y**2 < 75**2, (x - 12) ** 2 + (y - 10) ** 2 < radius_mm**2
    ray = RayTransform(GRID, BEAM)
    clean = ray.forward(body.double() * tables.reference_mu)
    pixels = MetalPixels.around(mask.numpy(), GRID, BEAM, refine=2, border=1, subs=2)
    fractions = np.outer(pixels.inside, full * (np.arange(2) == alloy)).astype(float)
    views = np.arange(BEAM.num_angles)
    paths = pixels.seen_by(views).paths(fractions)
    trace = paths.reshape(*BEAM.shape, -1).sum(-1) > 0
    rays = TraceRays.of(trace, views, 2, tables, np.zeros(BEAM.shape))
    listed = rays.listed(paths)
    known = rays.take(clean.numpy())
    water = rays.water_behind(known, rays.without_metal(), np.zeros(len(known)), known / tables.reference_mu)
    measured = clean.clone()
    measured[torch.from_numpy(trace)] = torch.from_numpy(
        rays.model(listed, water, np.zeros(len(known)))[0][:, 0]
    )
    found = torch.from_numpy(trace)[None, None]
    scan = Scan(
        measured=measured.float()[None, None],
        metal_trace=found,
        metal_mask=mask[None, None],
        metal_path_mm=torch.where(found, 10.0, 0.0),
        mu_water=torch.tensor([tables.reference_mu]),
        ray=ray,
        kvp=(120,),
        case_id=("rod",),
    )
    known_tables = NOISELESS.tables(alloys, 120)
    return World(NOISELESS, known_tables, pixels, fractions, scan, clean.float()[None, None])


def fluctuating(trace: Tensor, size: float) -> Tensor:
    """An error of a fill that alternates from bin to bin: no metal explains it."""
    return torch.where(trace, size * (-1.0) ** torch.arange(trace.shape[-1]), 0.0)


def same_bits(first: Tensor, second: Tensor) -> bool:
    return torch.equal(first.contiguous().view(torch.int32), second.contiguous().view(torch.int32))


@pytest.fixture(scope="module")
def rod() -> World:
    return world()


def test_paths_are_those_of_the_ray_transform_and_their_transpose_is_one(rod: World) -> None:
    shadows = rod.pixels.seen_by(np.arange(BEAM.num_angles))
    generator = np.random.default_rng(0)
    fractions = generator.uniform(size=rod.fractions.shape)
    paths = shadows.paths(fractions)
    image = np.zeros((96, 96))
    image[rod.pixels.held] = fractions[:, 0]
    fine = RayTransform(GRID.refine(2), BEAM.refine(2)).forward(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(paths[..., 0], fine, atol=1e-5)
    rays = generator.normal(size=paths.shape)
    left, right = (paths * rays).sum(), (fractions * shadows.back(rays)).sum()
    assert abs(left - right) < 1e-9 * np.linalg.norm(paths) * np.linalg.norm(rays)
    assert abs(left - (fractions * shadows.back(rays[::-1])).sum()) > 1e-3 * abs(left)


def test_pixels_twice_as_large_are_passed_twice_as_long(rod: World) -> None:
    wide = replace(rod.pixels, grid=ImageGrid((96, 96), 4.0), beam=ParallelBeam(48, 69, 8.0))
    views = np.arange(BEAM.num_angles)
    once, twice = (p.seen_by(views).paths(rod.fractions) for p in (rod.pixels, wide))
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-6)


def test_water_reads_as_its_thickness_says() -> None:
    tables = NOISELESS.tables(ALLOYS, 120)
    thickness = np.linspace(0, 500, 26)
    rays = TraceRays(np.arange(1), np.arange(26), 1, tables, np.zeros(26), ONE_PLANE)
    none, dark = rays.without_metal(), np.zeros(26)
    read = rays.model(none, thickness, dark)[0][:, 0]
    np.testing.assert_allclose(read, thickness * tables.reference_mu, atol=4e-3)  # the precorrection's fit
    np.testing.assert_allclose(rays.water_behind(read, none, dark, np.zeros(26)), thickness, atol=1e-4)


def test_few_energies_stand_for_all() -> None:
    few, many = (replace(NOISELESS, energies=n).tables(ALLOYS, 120) for n in (24, 500))
    assert len(few.spectrum) <= 24 < len(many.spectrum)
    for alloy, depth in ((TITANIUM, 40.0), (COBALT, 10.0)):
        paths = np.zeros((1, 1, 2))
        paths[..., alloy] = depth
        at = TraceRays(np.arange(1), np.arange(1), 1, few, np.zeros(1), ONE_PLANE)
        there = paths, np.full(1, 150.0), np.zeros(1)
        first, second = (replace(at, tables=t).model(*there)[0][0, 0] for t in (few, many))
        assert abs(first - second) < 0.006


@pytest.mark.parametrize("planes", [(1.0,), (0.7, 0.2, 0.1)])
def test_slopes_are_those_of_differences(planes: tuple[float, ...]) -> None:
    tables, generator = NOISELESS.tables(ALLOYS, 120), np.random.default_rng(1)
    bone = generator.uniform(0, 30, size=5)
    rays = TraceRays(np.arange(1), np.arange(5), 2, tables, bone, np.array(planes))
    paths = generator.uniform(0, 8, size=(5, 2, rays.columns))
    water, stray = generator.uniform(50, 300, size=5), generator.uniform(0, 1e-4, size=5)
    out, slopes = rays.model(paths, water, stray)
    moved = rays.model(paths, water + 1e-4, stray)[0][:, 0]
    np.testing.assert_allclose((moved - out[:, 0]) / 1e-4, out[:, 1], rtol=1e-4)
    moved = rays.model(paths, water, stray + 1e-9)[0][:, 0]
    np.testing.assert_allclose((moved - out[:, 0]) / 1e-9, -out[:, 2] * np.exp(out[:, 3]), rtol=1e-3)
    for column in (COBALT, rays.columns - 1):
        longer = paths.copy()
        longer[:, 1, column] += 1e-5
        moved = rays.model(longer, water, stray)[0][:, 0]
        np.testing.assert_allclose((moved - out[:, 0]) / 1e-5, slopes[:, 1, column], rtol=1e-3)
    read = out[:, 0]
    np.testing.assert_allclose(rays.water_behind(read, paths, stray, np.zeros(5)), water, atol=1e-3)


def test_the_kernels_exponential_is_the_exponential() -> None:
    x = np.concatenate([np.linspace(-700, 700, 100_001), np.linspace(-2, 2, 1001), [0.0]])
    found = np.array([kernels.exp(value) for value in x[::50]])
    np.testing.assert_allclose(found, np.exp(x[::50]), rtol=1e-10)
    assert kernels.exp(-1e4) < 1e-300 < kernels.exp(1e4) < np.inf


def test_planes_of_the_same_metal_are_one() -> None:
    tables, generator = NOISELESS.tables(ALLOYS, 120), np.random.default_rng(2)
    rays = TraceRays(np.arange(1), np.arange(5), 2, tables, np.zeros(5), ONE_PLANE)
    paths, water, dark = generator.uniform(0, 8, size=(5, 2, 2)), np.full(5, 150.0), np.zeros(5)
    three = replace(rays, planes=np.array([0.7, 0.15, 0.15]))
    first, second = (r.model(p, water, dark)[0] for r, p in ((rays, paths), (three, np.tile(paths, 3))))
    np.testing.assert_allclose(second, first, rtol=1e-12)


@pytest.mark.parametrize("alloy", [TITANIUM, COBALT])
def test_data_of_its_own_model_are_inverted_exactly(alloy: int) -> None:
    own = world(alloy)
    found = own.inversion()(own.prior(0.01), None, 6, 120)
    clean = own.clean[0, 0].numpy()[own.trace]
    assert np.abs(found.clean - clean).max() < 1e-3
    assert np.abs(own.scan.measured[0, 0].numpy()[own.trace] - clean).max() > 1


def test_with_the_metal_known_the_prior_does_not_matter(rod: World) -> None:
    found = rod.inversion()(rod.prior(0.1, off=0.3), Fitted(rod.fractions), 0, 0)
    np.testing.assert_allclose(found.clean, rod.clean[0, 0].numpy()[rod.trace], atol=1e-4)


def test_a_fill_that_errs_is_corrected_by_what_the_rays_say(rod: World) -> None:
    trace = rod.scan.metal_trace
    error = fluctuating(trace, 0.1)
    method = Physics(fill=Told(rod.clean + error), beam=NOISELESS, path_error=0.0)
    done = method.complete(rod.scan)
    assert (done.sinogram - rod.clean)[trace].abs().mean() < 0.25 * error[trace].abs().mean()
    assert same_bits(done.sinogram[~trace], rod.scan.measured[~trace])


def test_the_water_that_a_scan_refers_to_is_a_unit(rod: World) -> None:
    """A scan whose HU refer to half the attenuation holds half the line integrals."""
    half = replace(rod.scan, measured=rod.scan.measured / 2, mu_water=rod.scan.mu_water / 2)
    method = Physics(fill=Told(rod.clean), beam=NOISELESS, rounds=0)
    other = Physics(fill=Told(rod.clean / 2), beam=NOISELESS, rounds=0, fill_error=0.15 / 2)
    first, second = method.complete(rod.scan), other.complete(half)
    torch.testing.assert_close(second.sinogram * 2, first.sinogram, atol=1e-4, rtol=0)
    assert first.deviation is not None and second.deviation is not None
    torch.testing.assert_close(second.deviation * 2, first.deviation, atol=1e-4, rtol=1e-3)


def test_the_path_through_metal_that_a_scan_holds_is_not_read(rod: World) -> None:
    other = replace(rod.scan, metal_path_mm=rod.scan.metal_path_mm * 3 + 1)
    method = Physics(beam=NOISELESS, steps=2)
    first, second = method.complete(rod.scan), method.complete(other)
    assert same_bits(first.sinogram, second.sinogram)
    assert first.deviation is not None and second.deviation is not None
    assert same_bits(first.deviation, second.deviation)
    ramp = torch.linspace(0, 1, rod.scan.measured.shape[-1]) * rod.scan.metal_path_mm
    reads = [
        MBHC().complete(replace(rod.scan, metal_path_mm=p)).sinogram for p in (other.metal_path_mm, ramp)
    ]
    assert not same_bits(*reads)  # a method that does read it


def test_any_number_of_threads_gives_the_same_bits(rod: World) -> None:
    method = Physics(fill=Told(rod.clean + fluctuating(rod.scan.metal_trace, 0.1)), steps=2)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 1, 2, 4):
            torch.set_num_threads(threads)
            found.append(method.complete(rod.scan).sinogram)
    finally:
        torch.set_num_threads(before)
    assert all(same_bits(found[0], other) for other in found[1:])


def test_four_times_the_dose_halves_the_deviation(rod: World) -> None:
    def found(dose: float) -> Inverted:
        beam = Beam(photons_per_ray=dose, electronic_noise=0.0)
        return rod.inversion(beam=beam)(rod.prior(0.1), Fitted(rod.fractions), 0, 0)

    np.testing.assert_allclose(found(1e5).variance, 4 * found(4e5).variance, rtol=1e-6)


@pytest.mark.parametrize("photons", [1e4, 1e5])
def test_photons_are_counted_by_the_noise_of_rays_that_missed_the_metal(rod: World, photons: float) -> None:
    # A disk beside the axis, by its chords; the shadow of metal runs through it.
    at, theta = (np.arange(69) - 34) * 4.0, BEAM.theta[:, None]
    chords = 2 * np.sqrt(np.maximum(75**2 - (at - 20 * np.cos(theta)) ** 2, 0))
    logged, generator = 0.02 * chords, np.random.default_rng(3)
    noisy = -np.log(generator.poisson(photons * np.exp(-logged)) / photons)
    tables = replace(NOISELESS, water=Water(precorrection=False)).tables(ALLOYS, 120)
    assert 0.7 < photons_seen(noisy, rod.trace, tables) / photons < 1.4  # of some 450 differences
    worse = np.where(rod.trace, np.nan, noisy)
    assert photons_seen(worse, rod.trace, tables) == photons_seen(noisy, rod.trace, tables)
    assert photons_seen(noisy, np.ones_like(rod.trace), tables) == np.inf


def test_a_scan_noisier_than_told_is_trusted_less(rod: World) -> None:
    generator, noise = np.random.default_rng(4), torch.zeros_like(rod.scan.measured)
    noise[..., :] = torch.from_numpy(generator.normal(0, 0.05, rod.scan.measured.shape))
    noisy = replace(rod.scan, measured=rod.scan.measured + noise)
    told = [Physics(Told(rod.clean), Beam(photons_per_ray=p), rounds=0) for p in (1e6, 1e7)]
    found = [method.complete(noisy).deviation for method in told]
    assert found[0] is not None and found[1] is not None
    torch.testing.assert_close(found[0], found[1])  # the scan tells of fewer than either
    quiet = told[0].complete(rod.scan).deviation
    assert quiet is not None and found[0].mean() > 1.3 * quiet.mean()


@pytest.mark.parametrize("left", [0.0, 0.02])
def test_scatter_that_was_left_is_found_with_the_metal(rod: World, left: float) -> None:
    """Signal is added to every ray, of the shape that the method takes it to have."""
    line, tables = rod.scan.measured[0, 0].double().numpy(), rod.tables
    for _ in range(5):  # scatter is made by what is measured, scatter included
        stray = left * scattered(line, tables, BEAM.det_spacing_mm)
        logged = -np.log(np.exp(-tables.logged(rod.scan.measured[0, 0].double().numpy())) + stray)
        line = np.interp(logged, *tables.curve)
    own = replace(rod, scan=replace(rod.scan, measured=torch.from_numpy(line)[None, None]))
    fitted = own.inversion().fitted(own.prior(0.01), None, 6, 60)
    assert abs(fitted.left - left) < 0.003


def test_metal_of_the_neighbours_is_told_from_the_slices_own() -> None:
    """A rod that ends between two slices: a fifth of the signal passes beside it."""
    rod = world(COBALT)
    beam = replace(NOISELESS, slice_profile=(0.0, 0.8, 0.2))
    views, planes = np.arange(BEAM.num_angles), np.array([0.8, 0.0, 0.2])
    rays = TraceRays.of(rod.trace, views, 2, rod.tables, rod.no_bone, planes)
    own = rays.listed(rod.pixels.seen_by(views).paths(rod.fractions))
    paths = np.concatenate([own, np.zeros_like(own), np.zeros_like(own)], -1)
    none, dark = rays.without_metal(), np.zeros(len(own))
    water = rays.water_behind(rays.take(rod.clean[0, 0].numpy()), none, dark, dark)
    measured = rod.scan.measured.clone()
    read = torch.from_numpy(rays.model(paths, water, dark)[0][:, 0]).float()
    measured[0, 0][torch.from_numpy(rod.trace)] = read
    scan = replace(rod.scan, measured=measured)
    # Below the same slice, above none of the metal.
    stack = torch.cat([scan.measured, scan.measured, rod.clean], 1)
    mask = torch.cat([scan.metal_mask, scan.metal_mask, torch.zeros_like(scan.metal_mask)], 1)
    trace = torch.cat([scan.metal_trace, scan.metal_trace, torch.zeros_like(scan.metal_trace)], 1)
    three = replace(
        scan, measured=stack, metal_mask=mask, metal_trace=trace, metal_path_mm=torch.zeros_like(stack)
    )
    fill = rod.clean
    errors = [
        (Physics(fill=Told(told), beam=b, rounds=0).complete(s).sinogram[:, n] - rod.clean[:, 0])[
            scan.metal_trace[:, 0]
        ]
        for told, b, s, n in ((fill, NOISELESS, scan, 0), (fill.expand_as(stack), beam, three, 1))
    ]
    assert errors[1].abs().mean() < 0.75 * errors[0].abs().mean()


def test_a_profile_that_is_told_asks_for_the_neighbours() -> None:
    assert Physics().neighbours == 0 and Physics().slices is None
    told = Physics(beam=Beam(slice_profile=(0.15, 0.7, 0.15)))
    assert told.neighbours == 1 and told.slices is None
    assert Ensemble({"a": NMAR(), "b": told}, [1.0, 1.0]).neighbours == 1


def test_what_is_not_explained_counts_as_photons_do(rod: World) -> None:
    logged = np.array([0.0, 5.0, 9.0])
    dark = np.zeros(3)
    stray = Beam(electronic_noise=0.0, unexplained=2e-4).variance(logged, dark)
    electronics = Beam(electronic_noise=200.0).variance(logged, dark)
    np.testing.assert_allclose(stray, electronics, rtol=1e-12)
    assert (stray > Beam().variance(logged, dark)).all()


def test_starved_rays_are_left_to_the_prior_and_say_so(rod: World) -> None:
    trace, fill = rod.scan.metal_trace, rod.clean + fluctuating(rod.scan.metal_trace, 0.1)
    dark = Physics(fill=Told(fill), beam=Beam(photons_per_ray=1.0), rounds=0)
    done = dark.complete(rod.scan)
    assert (done.sinogram - fill)[trace].abs().max() < 0.01
    assert done.deviation is not None
    torch.testing.assert_close(done.deviation[trace], torch.full_like(fill[trace], 0.15), atol=0.01, rtol=0)
    assert torch.count_nonzero(done.deviation[~trace]) == 0
    lit = Physics(fill=Told(fill), beam=NOISELESS, rounds=0).complete(rod.scan)
    assert lit.deviation is not None and lit.deviation[trace].mean() < 0.5 * 0.15


def test_a_wrong_alloy_shows_in_what_it_leaves_unexplained() -> None:
    misfits = {}
    for alloys in (("Ti-6Al-4V",), ("tantalum",)):
        own = world(TITANIUM, alloys=alloys)
        misfits[alloys[0]] = own.inversion(beam=Beam()).fitted(own.prior(0.01), None, 4, 40).misfit
    assert misfits["tantalum"] > 10 * misfits["Ti-6Al-4V"]


def test_what_no_listed_alloy_explains_is_taken_for_heavier_metal() -> None:
    own = world(radius_mm=4.5, made_of=("tantalum", "CoCrMo"), full=0.1)
    trace, fill = own.scan.metal_trace, own.clean + fluctuating(own.scan.metal_trace, 0.1)
    errors = {}
    for heavier in (Physics().heavier, ALLOYS, ()):
        done = Physics(Told(fill), NOISELESS, heavier=heavier, path_error=0.0, rounds=0).complete(own.scan)
        errors[heavier] = (done.sinogram - own.clean)[trace].abs().mean()
    assert errors["CoCrMo", "tantalum"] < 0.08
    # Explained by neither, the fill stands.
    for none in (errors[ALLOYS], errors[()]):
        torch.testing.assert_close(none, torch.tensor(0.1), atol=1e-6, rtol=0)


def test_light_metal_is_inverted() -> None:
    own = world(full=0.3)
    fill = own.clean + fluctuating(own.scan.metal_trace, 0.1)
    light = Physics(Told(fill)).complete(own.scan).sinogram - own.clean
    assert light[own.scan.metal_trace].abs().mean() < 0.03


def test_what_an_image_lost_where_it_was_cut_off_is_found(rod: World) -> None:
    views = np.arange(BEAM.num_angles)
    through = rod.pixels.seen_by(views).paths(rod.pixels.inside[:, None].astype(float))
    lost = 0.8 * LOST * rod.tables.reference_mu * through.reshape(*BEAM.shape, 2).mean(-1)
    whole, clean = rod.inversion(), rod.clean[0, 0].numpy()[rod.trace]
    cut = replace(whole, measured=whole.measured - lost)
    errors = {
        clipped: np.abs(replace(cut, clipped=clipped)(rod.prior(0.05), None, 6, 60).clean - clean).mean()
        for clipped in (True, False)
    }
    assert errors[True] < 0.02 and errors[False] > 0.04


def test_nothing_measured_behind_metal_leaves_the_fill(rod: World) -> None:
    ideal = replace(rod.scan, measured=torch.where(rod.scan.metal_trace, 0.0, rod.scan.measured))
    done = Physics(fill=Told(rod.clean)).complete(ideal)
    trace = rod.scan.metal_trace
    assert same_bits(done.sinogram[trace], rod.clean[trace])
    empty = replace(rod.scan, metal_trace=torch.zeros_like(trace), metal_mask=rod.scan.metal_mask & False)
    done = Physics().complete(empty)
    assert same_bits(done.sinogram, empty.measured) and done.deviation is not None
    assert torch.count_nonzero(done.deviation) == 0


def test_a_voltage_between_the_tables_takes_the_nearest() -> None:
    nearest, own = Beam().tables(ALLOYS, 118.7), Beam(kvp=80).tables(ALLOYS, 118.7)
    assert nearest is Beam().tables(ALLOYS, 120) and nearest is Beam().tables(ALLOYS, None)
    assert own is Beam().tables(ALLOYS, 80) and own is not nearest


def test_the_config_is_the_class_with_its_defaults(tiny: Compose) -> None:
    method = make(tiny("model=physics").model)
    assert method == Physics() and method.key == "physics"
    other = make(tiny("model=physics", "scanner=low_dose").model)
    assert other.beam.photons_per_ray != Physics().beam.photons_per_ray and other.key != "physics"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"prior_error": 0.0}, "prior_error must be positive, got 0.0"),
        ({"path_error": -1.0}, "path_error must not be negative, got -1.0"),
        ({"rounds": -1}, "rounds must be a whole number from 0, got -1"),
        ({"steps": 1.5}, "steps must be a whole number from 1, got 1.5"),
    ],
)
def test_what_is_out_of_range_is_said(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(CtmarError, match=message):
        Physics(**wrong)  # type: ignore[arg-type]


def test_a_beam_out_of_range_is_said(rod: World) -> None:
    with pytest.raises(CtmarError, match="photons_per_ray must be positive or null, got 0"):
        Beam(photons_per_ray=0)
    with pytest.raises(CtmarError, match="energies must be a whole number of at least 2, got 1"):
        Beam(energies=1)
    with pytest.raises(CtmarError, match="alloys must name at least one material, got none"):
        Physics(alloys=()).complete(rod.scan)
