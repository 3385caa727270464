"""Functions of flash-linear-attention (PyPI fla-core) without importing the package, which wants a GPU: its files are
loaded by path. For the peers here and for tests/patterns/fla_test.py."""
import importlib.util
import pathlib


def naive(folder, name, file="naive"):
    """The function `name` of fla/ops/`folder`/`file`.py."""
    package = pathlib.Path(importlib.util.find_spec("fla").origin).parent
    module_name = f"{file}_{folder.replace('/', '_')}"
    spec = importlib.util.spec_from_file_location(module_name, package / "ops" / folder / f"{file}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)
