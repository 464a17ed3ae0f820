"""``ctmar correct INPUT OUTPUT``: the arguments, a progress bar, and the method by name or checkpoint."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctmar.clinical.job import EXTRAS, MakeMethod, Wish, correct_file
from ctmar.clinical.methods import Classical, Method
from ctmar.errors import CtmarError

if TYPE_CHECKING:
    from ctmar.clinical.network import NetworkMethod
TRACE_EPSILON_MM = 0.1
"""Of every scanner preset that networks are trained with."""


def run(arguments: argparse.Namespace) -> None:
    """Corrects a scan as the arguments say."""
    set_threads(arguments.threads)
    also = tuple(part for part in arguments.also.split(",") if part)
    unknown = [part for part in also if part not in EXTRAS]
    if unknown:
        raise CtmarError(f"--also must be from {', '.join(EXTRAS)}, got {unknown[0]!r}")
    if "seg" in also:
        from ctmar.clinical.segmentation import require_highdicom

        require_highdicom()
    wish = wish_of(arguments, also, arguments.overwrite)
    say = Bar.silent if arguments.quiet else Bar.say
    with Bar(arguments.quiet) as bar:
        correct_file(arguments.input, arguments.output, _method(arguments), wish, say, bar.update)


def wish_of(arguments: argparse.Namespace, also: tuple[str, ...] = (), overwrite: bool = False) -> Wish:
    """What is asked of the metal and the series."""
    return Wish(
        high_hu=arguments.threshold,
        low_hu=arguments.threshold_low,
        min_area_mm2=arguments.min_area,
        series=arguments.series,
        also=also,
        overwrite=overwrite,
    )


def set_threads(threads: int | None) -> None:
    """Torch's threads, where a number is given."""
    if threads is None:
        return
    if threads < 1:
        raise CtmarError(f"--threads must be 1 or more, got {threads}")
    import torch

    torch.set_num_threads(threads)


def _method(arguments: argparse.Namespace) -> MakeMethod:
    if arguments.checkpoint is None and arguments.method == "pretrained":
        return lambda clipped: pretrained(shipped(clipped))
    if arguments.checkpoint is None:
        classical = Classical(arguments.method)
        return lambda clipped: classical
    method = method_from_checkpoint(arguments.checkpoint)

    def fitting(clipped: bool) -> Method:
        if clipped and method.trained.extended_scale:
            Bar.say(
                "the network was trained on images that hold metal's own HU; this scan's values are cut off"
            )
        return method

    return fitting


def shipped(clipped: bool) -> str:
    """The shipped weights for scans whose values are cut off in metal, or are not."""
    return "image" if clipped else "image_extended"


def pretrained(weights: str) -> "NetworkMethod":
    """A network that is shipped, or a ``.safetensors`` file, for stored images."""
    from ctmar.clinical.methods import MU_WATER
    from ctmar.clinical.network import NetworkMethod, Trained
    from ctmar.geometry import ImageGrid
    from ctmar.models.pretrained import load

    model = load(weights)
    told = model.card["trained_on"]
    grid = told["geometry"]["grid"]
    trained = Trained(
        grid=ImageGrid((grid["shape"][0], grid["shape"][1]), grid["spacing_mm"]),
        beam=model.trained,
        mu_water=model.card.get("mu_water", MU_WATER),  # cards of before the entry lack it
        trace_epsilon_mm=float(told["scanner"].get("trace_epsilon_mm", TRACE_EPSILON_MM)),
        extended_scale=bool(told["data"].get("extended_scale", False)),
    )
    return NetworkMethod(model.network.eval(), trained, "pretrained")


def method_from_checkpoint(path: Path) -> "NetworkMethod":
    """A network of a ctmar run, for stored images."""
    if path.suffix == ".safetensors":
        return pretrained(str(path))
    from ctmar.clinical.network import NetworkMethod, Trained
    from ctmar.evaluation import has_own_image
    from ctmar.runs.build import build_model, make
    from ctmar.runs.evaluate import load_checkpoint, load_weights
    from ctmar.runs.trust import config_of

    checkpoint: dict[str, Any] = load_checkpoint(str(path))
    cfg = config_of(checkpoint)
    model = build_model(cfg)
    if has_own_image(model):
        # What is promised of a corrected scan rests on its rays, to which such an image is not bound.
        refine = cfg.model.get("refine", "none")
        own = f"model.refine={refine}" if refine != "none" else f"{cfg.model._target_}, which has an image"
        raise CtmarError(f"checkpoint must be of a completion alone, got {own}")
    load_weights(model, checkpoint)
    if cfg.data.source != "image":
        Bar.say(f"the network was trained on data.source={cfg.data.source}; stored images want image")
    scanner = make(cfg.scanner)
    trained = Trained(
        grid=make(cfg.geometry.grid),
        beam=make(cfg.geometry.beam),
        mu_water=scanner.mu_water,
        trace_epsilon_mm=scanner.trace_epsilon_mm,
        extended_scale=bool(cfg.data.get("extended_scale", False)),
    )
    return NetworkMethod(model, trained, str(cfg.model._target_).rpartition(".")[2].lower())


class Bar:
    """A progress bar on a terminal; nothing elsewhere."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet or not sys.stderr.isatty()
        self._bar: Any = None
        self._what = ""

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, what: str, done: int, total: int) -> None:
        """Moves the bar of ``what``."""
        if self.quiet:
            return
        from tqdm import tqdm

        if what != self._what:
            if self._bar is not None:
                self._bar.close()
            self._what, self._bar = what, tqdm(total=total, desc=what, unit="slice", leave=False)
        self._bar.update(done - self._bar.n)

    @staticmethod
    def say(line: str) -> None:
        """A line to the reader, above the bar."""
        from tqdm import tqdm

        tqdm.write(line, file=sys.stderr)

    @staticmethod
    def silent(line: str) -> None:
        """No line."""
