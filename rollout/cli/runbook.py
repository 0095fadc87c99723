"""`rollout runbook`."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem


class _Code(click.ParamType[str]):
    """The code of a page."""

    name = "code"

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem]:
        from rollout.wiring import runbooks

        return [
            CompletionItem(page.code, help=page.title)
            for page in runbooks.pages()
            if page.code.startswith(incomplete)
        ]


@click.command()
@click.argument("code", type=_Code(), required=False)
@click.option("--json", "as_json", is_flag=True, help="For machines: code, title, path and text.")
def command(code: str | None, as_json: bool) -> int:
    """Show what to do about an error, or a decision that wakes somebody.

    CODE is what stands in error[CODE], or behind `runbook:`. Without it all pages are listed.
    """
    from rollout.report import runbooks as report
    from rollout.wiring import runbooks

    if code is None:
        found = runbooks.pages()
        data = [report.as_data(page, runbooks.path_of(page.code), text=False) for page in found]
        click.echo(report.as_json({"runbooks": data}) if as_json else report.as_list(found), nl=False)
        return 0
    page = runbooks.page(code)
    told = report.as_json(report.as_data(page, runbooks.path_of(code))) if as_json else report.as_text(page)
    click.echo(told, nl=False)
    return 0
