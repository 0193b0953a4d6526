import pytest

from recis.bridge.masking import MASK, is_secret, mask_arguments, mask_text


@pytest.mark.parametrize(
    "name",
    ["token", "API_KEY", "apiKey", "--api-key", "db.password", "HFTOKEN", "hf_token", "AWS_SECRET_ACCESS_KEY", "passwd",
     "PGPASSWORD", "client-secret", "auth", "GH_PAT", "credentials", "SENTRY_DSN", "pass"],
)  # fmt: skip
def test_names_of_secrets(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name", ["monkey", "max_tokens", "tokenizer", "keypoints", "author", "lr", "path", "compass", "num_keys", "bypass"]
)
def test_names_of_other_things(name: str) -> None:
    assert not is_secret(name)


@pytest.mark.parametrize(
    ("given", "masked"),
    [
        (["--api-key", "abc", "x"], ["--api-key", MASK, "x"]),
        (["--token", "--verbose"], ["--token", "--verbose"]),
        (["--token=two words"], [f"--token={MASK}"]),
        (["optimizer.lr=0.1", "db.password=p=q"], ["optimizer.lr=0.1", f"db.password={MASK}"]),
        (["--url=https://me:pw@host/x?token=abc&step=1"], [f"--url=https://{MASK}@host/x?token={MASK}&step=1"]),
        (['{"password": "p", "lr": 1}'], [f'{{"password": "{MASK}", "lr": 1}}']),
        (["-H", "X-Api-Key: abc"], ["-H", f"X-Api-Key: {MASK}"]),
        (["Bearer abc.def"], [f"Bearer {MASK}"]),
        (["hf_abcdefghijklmnopq", "sk-0123456789abcdef"], [MASK, MASK]),
        (["-", "--", "", "=", "train.py"], ["-", "--", "", "=", "train.py"]),
    ],
)
def test_arguments_show_no_secret(given: list[str], masked: list[str]) -> None:
    assert mask_arguments(given) == masked


def test_a_long_text_takes_no_time() -> None:
    assert mask_text("a" * 100_000 + "=" * 1000).startswith("a")
    assert mask_text("://" * 20_000)
