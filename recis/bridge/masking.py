"""Mask secrets in texts about the process: command lines, values of variables, addresses.

Owns which names denote secrets and what replaces their values. In doubt it masks a value; must not know where a text
comes from or who reads it.
"""

import re
from collections.abc import Sequence

__all__ = ["MASK", "is_secret", "mask_arguments", "mask_text"]

MASK = "***"
_SECRET_PARTS = ("secret", "passw", "passphrase", "credential", "apikey", "authorization")
"""Parts that make a name that of a secret wherever they occur in it."""
_SECRET_WORDS = frozenset({"key", "pass", "pwd", "auth", "pat", "dsn", "cookie", "bearer", "signature", "sig"})
"""Parts that do so only as separate words, as in `API_KEY` but not in `monkey`; `token` also at the end of a word, as
in `HFTOKEN` but not in `tokenizer` or `max_tokens`.
"""
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_NAMED = re.compile(r"""(?P<name>[\w.\-]+)(?P<sep>["']?\s*[=:]\s*["']?)(?P<value>[^\s"',;&}\]]+)""")
"""A name with its value anywhere in a text: `name=value`, `"name": "value"`, `?name=value&`."""
_SCHEME = re.compile(r"(?i)\b(bearer|basic)(\s+)[^\s\"',;]+")
_USER = re.compile(r"(?P<scheme>\b[A-Za-z][A-Za-z0-9+.\-]*://)[^/\s@]+@")
_SHAPES = re.compile(r"\b(?:hf_|ghp_|gho_|github_pat_|glpat-|sk-|xox[abp]-|AKIA|eyJ)[A-Za-z0-9_.\-]{12,}")
"""Tokens that are recognisable without a name."""


def is_secret(name: str) -> bool:
    """Return whether a name looks like that of a secret."""
    low = name.lower()
    if any(part in low.replace("_", "").replace("-", "") for part in _SECRET_PARTS):
        return True
    words = [word.lower() for word in _WORDS.findall(name)]
    return any(word in _SECRET_WORDS or word.endswith("token") for word in words)


def mask_text(text: str) -> str:
    """Return a text with the values of names that look like secrets, passwords in addresses and known tokens masked."""
    text = _SCHEME.sub(rf"\1\2{MASK}", text)
    text = _NAMED.sub(_mask_named, text)
    text = _USER.sub(rf"\g<scheme>{MASK}@", text)
    return _SHAPES.sub(MASK, text)


def mask_arguments(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of a command, masked as by `mask_text`, and the value after an option such as `--token`."""
    masked = []
    follows = False
    for argument in arguments:
        is_option = argument.startswith("-") and len(argument) > 1
        if follows and not is_option:
            masked.append(MASK)
            follows = False
            continue
        follows = is_option and "=" not in argument and is_secret(argument)
        masked.append(_mask_argument(argument))
    return masked


def _mask_argument(argument: str) -> str:
    name, equals, value = argument.partition("=")
    # The whole value, which may contain spaces.
    if equals and value and is_secret(name) and re.fullmatch(r"[\w.\-+/]+", name):
        return f"{name}={MASK}"
    return mask_text(argument)


def _mask_named(found: re.Match[str]) -> str:
    return f"{found['name']}{found['sep']}{MASK if is_secret(found['name']) else mask_text(found['value'])}"
