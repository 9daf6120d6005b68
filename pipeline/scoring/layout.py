"""What all pages share: layout.html, which they fill, and macros.html. Everything in a page is escaped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template


def template(name: str, **filters: Callable[..., Any]) -> Template:
    """A page's template, named by its path in this folder."""
    pages = Environment(loader=PackageLoader("pipeline.scoring", "."), autoescape=True, undefined=StrictUndefined)
    pages.filters |= filters
    return pages.get_template(name)
