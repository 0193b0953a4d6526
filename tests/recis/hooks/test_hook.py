import subprocess
import sys

import pytest

from recis.hooks.hook import EVENTS, Hook


def test_every_event_is_a_no_op_that_says_when_it_fires() -> None:
    hook = Hook()
    assert len(EVENTS) == 9
    for event in EVENTS:
        method = getattr(hook, event)
        assert method() is None
        assert method.__doc__.startswith("Called ")


@pytest.mark.parametrize("name", ["Hook", "LoggerHook"])
def test_a_hook_is_imported_without_torch_for_the_others(name: str) -> None:
    code = f"import sys; from recis.hooks import {name}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_package_has_its_names_and_no_others() -> None:
    from recis import hooks

    assert set(hooks.__all__) <= set(dir(hooks))
    for name in ("Hook", "LoggerHook", "ProfilerHook"):
        assert getattr(hooks, name).__name__ == name
    with pytest.raises(AttributeError, match="NoSuchHook"):
        hooks.NoSuchHook  # noqa: B018
