"""Alerts as Alertmanager's webhook brings them (version 4), and what each asks for.

Whoever can write a label of a series can write into an alert: nothing here is taken for more than a text, and only
the labels that an environment names are read at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints
from pydantic import ValidationError as Invalid

from rollout.core.manifest import NAME_PATTERN, Document
from rollout.core.plain import plain
from rollout.errors import Unreadable

LARGEST_BODY = 4 * 1024 * 1024
"""Bytes of a body; a thousand alerts with everything that they usually say are half of it."""
MOST_ALERTS = 1000
_LONGEST_REASON = 400
_LONGEST_SERVED = 300
_TEMPLATE_URL = "https://prometheus.io/docs/alerting/latest/configuration/#webhook_config"

AlertName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_:.-]{0,199}$")]
Fingerprint = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{1,64}$")]
PrometheusLabel = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]{0,99}$")]

ACTING: tuple[str, ...] = (
    "RolloutCandidateErrors",
    "RolloutCandidateErrorsSlowBurn",
    "RolloutCandidateSlow",
    "RolloutCandidateFormatFailures",
)
"""The shipped rules that speak of harm by a candidate. All others are for people."""

_Texts = Annotated[
    Mapping[
        Annotated[str, StringConstraints(max_length=200)],
        Annotated[str, StringConstraints(max_length=16_384)],
    ],
    Field(max_length=128),
    AfterValidator(lambda texts: MappingProxyType(dict(texts))),
]


class AlertSettings(Document):
    """Which alerts take a candidate back, and from which of their labels it is known."""

    names: tuple[AlertName, ...] = Field(
        default=ACTING,
        max_length=64,
        description="Alerts (`alertname`) that take back; all others do nothing.",
    )
    adapter: PrometheusLabel = Field(default="adapter", description="Label with the adapter's logical name.")
    environment: PrometheusLabel = Field(
        default="environment", description="Label with the name of this environment."
    )
    version: PrometheusLabel = Field(default="version", description="Label with the version, as 1.2.0.")
    served: PrometheusLabel = Field(
        default="served", description="Label with the served name of the version."
    )
    token_env: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")] = Field(
        default="ROLLOUT_ALERTS_TOKEN",
        description="Environment variable with the secret that senders of alerts know; never the secret.",
    )


class AlertMark(Document):
    """Which alert it was: the same one, sent again, has the same mark."""

    name: AlertName
    fingerprint: Fingerprint
    began: AwareDatetime


class _Sent(BaseModel):
    """What Alertmanager sends. Fields that it will have one day are no error.

    Built when a body is read: every command reads environments and ledgers, which know alerts by their marks.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, defer_build=True)


class Alert(_Sent):
    """One alert of a body."""

    status: Literal["firing", "resolved"]
    labels: _Texts
    annotations: _Texts = Field(default_factory=lambda: MappingProxyType({}))
    starts_at: AwareDatetime = Field(alias="startsAt")
    fingerprint: Fingerprint

    @property
    def name(self) -> str:
        """Its `alertname`, as it may be shown."""
        return plain(self.labels.get("alertname", ""), 200, nothing="(without a name)")


class AlertBody(_Sent):
    """One body. `truncated` alerts were left out by `max_alerts` of Alertmanager's receiver."""

    version: Literal["4"]
    receiver: Annotated[str, StringConstraints(max_length=1000)] = ""
    group_key: Annotated[str, StringConstraints(max_length=65_536)] = Field(default="", alias="groupKey")
    truncated: int = Field(default=0, ge=0, alias="truncatedAlerts")
    alerts: tuple[Alert, ...] = Field(max_length=MOST_ALERTS)


