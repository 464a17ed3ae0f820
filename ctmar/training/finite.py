"""Training stops where numbers end: before a step is made from them, and before they reach a checkpoint."""

from torch import Tensor, nn

from ctmar.case import Case
from ctmar.errors import CtmarError


def require_finite_loss(loss: Tensor, case: Case, what: str) -> None:
    """Refuses a loss that is NaN or infinite.

    Args:
        loss: A scalar.
        case: The batch it is of: where the fault is in a case, the case is named.
        what: Which loss, such as ``the loss of epoch 3, batch 1``.

    Raises:
        CtmarError: The loss is not finite.
    """
    if bool(loss.isfinite()):
        return
    scan = case.scan
    fields = {"measured": scan.measured, "clean": case.truth.clean, "metal_path_mm": scan.metal_path_mm}
    for name, field in (fields | scan.fills).items():
        for case_id, values in zip(scan.case_id, field, strict=True):
            if not bool(values.isfinite().all()):
                raise CtmarError(f"case {case_id} must be finite, got NaN or infinity in {name}")
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
