"""The machine that runs the compiler, as a target."""

from __future__ import annotations

import functools

from dcc.targets.processor import CHECKABLE_FEATURES, caches, core_count, cpu_features
from dcc.targets.target import Target, vector_floats


@functools.cache
def host_target() -> Target:
    """Describe this machine.

    LLVM names the processor by its family and takes all features that such a processor usually
    has. A hypervisor may hide some and a name may be too old to imply all, so the difference to
    the system's own list goes into ``mattr``.
    """
    import tvm
    from tvm.target import codegen

    options: dict[str, object] = {
        "kind": "llvm",
        "mtriple": codegen.llvm_get_system_triple(),
        "mcpu": codegen.llvm_get_system_cpu(),
    }
    implied = _features(tvm.target.Target(options))
    present = cpu_features()
    if present is not None:
        hidden = sorted((implied & CHECKABLE_FEATURES) - present)
        extra = sorted(present - implied)
        if hidden or extra:
            options["mattr"] = [f"-{name}" for name in hidden] + [f"+{name}" for name in extra]
    features = _features(tvm.target.Target(options))
    return Target(
        name="host",
        description=f"this machine ({options['mcpu']})",
        options=options,
        features=features,
        vector_floats=vector_floats(features),
        cores=core_count(),
        caches=caches(),
    )


def _features(target: object) -> frozenset[str]:
    from tvm.target import codegen

    return frozenset(str(name) for name in codegen.llvm_get_cpu_features(target))
