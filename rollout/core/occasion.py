"""Why people are told of something."""

from __future__ import annotations

from enum import StrEnum


class Occasion(StrEnum):
    """What happened: a release was taken back, promoted, stopped, or waits longer than its plan allows."""

    TAKEN_BACK = "taken_back"
    PROMOTED = "promoted"
    HALTED = "halted"
    OVERDUE = "overdue"
