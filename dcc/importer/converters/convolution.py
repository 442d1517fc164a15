"""Conv with explicit padding."""

from __future__ import annotations

from tvm import relax

from dcc.importer.converters.registry import converter
from dcc.importer.converters.windows import explicit_padding, window_attribute
from dcc.importer.operation import Operation, constant

_LAYOUTS = {3: ("NCW", "OIW"), 4: ("NCHW", "OIHW"), 5: ("NCDHW", "OIDHW")}


@converter("Conv")
def convolution(operation: Operation) -> relax.Expr:
    """``conv(x, w)`` and the bias as an addition after it."""
    rank = operation.rank()
    if rank not in _LAYOUTS:
        raise operation.error(f"expected 1 to 3 spatial dimensions, got a tensor of rank {rank}")
    operator = {3: relax.op.nn.conv1d, 4: relax.op.nn.conv2d, 5: relax.op.nn.conv3d}[rank]
    kernel = operation.shape(1)[2:]
    stated = tuple(operation.attribute("kernel_shape", kernel))
    if stated != kernel:
        raise operation.error(f"kernel_shape says {stated}, the weight is {kernel}")
    data_layout, kernel_layout = _LAYOUTS[rank]
    result = operation.emit(
        operator(
            operation.tensor(0),
            operation.tensor(1),
            strides=window_attribute(operation, "strides"),
            padding=explicit_padding(operation, kernel),
            dilation=window_attribute(operation, "dilations"),
            groups=operation.attribute("group", 1),
            data_layout=data_layout,
            kernel_layout=kernel_layout,
        )
    )
    if not operation.has(2):
        return result
    shape = (1, -1) + (1,) * (rank - 2)
    bias = operation.known(2)
    if bias is None or isinstance(operation.values[2], relax.Var):
        channels = operation.emit(relax.op.reshape(operation.tensor(2), shape))
    else:
        channels = constant(bias.reshape(shape))
    return relax.op.add(result, channels)