def read_body(content: bytes) -> AlertBody:
    """The body that these bytes are. Raises Unreadable, which names the first thing wrong and none of its values."""
    if len(content) > LARGEST_BODY:
        raise Unreadable(f"the body has {len(content)} bytes; at most {LARGEST_BODY} are read")
    try:
        return AlertBody.model_validate_json(content)
    except Invalid as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(plain(str(part), 100, nothing="?") for part in first["loc"][:6]) or "body"
        raise Unreadable(
            f"this is no body of Alertmanager's webhook: {place}: {plain(first['msg'], 200, nothing='wrong')}",
            advice=f"Send what a receiver with webhook_configs sends, version 4 ({_TEMPLATE_URL}).",
        ) from None


class Fate(StrEnum):
    """What becomes of an alert."""

    TAKES_BACK = "takes back"
    FINISHES = "finishes"
    NOTHING = "nothing to do"
    TURNED_DOWN = "turned down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What becomes of an alert, and why."""

    fate: Fate
    why: str

    @property
    def acts(self) -> bool:
        """Whether something is taken back, or is gone on with."""
        return self.fate in (Fate.TAKES_BACK, Fate.FINISHES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What an alert asks for: to take this version of this adapter back. At least one of the two names it."""

    alert: Alert
    adapter: str
    version: str | None
    served: str | None

    @property
    def mark(self) -> AlertMark:
        """Which alert it was, for the ledger."""
        alert = self.alert
        return AlertMark(name=alert.name, fingerprint=alert.fingerprint, began=alert.starts_at)

    @property
    def about(self) -> str:
        """The version that it speaks of, as it may be shown."""
        return self.served or self.version or "?"

    @property
    def reason(self) -> str:
        """Why, on one line, for the ledger, the commit and whoever reads them."""
        alert = self.alert
        severity = alert.labels.get("severity", "")
        told = f"alert {alert.name}" + (f" ({_said(severity)})" if severity else "")
        summary = alert.annotations.get("summary") or alert.annotations.get("description") or ""
        return plain(
            f"{told}: {_said(summary)}" if _said(summary) else told, _LONGEST_REASON, nothing="alert"
        )


def ask(alert: Alert, settings: AlertSettings, environment: str) -> Request | Ruling:
    """What an alert asks for in this environment, or why nothing. Nothing outside is looked at."""
    name = alert.labels.get("alertname", "")
    if alert.status != "firing":
        return _nothing("it has ended")
    if name not in settings.names:
        return _nothing("an alert of this name takes nothing back here (`alerts.names` of the environment)")
    place = alert.labels.get(settings.environment, "")
    if not place:
        return _down(f"it has no label {settings.environment}: where it is about is not known")
    if place != environment:
        return _nothing(f"it is about the environment {_shown(place)}; this is {environment}")
    adapter = alert.labels.get(settings.adapter, "")
    if not re.fullmatch(NAME_PATTERN, adapter) or adapter.endswith("\n"):
        return _down(f"its label {settings.adapter} is no name of an adapter: {_shown(adapter)}")
    version, served = alert.labels.get(settings.version), alert.labels.get(settings.served)
    if not version and not served:
        return _down(
            f"it has neither a label {settings.version} nor {settings.served}: of which version is it"
        )
    return Request(
        alert=alert,
        adapter=adapter,
        version=plain(version, _LONGEST_SERVED, nothing="?") if version else None,
        served=plain(served, _LONGEST_SERVED, nothing="?") if served else None,
    )


def _nothing(why: str) -> Ruling:
    return Ruling(fate=Fate.NOTHING, why=why)


def _down(why: str) -> Ruling:
    return Ruling(fate=Fate.TURNED_DOWN, why=why)


def _shown(text: str) -> str:
    return plain(text, 80, nothing="(empty)")


_MEANS_SOMETHING = str.maketrans({"@": "(at)", "#": "No. ", "`": "'", "<": "(", ">": ")"})


def _said(text: str) -> str:
    """Words of others, without what a forge or a page would act on: mentions, closing of issues, markup."""
    return plain(text[:4000].translate(_MEANS_SOMETHING), _LONGEST_REASON, nothing="")
