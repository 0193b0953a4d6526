"""The real ratings, downloaded once to the user's cache, and a few invented ones for tests that need no more."""

from pathlib import Path

import pytest

from recis.demo.movielens import fetch


@pytest.fixture(scope="session")
def movielens() -> Path:
    return fetch()


@pytest.fixture
def five_ratings(tmp_path: Path) -> Path:
    """Two people, two films, five ratings, not in order of time."""
    (tmp_path / "ml-100k.user").write_text(
        "user_id\tage\tgender\toccupation\tzip\n1\t30\tF\twriter\t10001\n2\t40\tM\tdoctor\t1\n"
    )
    (tmp_path / "ml-100k.item").write_text(
        "item_id\ttitle\tyear\tclass\n7\tOne\t1990\tDrama War\n8\tTwo\t1991\tDrama\n"
    )
    rows = ["1\t7\t5\t300", "1\t8\t3\t100", "2\t7\t4\t200", "2\t8\t1\t500", "1\t7\t2\t400"]
    (tmp_path / "ml-100k.inter").write_text("user_id\titem_id\trating\ttimestamp\n" + "\n".join(rows) + "\n")
    return tmp_path
