"""The documents of the demo's scratch repository, as its team would have written them."""

from pathlib import Path
from typing import Final

SITE: Final = Path(__file__).parent
MANIFEST: Final = SITE / "manifest.yaml"
PLAN: Final = SITE / "plan.yaml"
METRICS: Final = SITE / "metrics"
