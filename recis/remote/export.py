"""`recis-monitor export --url`: download a run's points from a server, whole or not at all.

Owns the download and its errors; the destination is `recis.wire.output`'s. The bytes are those that
`recis-monitor export` writes from a data folder, and pass through in pieces of bounded size.
"""

import argparse
import http.client
from collections.abc import Iterator
from urllib.parse import quote, urlencode

from tqdm import tqdm

from recis.bridge.address import ServerAddress
from recis.bridge.identity import check_run_id
from recis.remote.http import open_answer
from recis.wire.output import check_destination, open_output, report_export

__all__ = ["export_run"]

_PIECE = 256 << 10


def export_run(address: ServerAddress, options: argparse.Namespace) -> None:
    """Write the run.

    Raises:
        ValueError: bad usage, the server refuses the format, or the file cannot be written.
        LookupError: the server does not have the run.
        PermissionError: the server requires another token.
        ConnectionError: the server cannot be reached, or the connection broke before the end.
    """
    check_run_id(options.run)
    check_destination(options.format, options.output, as_json=options.json)
    query = [("format", options.format), ("superseded", str(not options.no_superseded).lower())]
    query += [("key", key) for key in options.key or ()]
    tqdm.monitor_interval = 0  # its thread would only redraw an unchanged bar
    # With `disable=None`, tqdm checks whether standard error is a terminal.
    show = tqdm(desc=options.run, unit="B", unit_scale=True, leave=False, disable=None)
    with (
        open_answer(address, f"/api/v1/runs/{quote(options.run)}/export?{urlencode(query)}") as answer,
        open_output(options.output) as out,
        show as bar,
    ):
        for piece in _pieces(address, answer):
            out.write(piece)
            bar.update(len(piece))
    expired = answer.headers.get("Recis-Points-Expired", "")
    num_expired = int(expired) if expired.isascii() and expired.isdigit() and len(expired) < 20 else 0
    report_export(options.run, options.format, options.output, out.num_bytes, num_expired, as_json=options.json)


def _pieces(address: ServerAddress, answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yield the bytes of an answer, and raise `ConnectionError` if it ends early."""
    if not answer.chunked and answer.length is None:
        raise ConnectionError(
            f"{address.base}: expected an answer whose end can be recognised (chunked, or with Content-Length),"
            " got neither; is a proxy in between that speaks HTTP/1.0?"
        )
    size = 0
    try:
        while piece := answer.read1(_PIECE):
            yield piece
            size += len(piece)
        if answer.length:
            raise http.client.IncompleteRead(b"", answer.length)
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionError(
            f"{address.base}: the connection broke after {size:,} bytes of the export, which is incomplete: {error}"
        ) from error
