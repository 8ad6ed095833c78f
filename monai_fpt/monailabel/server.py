"""What the server needs beside the app: work in threads, errors as JSON, and a folder of its own for what it receives.

MONAI Label's endpoints are coroutines that call the app directly, so one training in the server (``run_sync``) or one slow
image would hold up every other reader. Here each request that works is taken, as a whole, to a thread with a loop of its
own. And an exception that nobody expected is answered as JSON instead of as a bare line of text; what it was of the request
that brought it about is told, see :mod:`~monai_fpt.monailabel.misfits`.

``DELETE /train/`` knows of trainings in processes of their own alone, and answers before their end. Where MONAI Label has let such a
request pass, trainings in this process are stopped too, and the end of both is awaited.

All is done to the server's application object by what ASGI and Starlette promise (middleware, handlers of exceptions),
and not by exchanging MONAI Label's functions: its roles, parameters and answers stay its own. Two things are exchanged.
MONAI Label 0.8.5 decodes tokens without naming the algorithms, which PyJWT 2 refuses, so no one could log in at all; here
the asymmetric ones are named. And it unpacks an archive that a client sent wherever the names in it lead; here Python's filter for
data holds for TAR files, which no name leads out of.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import logging
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zipfile import BadZipFile

from monai_fpt.monailabel.misfits import misfit

__all__ = ["FPTStopTrainings", "FPTWorkInThreads", "mend_server", "uploads_folder"]

_WORKING = ("/infer", "/batch", "/train", "/activelearning", "/scoring", "/datastore", "/info", "/model", "/session")
_MOST_THREADS = 64  # most of them wait: for a pass of the backbone, or for the end of a training
_SIGNATURES = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]

logger = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


def uploads_folder() -> Path:
    """The folder that files of clients come to: one of this process alone, made once.

    MONAI Label writes what it receives to Python's folder of temporary files and hands its path on. With a folder that only
    this process writes to, such a path can be told from one that a client made up.
    """
    if tempfile.tempdir is None or not Path(tempfile.tempdir).name.startswith("monai_fpt_label_"):
        tempfile.tempdir = tempfile.mkdtemp(prefix="monai_fpt_label_")
        atexit.register(shutil.rmtree, tempfile.tempdir, ignore_errors=True)
    return Path(tempfile.tempdir)


class FPTWorkInThreads:
    """ASGI middleware: requests that work run in threads, so that they do not wait for each other.

    Args:
        app: the application within.
    """

    def __init__(self, app: Application) -> None:
        self.app = app
        self._threads = ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="fpt-request")

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or not scope["path"].startswith(_WORKING):
            await self.app(scope, receive, send)
            return
        outside = asyncio.get_running_loop()

        async def receive_outside() -> Message:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_awaited(receive()), outside))

        async def send_outside(message: Message) -> None:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_awaited(send(message)), outside))

        def work() -> None:
            asyncio.run(_awaited(self.app(scope, receive_outside, send_outside)))

        await outside.run_in_executor(self._threads, work)


class FPTStopTrainings:
    """ASGI middleware: ``DELETE /train/`` also stops the trainings of this process, once the application has let it pass.

    Args:
        app: the application within; its answer is the client's where it is more than ``null``.
        stop: stops trainings and waits for their end; returns whether there was one.
    """

    def __init__(self, app: Application, stop: Callable[[], bool]) -> None:
        self.app = app
        self._stop = stop

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["method"] != "DELETE" or scope["path"].rstrip("/") != "/train":
            await self.app(scope, receive, send)
            return
        said: list[Message] = []

        async def keep(message: Message) -> None:
            said.append(message)

        await self.app(scope, receive, keep)
        body = b"".join(message.get("body", b"") for message in said)
        if said and said[0].get("status") == 200:
            stopped = await asyncio.get_running_loop().run_in_executor(None, self._stop)
            if stopped and body == b"null":
                body = json.dumps({"status": "STOPPED", "details": ["A training in the server was stopped."]}).encode()
        for message in said:
            if message["type"] == "http.response.start":
                others = [(name, value) for name, value in message["headers"] if name.lower() != b"content-length"]
                await send({**message, "headers": [*others, (b"content-length", str(len(body)).encode())]})
        await send({"type": "http.response.body", "body": body})


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def mend_server(kind_of: Callable[[str], str | None], stop: Callable[[], bool]) -> bool:
    """Mend the server of this process, once.

    Args:
        kind_of: the kind of an infer task by its name; None for one that is not there.
        stop: see :class:`FPTStopTrainings`.

    Returns:
        Whether there is one; a background process has none.
    """
    server = getattr(sys.modules.get("monailabel.app"), "app", None)
    if server is None or getattr(server.state, "monai_fpt", False):
        return server is not None
    server.state.monai_fpt = True
    _answer_errors(server, kind_of)
    _name_signatures()
    if hasattr(tarfile, "data_filter"):
        tarfile.TarFile.extraction_filter = staticmethod(tarfile.data_filter)
    server.middleware_stack = None  # it was built for the start-up and is built anew at the next request
    server.add_middleware(FPTStopTrainings, stop=stop)
    server.add_middleware(FPTWorkInThreads)
    return True


def _name_signatures() -> None:
    import jwt
    from monailabel.endpoints.user import auth

    def decode(token: str, key: str, options: dict[str, Any] | None = None) -> Any:
        return jwt.decode(token, key, algorithms=_SIGNATURES, options=options)

    auth.jwt = SimpleNamespace(decode=decode)


def _answer_errors(server: Any, kind_of: Callable[[str], str | None]) -> None:
    from fastapi.exception_handlers import http_exception_handler
    from monailabel.interfaces.exception import MONAILabelException
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response

    async def answer(request: Request, error: Exception) -> JSONResponse:
        reason = " ".join(str(error).split())[:500]
        detail = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
        return JSONResponse({"detail": detail}, status_code=500)

    async def answer_broken_json(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": f"The request's JSON cannot be read ({error}); mend it."}, status_code=400)

    async def answer_of_label(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": str(getattr(error, "msg", error))}, status_code=422)

    async def answer_of_monai_label(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if request.method == "POST" and str(error.detail).startswith("Neither Image nor File"):
            detail = "The request names no image; give the id of one in the studies folder (image=ID), or send a file."
            return JSONResponse({"detail": detail}, status_code=400)
        return await http_exception_handler(request, error)

    async def answer_misfit(request: Request, error: Exception) -> JSONResponse:
        form = await request.form()  # as the endpoint has read it
        kind = kind_of(str(request.path_params.get("model", "")))
        found = misfit(error, request.method, request.url.path, request.query_params, form, kind)
        if found is None:
            raise error  # is nothing that is seen in the request
        status, detail = found
        return JSONResponse({"detail": detail}, status_code=status)

    for kind in (
        TypeError,
        ValueError,
        AttributeError,
        OSError,
        EOFError,
        RecursionError,
        BadZipFile,
        tarfile.TarError,
    ):
        server.add_exception_handler(kind, answer_misfit)
    server.add_exception_handler(json.JSONDecodeError, answer_broken_json)
    server.add_exception_handler(MONAILabelException, answer_of_label)
    server.add_exception_handler(HTTPException, answer_of_monai_label)
    server.add_exception_handler(Exception, answer)
