"""Reads the images of a request: the raw bytes of one image file, or files as multipart/form-data.

The body is in memory only. File names are labels of the answers and never opened.
"""

import math
from dataclasses import dataclass
from io import BytesIO
from typing import Protocol, cast

from fastapi import HTTPException, Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header


@dataclass(frozen=True, slots=True)
class SentImage:
    """name  of the file, as given in the request; None for raw bytes"""

    name: str | None
    content: bytes


async def read_images(request: Request, *, max_bytes: int, max_images: int) -> list[SentImage]:
    """Read the body of a request.

    max_bytes   of the whole body
    max_images  in a body of several files

    Raises HTTPException: 413 beyond a limit, 400 for a damaged body, 422 for a body without files.
    """
    if int(request.headers.get("content-length", 0)) > max_bytes:
        raise _too_large(max_bytes)
    kind, options = parse_options_header(request.headers.get("content-type"))
    body = _FormBody(options.get(b"boundary"), max_images) if kind == b"multipart/form-data" else _RawBody()
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > max_bytes:
            raise _too_large(max_bytes)
        body.write(chunk)
    return body.images()


class _Body(Protocol):
    def write(self, chunk: bytes) -> None: ...

    def images(self) -> list[SentImage]: ...


class _RawBody:
    def __init__(self) -> None:
        self._content = BytesIO()

    def write(self, chunk: bytes) -> None:
        self._content.write(chunk)

    def images(self) -> list[SentImage]:
        return [SentImage(None, self._content.getvalue())]


class _FormBody:
    """The body of an HTML form, or of `curl --form`."""

    def __init__(self, boundary: bytes | None, max_images: int):
        self._max_images = max_images
        self._images: list[SentImage] = []
        self._is_complete = False
        in_memory = {"MAX_MEMORY_FILE_SIZE": math.inf, "UPLOAD_ERROR_ON_BAD_CTE": True}
        try:
            self._parser = FormParser(
                "multipart/form-data", self._refuse, self._add, self._end, boundary=boundary, config=in_memory
            )
        except FormParserError as error:
            raise _damaged(error) from error

    def write(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _damaged(error) from error

    def images(self) -> list[SentImage]:
        if not self._is_complete:
            raise _damaged("it ends before its last boundary")
        if not self._images:
            raise HTTPException(422, "The form has no files: send one or more, as in curl --form files=@cat.jpg.")
        return self._images

    def _refuse(self, field: Field) -> None:
        name = (field.field_name or b"").decode(errors="replace")
        raise HTTPException(422, f'The field "{name}" of the form is not a file: send files only.')

    def _add(self, file: File) -> None:
        if len(self._images) == self._max_images:
            raise HTTPException(413, f"The form has more than {self._max_images} files: send them in several requests.")
        content = cast(BytesIO, file.file_object).getvalue()
        self._images.append(SentImage((file.file_name or b"").decode(errors="replace"), content))

    def _end(self) -> None:
        self._is_complete = True


def _damaged(reason: object) -> HTTPException:
    return HTTPException(400, f"The body is not valid multipart/form-data: {reason}.")


def _too_large(max_bytes: int) -> HTTPException:
    return HTTPException(413, f"The body has more than {max_bytes:,} bytes: send fewer or smaller images.")
