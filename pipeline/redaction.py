"""What is written and said holds no passwords and keys, also where somebody has put them into a URL or a setting."""

from __future__ import annotations

import re
from typing import Any, TypeVar

T = TypeVar("T")
MASK = "***"
# https://user:password@host, https://key@host; s3://id:secret@bucket, where a secret of AWS may hold slashes. What
# follows the colon is a port, or an ARN, in other URLs.
_OF_USER = re.compile(r"(?<=://)(?:[^\s/@]+|(?!arn:)[^\s/@:]+:(?!\d+/)[^\s@]{1,1024})@")
# token=..., X-Amz-Signature=..., "s3_secret_access_key": "...": what signed URLs, queries and arguments call a secret.
_NAMED = re.compile(
    r"""((?:(?<![\w-])[\w-]*(?:token|signature|credential|password|passwd|api[_-]?key|access[_-]?key(?:[_-]?id)?)
        |(?<![\w-])(?=[\w-]*secret)[\w-]++|(?<=[?&])(?:sig|key))
        (?:=["']?|["']\s*:\s*["']))[^\s"'&,;)}\]]+?(?=:?(?:[\s"'&,;)}\]]|$))""",
    re.IGNORECASE | re.VERBOSE,
)
_SIGNED = re.compile(r"[?&](?:X-Amz-Signature|X-Amz-Security-Token|Signature)=", re.IGNORECASE)  # AWS, versions 4 and 2


def redacted(value: T) -> T:
    """A text with `***` in place of what is, by its place or name, a password or key; or JSON (dicts, lists, plain
    values) of such texts."""
    found: Any = value
    if isinstance(value, str):
        found = _NAMED.sub(rf"\1{MASK}", _OF_USER.sub(f"{MASK}@", value))
    elif isinstance(value, dict):
        found = {name: redacted(each) for name, each in value.items()}
    elif isinstance(value, list | tuple):
        found = [redacted(each) for each in value]
    return found


def is_signed(uri: str) -> bool:
    """Whether a URI has its credentials in itself: a signature, or a user with or without a password."""
    return bool(_SIGNED.search(uri) or _OF_USER.match(uri, uri.find("://") + 3))
