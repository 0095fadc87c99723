"""What people see of an incident: text, JSON, Markdown, and one page of HTML that needs nothing else."""

from rollout.report.incident.html import to_html
from rollout.report.incident.json import to_json
from rollout.report.incident.listing import render_list
from rollout.report.incident.markdown import to_markdown
from rollout.report.incident.text import to_text

__all__ = ["render_list", "to_html", "to_json", "to_markdown", "to_text"]
