"""What people see of an evaluation: text, JSON, a comment in Markdown, and one page of HTML."""

from rollout.report.evaluation.html import to_html
from rollout.report.evaluation.json import to_json
from rollout.report.evaluation.lines import headline
from rollout.report.evaluation.markdown import to_markdown
from rollout.report.evaluation.text import to_text

__all__ = ["headline", "to_html", "to_json", "to_markdown", "to_text"]
