"""`recis-monitor export` on a store: read one run, and write it to a file or to standard output.

Owns the progress bar; must not know formats (see `query.exports`), the destination (`recis.wire.output`) or how a store
is opened.
"""

import argparse

from tqdm import tqdm

from recis.wire.output import check_destination, open_output, report_export
from recis_server.query.exports import open_export
from recis_server.query.runs import get_run
from recis_server.store.interface import Store

__all__ = ["export_run"]


async def export_run(store: Store, options: argparse.Namespace) -> None:
    """Write the run.

    Raises:
        NotFound: there is no such run.
        InvalidValue: the format requires a library that is not installed.
        ValueError: the file cannot be written, or binary data would go to a terminal.
    """
    await get_run(store, options.run)
    check_destination(options.format, options.output, as_json=options.json)
    export = await open_export(store, options.run, options.key, options.format, superseded=not options.no_superseded)
    tqdm.monitor_interval = 0  # its thread would only redraw a bar that stands still
    # With `disable=None`, tqdm checks whether standard error is a terminal.
    show = tqdm(desc=options.run, total=export.size.points, unit=" points", unit_scale=True, leave=False, disable=None)
    with open_output(options.output) as out, show as bar:
        async for piece in export.pieces():
            out.write(piece)
            bar.update(export.num_points - bar.n)
        bar.refresh()
    report_export(options.run, options.format, options.output, out.num_bytes, export.size.expired, as_json=options.json)
