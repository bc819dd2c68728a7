"""Compiles the native kernels on this machine, once for each version of their sources, and calls them.

The compiler is the one that PyTorch selects for extensions: `$CXX`, otherwise c++. The library is kept in the user's
cache folder.
"""

import ctypes
import hashlib
import logging
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from mixlab.errors import in_one_line
from mixlab.files import WriteError, atomic_file, cache_folder

_SOURCES = ("depthwise.cpp", "activation_norm.cpp", "gelu.cpp")
_HEADERS = ("activation_norm.h", "vector.h")
_FLAGS = ("-std=c++17", "-O3", "-march=native", "-fopenmp")
_SUFFIXES = {torch.float32: "float32", torch.float64: "float64", torch.bfloat16: "bfloat16"}

Argument = Tensor | int | tuple[int, ...] | Sequence[Tensor] | None


class KernelsUnavailableError(Exception):
    """Kernels can't be compiled, loaded or selected on this machine. The message is the reason."""


class Kernels:
    """The compiled kernels.

    build  names the compiler and its flags, and ends with a digest of these, of the instructions that they select here,
           of the sources and of torch
    """

    def __init__(self, path: Path, build: str):
        self.build = build
        self._library = ctypes.CDLL(str(path))

    def __call__(self, name: str, dtype: torch.dtype, *arguments: Argument) -> None:
        """Call the kernel `name` for tensors of `dtype`, with PyTorch's number of threads.

        A tensor is passed as the address of its data, a tuple of integers as an array, a list of tensors as an array of
        addresses. Tensors must be contiguous in the order that the kernel expects.

        Raises MemoryError if the kernel, which returns whether it had enough memory, had too little.
        """
        kernel = getattr(self._library, f"{name}_{_SUFFIXES[dtype]}")
        kernel.restype = ctypes.c_bool
        if not kernel(*map(_converted, arguments), torch.get_num_threads()):
            raise MemoryError(f"The kernel {name} has too little memory.")


@cache
def kernels() -> Kernels:
    """The native kernels, compiled now if the cache does not have them.

    Raises KernelsUnavailableError without a compiler, or if it can't compile them.
    """
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it warns if there is no CUDA
    from torch.utils import cpp_extension

    program = cpp_extension.get_cxx_compiler()
    try:
        compiler = _printed(program, "--version").splitlines()[0]
    except (OSError, subprocess.CalledProcessError) as error:
        raise KernelsUnavailableError("no C++ compiler was found") from error
    try:  # the macros name the instructions that -march=native selects: processors of one name can differ in them
        macros = _printed(program, *_FLAGS, "-dM", "-E", "-x", "c++", os.devnull)
    except (OSError, subprocess.CalledProcessError) as error:
        raise KernelsUnavailableError(f"{compiler} can't compile them") from error
    content = [(Path(__file__).parent / name).read_text(encoding="utf-8") for name in (*_SOURCES, *_HEADERS)]
    determining = "\0".join((*content, compiler, *_FLAGS, *sorted(macros.splitlines()), torch.__version__))
    digest = hashlib.sha256(determining.encode()).hexdigest()[:12]
    library = cache_folder() / "kernels" / f"{digest}.so"
    if not library.is_file():
        try:
            _compile(library)
        except (ImportError, RuntimeError, OSError) as error:
            raise KernelsUnavailableError(f"{compiler} can't compile them") from error
        except WriteError as error:
            raise KernelsUnavailableError(str(error).removesuffix(".")) from error
    try:
        return Kernels(library, f"{compiler}, {' '.join(_FLAGS)}, {digest}")
    except OSError as error:
        raise KernelsUnavailableError(f"{library} can't be loaded ({in_one_line(error)})") from error


def _printed(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _compile(library: Path) -> None:
    from torch.utils import cpp_extension

    with tempfile.TemporaryDirectory() as folder, atomic_file(library) as temporary, _ninja_on_path():
        name = f"mixlab_{Path(folder).name}"
        sources = [str(Path(__file__).parent / source) for source in _SOURCES]
        cpp_extension.load(name, sources, [*_FLAGS], build_directory=folder, is_python_module=False)
        temporary.write_bytes((Path(folder) / f"{name}{cpp_extension.LIB_EXT}").read_bytes())


@contextmanager
def _ninja_on_path() -> Iterator[None]:
    """Within the context, `$PATH` has ninja also if the virtual environment is not active."""
    import ninja

    before = os.environ.get("PATH", "")
    os.environ["PATH"] = os.pathsep.join((ninja.BIN_DIR, before))
    try:
        yield
    finally:
        os.environ["PATH"] = before


def _converted(argument: Argument) -> object:
    match argument:
        case Tensor():
            return ctypes.c_void_p(argument.data_ptr())
        case tuple():
            return (ctypes.c_int64 * len(argument))(*argument)
        case list():
            return (ctypes.c_void_p * len(argument))(*(tensor.data_ptr() for tensor in argument))
        case _:
            return argument
