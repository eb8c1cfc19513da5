"""What is run: OpenQASM files, and functions of modules and of Python files."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from procjob.cli.options import Usage
from procjob.errors import RemoteError

TARGETS = "an OpenQASM file, module:function or file.py:function"


def circuit_of(path: Path) -> Any:
    """Return the circuit of Qiskit in an OpenQASM file, named like the file.

    Raises:
        Usage: there is no such file, it is no OpenQASM, or Qiskit is not installed.
    """
    need("qiskit", "OpenQASM files", extra="qiskit")
    from procjob.qiskit.programs import read_program

    try:
        return read_program(path)
    except FileNotFoundError:
        raise Usage(f"there is no file {path}") from None
    except OSError as exc:
        raise Usage(f"{path} cannot be read: {exc.strerror}") from None
    except (ValueError, ImportError) as exc:
        raise Usage(" ".join(str(exc).split())) from None


def target_of(text: str) -> Any:
    """Return the target that a sweep is given.

    Raises:
        Usage: there is none.
    """
    module, colon, name = text.rpartition(":")
    if not colon or Path(text).exists():
        if Path(text).suffix == ".py" or not (Path(text).suffix or Path(text).exists()):
            raise Usage(f"{text!r} is no target; give {TARGETS}")
        return circuit_of(Path(text))
    return _object(module, name)


def backend_of(text: str) -> Any:
    """Return the backend of Qiskit that ``--backend`` names.

    Raises:
        Usage: there is none.
    """
    need("qiskit", "backends", extra="qiskit")
    from procjob.qiskit.programs import as_backend

    module, colon, name = text.rpartition(":")
    if not colon:
        raise Usage(f"{text!r} is no backend; give module:object or file.py:object")
    found = _object(module, name)
    try:
        return as_backend(found)
    except Exception as exc:  # noqa: BLE001  (whatever the user's code does)
        raise Usage(f"{text} is no backend: {' '.join(str(exc).split())}") from None


def fit(circuit: Any, backend: Any) -> Any:
    """Return a circuit as a backend takes it.

    Raises:
        Usage: it does not fit.
    """
    from procjob.qiskit.programs import fitted

    try:
        return fitted(circuit, backend)
    except ValueError as exc:
        raise Usage(" ".join(str(exc).split())) from None


def _object(module: str, name: str) -> Any:
    """Return what a module or Python file has under a name."""
    if not name or (not module.endswith(".py") and not all(map(str.isidentifier, module.split(".")))):
        raise Usage(f"'{module}:{name}' names nothing; write module:name or file.py:name")
    found: Any = _module_of_file(Path(module)) if module.endswith(".py") else _imported(module)
    for part in name.split("."):
        if not hasattr(found, part):
            known = [key for key, value in vars(found).items() if callable(value) and not key.startswith("_")]
            raise Usage(f"{module} has no {name}; it has {', '.join(known) or 'no functions'}")
        found = getattr(found, part)
    return found


def need(package: str, what: str, *, extra: str) -> None:
    """Check that an optional package is installed.

    Raises:
        Usage: it is not.
    """
    if importlib.util.find_spec(package) is None:
        raise Usage(f"{what} need {package.replace('_', '-')}: pip install 'procjob[{extra}]'")


def _imported(name: str) -> ModuleType:
    _look_in(Path.cwd())
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as exc:  # noqa: BLE001  (whatever the user's module does)
        raise Usage(f"{name} cannot be imported: {_told(exc)}") from None


def _module_of_file(path: Path) -> ModuleType:
    """Run a Python file, as `python` would but for the name of its module.

    Its functions are sent to workers with all they need, like those of a script: the file is run once, here.
    """
    import cloudpickle

    if not path.is_file():
        raise Usage(f"there is no file {path}")
    _look_in(path.resolve().parent)
    name = path.name  # with its ending, so that it hides no module
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as exc:  # noqa: BLE001  (the user's file, which may raise anything)
        del sys.modules[name]
        raise Usage(f"{path} cannot be run: {_told(exc)}") from None
    cloudpickle.register_pickle_by_value(module)
    return module


def _look_in(folder: Path) -> None:
    """Import from a folder, too, as `python` does for a script; workers do likewise."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _told(error: BaseException) -> str:
    """Return in one line what a module of the user's has raised, and where."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{last.filename}:{last.lineno}: " if "importlib" not in last.filename else ""
    return f"{where}{type(error).__name__}: {' '.join(str(error).split())}"


def remote_traceback(error: BaseException) -> str | None:
    """Return the traceback of a worker as text, if an exception has one."""
    text: str | None = getattr(error.__cause__, "text", None)
    return None if isinstance(error, RemoteError) else text
