"""A pretend GPU: tensors that say they are on ``cuda``, compute on the CPU, and refuse to meet any others.

    with PretendGPU() as gpu:
        x = torch.ones(3).to("cuda")
        x + torch.ones(3)  # raises: on a GPU it would

What has to wait for a GPU (``item``, ``tolist``, ``nonzero``, masks, copies to the CPU) is counted by the
function of ctmar that asks for it (``gpu.waits``). What a GPU alone can get wrong (kernels) is not seen here.
"""

import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_unflatten

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
aten: Any = torch.ops.aten

MAY_MEET = {aten.copy_.default}
"""Operations that take a tensor of the other device."""
INDEXING = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default, aten._index_put_impl_.default}
"""Operations of a GPU's tensor that take indices from the CPU."""
WAITING = {
    aten._local_scalar_dense.default: "item",
    aten.nonzero.default: "nonzero",
    aten.masked_select.default: "mask",
    aten._unique2.default: "unique",
    aten.equal.default: "equal",
}


class MixedDevices(RuntimeError):
    """A tensor on the CPU met one on the GPU."""


class OnGPU(Tensor):
    """A tensor that says it is on ``cuda``; ``held`` is where it is computed."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "OnGPU":
        """Wraps a tensor of the CPU."""
        made: OnGPU = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=CPU,
            requires_grad=held.requires_grad,
        )
        made.held = held.detach()
        return made

    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)

    def __repr__(self, *args: Any, **kwargs: Any) -> str:
        """Its values."""
        return f"OnGPU({self.held!r})"

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        """Refused, as by a GPU's."""
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")

    __array__ = numpy

    def tolist(self) -> Any:
        """Its values; a GPU is waited for."""
        _wait("tolist")
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Computes on the CPU where everything is on the GPU."""
        kwargs = dict(kwargs or {})
        leaves, tree = tree_flatten((args, kwargs))
        _require_one_device(func, args, leaves)
        if func in WAITING or _is_masked(func, args):
            _wait(WAITING.get(func, "mask"))
        plain = [leaf.held if isinstance(leaf, OnGPU) else leaf for leaf in leaves]
        plain_args, plain_kwargs = tree_unflatten(plain, tree)
        out = func(*plain_args, **plain_kwargs)
        found, shape = tree_flatten(out)
        wrapped = [OnGPU(leaf) if isinstance(leaf, Tensor) else leaf for leaf in found]
        return return_and_correct_aliasing(func, args, kwargs, tree_unflatten(wrapped, shape))


def _require_one_device(func: Any, args: tuple[Any, ...], leaves: list[Any]) -> None:
    if func in MAY_MEET:
        return
    free: list[Any] = []
    if func in INDEXING and isinstance(args[0], OnGPU):
        free = tree_flatten(args[1])[0]
    for leaf in leaves:
        on_cpu = isinstance(leaf, Tensor) and not isinstance(leaf, OnGPU) and leaf.ndim > 0
        if on_cpu and not any(leaf is other for other in free):
            raise MixedDevices(f"{func} got a tensor on the CPU, {tuple(leaf.shape)}, beside one on cuda")


def _is_masked(func: Any, args: tuple[Any, ...]) -> bool:
    if func is not aten.index.Tensor:
        return False
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])


class _ToGPU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return OnGPU(x.detach().clone())

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0].held


class _ToCPU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Tensor:
        return x.held.clone()  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return OnGPU(grads[0])


_WATCHING: list["PretendGPU"] = []


def _wait(kind: str) -> None:
    for gpu in _WATCHING[-1:]:
        gpu.waits[_asked_by(), kind] += 1


def _asked_by() -> str:
    """The innermost line of ctmar on the way here, ``ctmar/module.py:function``."""
    frame = sys._getframe()
    while frame.f_back is not None:
        name = frame.f_code.co_filename
        if "/ctmar/" in name and "/tests/" not in name:
            return f"ctmar/{name.rpartition('/ctmar/')[2]}:{frame.f_code.co_name}"
        frame = frame.f_back
    return "elsewhere"


class PretendGPU(TorchFunctionMode):
    """While it is entered there is a ``cuda`` to move tensors to.

    Attributes:
        waits: How often which line made the CPU wait for the GPU, by ``(line, kind)``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[tuple[str, str]] = Counter()
        self._before: list[bool] = []

    def __enter__(self) -> "PretendGPU":
        """Begins to count."""
        _WATCHING.append(self)
        # A module's parameters become others when it is moved; else they would keep their class.
        self._before.append(torch.__future__.get_overwrite_module_params_on_conversion())
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        super().__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        """Ends to count."""
        super().__exit__(*raised)
        torch.__future__.set_overwrite_module_params_on_conversion(self._before.pop())
        _WATCHING.remove(self)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Moves what is to be moved, and has factories make what they are asked for."""
        kwargs = dict(kwargs or {})
        if func in (Tensor.to, Tensor.cuda, Tensor.cpu) and isinstance(args[0], Tensor):
            return _moved(func, args[0], args[1:], kwargs)
        if func is Tensor.backward:
            # Inside a function that it handles a mode is off: what runs backwards would not see it.
            with self:
                return _backward(*args, **kwargs)
        device = kwargs.get("device")
        if device is None:
            return func(*args, **kwargs)
        on_gpu = torch.device(device).type == "cuda"
        made = func(*_held(args), **_held({**kwargs, "device": "cpu"}))
        return OnGPU(made) if on_gpu and isinstance(made, Tensor) else made


def _backward(
    x: Tensor,
    gradient: Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    engine: Any = torch.autograd.Variable._execution_engine
    grads = (torch.ones_like(x) if gradient is None else gradient,)
    keep = create_graph if retain_graph is None else retain_graph
    engine.run_backward(
        (x,), grads, keep, create_graph, tuple(inputs or ()), allow_unreachable=True, accumulate_grad=True
    )


def _held(tree: Any) -> Any:
    """The same with every tensor as the CPU holds it: what a factory is asked to be like."""
    leaves, shape = tree_flatten(tree)
    return tree_unflatten([leaf.held if isinstance(leaf, OnGPU) else leaf for leaf in leaves], shape)


def _moved(func: Any, x: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """``x`` where, and as what, ``to``, ``cuda`` or ``cpu`` ask for it."""
    device: Any = {Tensor.cuda: CUDA, Tensor.cpu: CPU}.get(func)
    dtype = None
    if func is Tensor.to:
        for given in (*args, *(kwargs.get(name) for name in ("device", "dtype", "other"))):
            if isinstance(given, Tensor):
                device, dtype = given.device, given.dtype
            elif isinstance(given, torch.dtype):
                dtype = given
            elif isinstance(given, str | torch.device):
                device = torch.device(given)
    found = x
    if device is not None and (device.type == "cuda") != isinstance(x, OnGPU):
        if device.type == "cpu":
            _wait("to the CPU")
        found = _ToGPU.apply(x) if device.type == "cuda" else _ToCPU.apply(x)
    if dtype is not None and dtype != found.dtype:
        found = found.type(dtype)
    if kwargs.get("copy") and found is x:
        found = found.clone()
    return found
