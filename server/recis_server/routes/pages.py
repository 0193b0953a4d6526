"""The page and its files, held in memory; and `/docs`, generated from OpenAPI without a script.

Must not know what the page does. Files are looked up by name in a table built at start, never by an outside path.
"""

import asyncio
import gzip
import hashlib
import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import brotli
import msgspec
from fastapi import APIRouter, Header, Request
from fastapi.responses import HTMLResponse, Response

from recis_server.errors import NotFound

__all__ = ["Pages", "load_pages", "router"]

router = APIRouter(include_in_schema=False)

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
_ROOT = b"__ROOT__"
_COMMENTS = re.compile(rb"^[ \t]*(?:/\*\*?(?:[^*]|\*(?!/))*\*/|//[^\n]*)[ \t]*$", re.MULTILINE)
"""Comments that have lines of their own."""
_TYPE_COMMENTS = re.compile(rb"/\*\* @(?:[^*\n]|\*(?!/))*\*/ ?")
"""Types for the type check, within a line."""
_INDENTATION = re.compile(rb"^[ \t]+", re.MULTILINE)
_STYLE = re.compile(rb'[ \t]*<link rel="stylesheet" href="__ROOT__/static/([^"]+)">\n')
_ALL_STYLES = "css/all.css"
_DOCS_STYLE = b"""body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
:root { color-scheme: light dark }
pre { overflow: auto; padding: .75rem; border: 1px solid #8888 }
"""


class _File:
    """One file of the page, and its compressed forms.

    Brotli makes it an eighth smaller than gzip does, but takes half a second of a core for all files: each is
    compressed for the first browser that requests it.
    """

    def __init__(self, name: str, body: bytes) -> None:
        self.body = body
        self.media = _TYPES[Path(name).suffix]
        self.tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        self.gzip = gzip.compress(body, mtime=0)
        self._brotli: bytes | None = None

    def brotli(self) -> bytes:
        """Return the file compressed with Brotli; the first call takes up to 0.1 s: make it off the event loop."""
        if self._brotli is None:
            self._brotli = brotli.compress(self.body, mode=brotli.MODE_TEXT)
        return self._brotli

    async def encoded(self, accept_encoding: str) -> tuple[bytes, str]:
        """Return the smallest form that a browser accepts, and the name of its encoding, empty for none."""
        accepted = _accepted_encodings(accept_encoding)
        if "br" in accepted:
            return (await asyncio.to_thread(self.brotli) if self._brotli is None else self._brotli), "br"
        return (self.gzip, "gzip") if "gzip" in accepted else (self.body, "")


class Pages:
    """The files of the page by their name below `/static/`."""

    def __init__(self, files: dict[str, bytes], root_path: str) -> None:
        self._files = {name: _File(name, body) for name, body in files.items()}
        index = files.get("index.html")
        # Escaped: the root path is configuration, but it is inserted into markup.
        root = html.escape(root_path).encode()
        self._index = None if index is None else _File("index.html", index.replace(_ROOT, root))

    def index(self) -> _File:
        """Return the page itself; raise `NotFound` if this installation has none."""
        if self._index is None:
            raise NotFound("this installation has no page; its routes are described at /docs")
        return self._index

    def file(self, name: str) -> _File:
        """Return one file; raise `NotFound`."""
        found = self._files.get(name)
        if found is None:
            raise NotFound(f"there is no file {name[:200]!r}")
        return found


def load_pages(root_path: str) -> Pages:
    """Return the page of the installed package, or of the repository that contains this file."""
    here = Path(__file__).resolve().parents[1]
    folder = here / "web" if (here / "web").is_dir() else here.parents[1] / "web"
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix in _TYPES
    }
    return Pages(_with_one_style_sheet({name: _condensed(name, body) for name, body in files.items()}), root_path)


def _condensed(name: str, body: bytes) -> bytes:
    """Return a module or style sheet of ours without comments and indentation; lines keep their numbers."""
    if not name.startswith(("js/", "css/")):
        return body
    code = _COMMENTS.sub(lambda found: b"\n" * found[0].count(b"\n"), body)
    return _INDENTATION.sub(b"", _TYPE_COMMENTS.sub(b"", code))


