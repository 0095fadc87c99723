"""What people see of a comparison over traffic: text, JSON, a comment in Markdown, and one page of HTML."""

from rollout.report.shadow.html import to_html
from rollout.report.shadow.lines import headline, where
from rollout.report.shadow.markdown import to_markdown
from rollout.report.shadow.text import to_text

__all__ = ["headline", "to_html", "to_markdown", "to_text", "where"]
