"""Answers that say what went wrong: an HTTP status and one sentence, which the server sends as JSON and lives on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from starlette.exceptions import HTTPException

from monai_fpt.data import ImageReadError
from monai_fpt.features import CorruptCacheError
from monai_fpt.monailabel.names import named_for_readers

__all__ = ["RequestError", "innermost", "said_to_the_client"]


class RequestError(HTTPException):
    """A request that cannot be answered.

    Args:
        status: 400 a request that is wrong in itself, 404 something that is not there, 422 a file or a label that cannot be
            used, 507 a disk that is full.
        reason: one sentence: what, where, how to mend it.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status_code=status, detail=reason)


@contextmanager
def said_to_the_client(path: str | Path = "", called: str = "") -> Iterator[None]:
    """Errors of the package as answers; what is no error of the request stays an exception, and is answered with 500.

    Args:
        path: of the image that the request is about.
        called: what it is called to the client.
    """
    try:
        yield
    except HTTPException:
        raise
    except CorruptCacheError as error:
        raise RequestError(500, str(error)) from error
    except ValueError as error:
        raise RequestError(422, named_for_readers(str(error), path, called)) from error
    except OSError as error:
        raise RequestError(507, f"A file could not be read or written ({error}); mend that and ask again.") from error


def innermost(error: BaseException) -> BaseException:
    """The reader's own sentence, from within the exceptions that MONAI wraps it in."""
    found = error
    while found.__cause__ is not None and not isinstance(found, ImageReadError):
        found = found.__cause__
    return found
