"""What all pages share: layout.html, which they fill, and charts.html. Everything in a page is escaped, and the page's
own policy forbids the browser to run scripts or to load anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, Template

from pipeline.pages import charts


def template(package: str, name: str, **filters: Callable[..., Any]) -> Template:
    """A page's template, named by its path in a package of ours; it finds layout.html and charts.html, too."""
    loader = ChoiceLoader([PackageLoader(package, "."), PackageLoader("pipeline.pages", ".")])
    pages = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    pages.filters |= filters
    pages.globals["place"] = charts
    return pages.get_template(name)
