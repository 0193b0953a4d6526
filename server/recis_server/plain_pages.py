"""Small pages without a script, in the style of the page: a refusal, and the end of a session.

Must not know why they are shown.
"""

import html
from collections.abc import Iterable

__all__ = ["plain_page"]


def plain_page(title: str, paragraphs: Iterable[str], link: tuple[str, str], root_path: str) -> bytes:
    """Return a page of HTML.

    Args:
        title: its heading.
        paragraphs: its text, not markup.
        link: a path below the root path, and the text of the link to it.
        root_path: where the server is mounted.
    """
    root = html.escape(root_path)
    path, label = map(html.escape, link)
    text = "".join(f"<p>{html.escape(paragraph)}</p>" for paragraph in paragraphs)
    return (
        f'<!doctype html><html lang="en" data-theme="system"><head><meta charset="utf-8"><title>{html.escape(title)}'
        '</title><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><link rel="icon" href="{root}/favicon.ico">'
        f'<link rel="stylesheet" href="{root}/static/css/all.css"></head><body><main><div class="empty">'
        f'<h1>{html.escape(title)}</h1>{text}<p><a href="{root}{path}">{label}</a></p></div></main></body></html>'
    ).encode()
