"""Files of an S3 bucket, through s3fs: `s3://bucket/path/NAME`.

Credentials, region and endpoint are found where every AWS tool finds them: the environment (AWS_ENDPOINT_URL for
a store of one's own), the profile, the role of the machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from rollout.core.source import RemoteUri
from rollout.errors import RolloutError, Unreadable
from rollout.integrations.sources.answers import failure, missing_extra, range_start, refusal
from rollout.ports import Download

_CHUNK = 1 << 18
_CONNECT_S = 10


class BucketSource:
    """A folder of a bucket."""

    def __init__(self, uri: RemoteUri, *, stall_s: float) -> None:
        """`stall_s` is for how many seconds the store may be silent."""
        self._bucket, self._prefix = uri.authority, f"{uri.path}/" if uri.path else ""
        self._stall_s = stall_s

    @contextmanager
    def open(self, name: str, offset: int) -> Iterator[Download]:
        """Begin to read one file, as `ArtifactSource.open` says."""
        answer = self._get(self._prefix + name, {"Range": f"bytes={offset}-"} if offset else {})
        body = answer["Body"]
        first, size = range_start(answer.get("ContentRange"))
        try:
            yield Download(
                start=first or 0,
                size=answer.get("ContentLength") if size is None else size,
                chunks=self._chunks(body),
            )
        finally:
            self._files.loop.call_soon_threadsafe(body.close)

    def _get(self, key: str, how: dict[str, str]) -> Any:
        files = self._files
        with self._plainly():
            return files.call_s3("get_object", Bucket=self._bucket, Key=key, **how)

    def _chunks(self, body: Any) -> Iterator[bytes]:
        from fsspec.asyn import sync

        while True:
            with self._plainly():
                chunk: bytes = sync(self._files.loop, body.read, _CHUNK)
            if not chunk:
                return
            yield chunk

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        """Errors in our words."""
        from aiohttp import ClientError
        from botocore.exceptions import BotoCoreError, NoCredentialsError

        try:
            yield
        except NoCredentialsError:
            raise Unreadable(
                f"there are no credentials for s3://{self._bucket}",
                advice="Set AWS_PROFILE, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the machine's role.",
            ) from None
        except (BotoCoreError, ClientError, OSError) as error:
            raise self._said(error) from None

    def _said(self, error: Exception) -> RolloutError:
        """s3fs raises errors of the operating system and keeps the store's answer as their cause."""
        answer = getattr(error.__cause__, "response", None)
        host = f"s3://{self._bucket}"
        if answer is None:
            return failure(host, error)
        return refusal(answer["ResponseMetadata"]["HTTPStatusCode"], host)

    @cached_property
    def _files(self) -> Any:
        try:
            from s3fs import S3FileSystem
        except ImportError:
            raise missing_extra("s3://") from None
        files = S3FileSystem(
            config_kwargs={
                "connect_timeout": _CONNECT_S,
                "read_timeout": self._stall_s,
                "retries": {"total_max_attempts": 1},
            },
            skip_instance_cache=True,
        )
        # Whoever asks tries again, counts, and goes on where it broke off.
        files.retries = 1
        return files
