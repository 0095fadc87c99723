"""Writing and changing manifests, as the use case that drafts them asks for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from rollout.core.blanks import Blank, blanks
from rollout.core.document import DocumentErrors, Place, Pointer
from rollout.core.manifest import AdapterManifest
from rollout.integrations.documents import edit, load, render
from rollout.integrations.documents.spelling import Scalar, spell
from rollout.integrations.documents.yaml import parse


class ManifestWriting:
    """Spelling, editing and rendering in one hand, and the reader that has the last word."""

    def spell(self, value: Scalar | Sequence[Scalar]) -> str:
        """A value as a document writes it."""
        return spell(value)

    def edit(
        self,
        content: bytes,
        changes: Mapping[Pointer, Scalar],
        *,
        insert: Mapping[Pointer, Scalar | Sequence[Scalar]],
        remove: Collection[Pointer],
    ) -> bytes:
        """The document with other fields. Raises Unreadable where its layout is not understood."""
        return edit(content, changes, insert=insert, remove=remove)

    def render(self, data: Mapping[str, object]) -> bytes:
        """Plain data as a new document."""
        return render(data)

    def blanks(self, content: bytes, source: str) -> tuple[tuple[Place, Blank], ...]:
        """The blanks of a manifest with their places. Raises DocumentErrors if anything else is wrong with it."""
        left = {blank.pointer: blank for blank in blanks(parse(content, source).data)}
        try:
            manifest = load(content, AdapterManifest, source=source)
        except DocumentErrors as error:
            if wrong := tuple(problem for problem in error.problems if problem.pointer not in left):
                raise DocumentErrors(wrong) from None
            return tuple((problem.place, left[problem.pointer]) for problem in error.problems)
        return tuple((manifest.place(pointer), blank) for pointer, blank in left.items())
