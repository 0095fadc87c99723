"""HTML that is safe by the way it is made: text is text unless a tag was made of it."""

from __future__ import annotations

from html import escape

from rollout.report.evaluation.plain import visible

_VOID = frozenset({"circle", "hr", "input", "line", "meta", "polyline", "rect"})


class Html(str):
    """Markup that `tag` made. Every other text is escaped where it is put in."""

    __slots__ = ()


def tag(name: str, /, *children: str | None, **attributes: str | float | bool | None) -> Html:
    """An element. Underscores of attributes are hyphens; True is an attribute without value, None or False none."""
    told = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID and not children:
        return Html(f"<{name}{told}>" if name in ("hr", "input", "meta") else f"<{name}{told}/>")
    return Html(f"<{name}{told}>{joined(*children)}</{name}>")


def joined(*children: str | None) -> Html:
    """Elements and texts, one after another."""
    return Html("".join(child if isinstance(child, Html) else safe(child) for child in children if child))


def safe(text: str) -> Html:
    """Any text as itself: nothing in it is markup, and nothing in it is hidden."""
    return Html(escape(visible(text)))


def _attribute(key: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return f' {name}="{escape(visible(text))}"'
