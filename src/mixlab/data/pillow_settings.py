"""The settings of Pillow while mixlab decodes an image.

Pillow, Python's warnings and libtiff have one setting for the whole process. It is changed while any thread decodes,
and restored when none does, so that decoding neither depends on the settings of the caller's program nor changes them.
"""

import ctypes
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from threading import Lock
from types import TracebackType

from PIL import Image, ImageFile


class SharedContext:
    """A context that several threads can be in at once: the first one enters it, and the last one leaves it."""

    def __init__(self, make: Callable[[], AbstractContextManager[None]]):
        self._make, self._lock, self._threads = make, Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            if self._threads == 0:
                self._context = self._make()
                self._context.__enter__()
            self._threads += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._threads -= 1
            if self._threads == 0:
                self._context.__exit__(None, None, None)


@contextmanager
def decoding_settings(max_pixels: int) -> Iterator[None]:
    """Refuse images with more pixels and truncated images, and silence all warnings and the messages of libtiff."""
    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    Image.MAX_IMAGE_PIXELS = max_pixels // 2  # Pillow raises above twice its limit
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with warnings.catch_warnings(action="ignore"), _silent_libtiff():
            yield
    finally:
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = before


@contextmanager
def _silent_libtiff() -> Iterator[None]:
    """Remove the handlers that print messages about damaged and unusual TIFFs to standard error.

    Pillow raises an error for a file that it can't decode. It has no setting for the messages.
    """
    setters = _libtiff_setters()
    handlers = [set_handler(None) for set_handler in setters]
    try:
        yield
    finally:
        for set_handler, handler in zip(setters, handlers, strict=True):
            set_handler(handler)


@cache
def _libtiff_setters() -> list[Callable[[int | None], int | None]]:
    """The functions of libtiff that set a handler and return the previous one. On Windows, it exports none."""
    pillow = ctypes.CDLL(Image.core.__file__)  # finds the functions of the libraries that it is linked to
    setters = []
    for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
        if set_handler := getattr(pillow, name, None):
            set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
            setters.append(set_handler)
    return setters
