"""What stands behind the stand-alone gateway: replicas that come and go, and one request's way to one of them."""

from rollout.gateway.upstream.app import Upstream
from rollout.gateway.upstream.pool import Address, Pool, ReplicaStatus

__all__ = ["Address", "Pool", "ReplicaStatus", "Upstream"]
