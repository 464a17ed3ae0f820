"""Training stops where numbers end: before a step is made from them, and before they reach a checkpoint."""

from torch import Tensor, nn

from ctmar.errors import CtmarError
from ctmar.sample import MARSample

FIELDS = ("measured", "clean", "metal_path_mm")


def require_finite_loss(loss: Tensor, sample: MARSample, what: str) -> None:
    """Refuses a loss that is NaN or infinite.

    Args:
        loss: A scalar.
        sample: The batch it is of: where the fault is in a case, the case is named.
        what: Which loss, such as ``the loss of epoch 3, batch 1``.

    Raises:
        CtmarError: The loss is not finite.
    """
    if bool(loss.isfinite()):
        return
    for name, field in [*((name, getattr(sample, name)) for name in FIELDS), *sample.fills.items()]:
        for case, values in zip(sample.case_id, field, strict=True):
            if not bool(values.isfinite().all()):
                raise CtmarError(f"case {case} must be finite, got NaN or infinity in {name}")
    raise _diverged(f"{what} must be finite, got {loss.item()}")


def require_finite_weights(model: nn.Module, what: str) -> None:
    """Refuses weights of which one is NaN or infinite.

    Raises:
        CtmarError: Names the first such parameter or buffer.
    """
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise _diverged(f"{what} must be finite, got NaN or infinity in {name}")


def _diverged(what: str) -> CtmarError:
    more = "the checkpoints of the epochs before stay, a lower model.learning_rate may help"
    return CtmarError(f"training diverged: {what}; {more}")
