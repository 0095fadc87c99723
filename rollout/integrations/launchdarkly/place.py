"""Where in LaunchDarkly an environment's flags are: a project, an environment, and the paths of the API below them."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A project and one of its environments, by their keys."""

    project: str
    environment: str

    def __str__(self) -> str:
        return f"{self.project}/{self.environment}"

    @property
    def flags(self) -> str:
        """All flags of the project."""
        return f"/api/v2/flags/{self.project}"

    def flag(self, key: str) -> str:
        """A flag, in all environments."""
        return f"{self.flags}/{quote(key, safe='')}"

    @property
    def here(self) -> str:
        """The environment."""
        return f"/api/v2/projects/{self.project}/environments/{self.environment}"

    def of_flag(self, key: str, what: str) -> str:
        """What a flag has in this environment: `approval-requests`, `scheduled-changes`, `releases`."""
        flag = f"/api/v2/projects/{self.project}/flags/{quote(key, safe='')}"
        return f"{flag}/environments/{self.environment}/{what}"

    def status(self, key: str) -> str:
        """Whether anybody evaluates a flag."""
        return f"/api/v2/flag-statuses/{self.project}/{self.environment}/{quote(key, safe='')}"