def _with_one_style_sheet(files: dict[str, bytes]) -> dict[str, bytes]:
    """Join the style sheets of the page in their order: one request, and a third smaller when packed."""
    index = files.get("index.html", b"")
    found = list(_STYLE.finditer(index))
    if not found:
        return files
    link = b'    <link rel="stylesheet" href="__ROOT__/static/%s">\n' % _ALL_STYLES.encode()
    index = index[: found[0].start()] + link + _STYLE.sub(b"", index[found[0].start() :])
    joined = b"\n".join(files[style[1].decode()] for style in found)
    return {**files, "index.html": index, _ALL_STYLES: joined}


def _accepted_encodings(accept_encoding: str) -> set[str]:
    """Return the encodings that a browser names, without those that it rules out by a quality of 0."""
    parts = (part.lower().replace(" ", "").partition(";") for part in accept_encoding.split(","))
    return {name for name, _, quality in parts if not re.fullmatch(r"q=0(\.0*)?", quality)}


async def _send(file: _File, accept_encoding: str, if_none_match: str | None) -> Response:
    headers = {"ETag": file.tag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if if_none_match is not None and file.tag in if_none_match:
        return Response(status_code=304, headers=headers)
    body, encoding = await file.encoded(accept_encoding)
    if encoding:
        headers["Content-Encoding"] = encoding
    return Response(body, headers=headers, media_type=file.media)


@router.get("/")
@router.get("/run/{rest:path}")
@router.get("/compare")
@router.get("/alerts")
async def read_page(
    request: Request,
    accept_encoding: Annotated[str, Header()] = "",
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Return the page; its script decides what to show."""
    pages: Pages = request.app.state.pages
    return await _send(pages.index(), accept_encoding, if_none_match)


@router.get("/static/{name:path}")
async def read_static(
    request: Request,
    name: str,
    accept_encoding: Annotated[str, Header()] = "",
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Return one file of the page."""
    pages: Pages = request.app.state.pages
    return await _send(pages.file(name), accept_encoding, if_none_match)


@router.get("/favicon.ico")
async def read_icon(request: Request) -> Response:
    """Return the page's icon, for browsers that request it under this name."""
    pages: Pages = request.app.state.pages
    return await _send(pages.file("icon.svg"), "", None)


@router.get("/docs.css")
async def read_docs_style() -> Response:
    """Return the style sheet of `/docs`."""
    return Response(_DOCS_STYLE, media_type=_TYPES[".css"])


@router.get("/docs")
async def read_docs(request: Request) -> HTMLResponse:
    """Describe every route with its parameters and an example."""
    root = html.escape(request.scope.get("root_path", ""))
    spec = request.app.openapi()
    title = html.escape(spec["info"]["title"])
    return HTMLResponse(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="{root}/favicon.ico"><link rel="stylesheet" href="{root}/docs.css"></head>'
        f"<body><main><h1>{title} {html.escape(spec['info']['version'])}</h1>"
        f'<p>The same for programs: <a href="{root}/openapi.json">openapi.json</a>.</p>'
        f"{''.join(_operations(spec))}</main></body></html>"
    )


def _operations(spec: dict[str, Any]) -> Iterator[str]:
    for path, methods in spec["paths"].items():
        for method, operation in methods.items():
            yield f"<h2><code>{html.escape(f'{method.upper()} {path}')}</code></h2>"
            yield f"<p>{html.escape(operation.get('description', ''))}</p>"
            parameters = "".join(_parameter(one) for one in operation.get("parameters", ()))
            yield f"<ul>{parameters}</ul>" if parameters else ""
            for status, answer in operation["responses"].items():
                example = answer.get("content", {}).get("application/json", {}).get("example")
                if status.startswith("2") and example is not None:
                    text = msgspec.json.format(msgspec.json.encode(example), indent=2).decode()
                    yield f'<pre tabindex="0" aria-label="Example">{html.escape(text)}</pre>'


def _parameter(parameter: dict[str, Any]) -> str:
    needed = ", required" if parameter.get("required") else ""
    name, place = html.escape(parameter["name"]), html.escape(parameter["in"])
    text = html.escape(parameter.get("description", ""))
    return f"<li><code>{name}</code> ({place}{needed}) {text}</li>"
