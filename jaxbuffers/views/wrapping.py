"""What every view is that holds another."""

from typing_extensions import override

from jaxbuffers.batch import Data, Index
from jaxbuffers.row import RowSpec
from jaxbuffers.storage.ring import Ring
from jaxbuffers.views.base import Reader, View
from jaxbuffers.windows.base import Windows
from jaxbuffers.windows.legal import Legal


class WrappingView(View[Data]):
    """A view that holds another, ``view``, and reads as that one does unless it says otherwise.

    Subclasses are frozen dataclasses with a field ``view``. `read` hands the inner view a reader that changes rows on
    their way (`Reader.edited`); `windows`, `history` and `fields` say what that needs beyond what the inner view does.
    """

    view: View[Data]

    @property
    @override
    def required(self) -> int:
        return self.view.required

    @property
    @override
    def within(self) -> bool:
        return self.view.within

    @property
    @override
    def period(self) -> int:
        return self.view.period

    @property
    @override
    def history(self) -> int:
        return self.view.history

    @property
    @override
    def span(self) -> int:
        return self.view.span

    @property
    @override
    def before(self) -> int:
        """What the inner view reads, and whatever this one's span adds."""
        return self.view.before + self.span - self.view.span

    @property
    @override
    def after(self) -> int:
        """What the inner view reads, and whatever this one's span adds."""
        return self.view.after + self.span - self.view.span

    @property
    @override
    def fields(self) -> tuple[str, ...]:
        return self.view.fields

    @override
    def check(self, spec: RowSpec) -> None:
        super().check(spec)
        self.view.check(spec)

    @override
    def windows(self, ring: Ring) -> Windows:
        return self.view.windows(ring)

    @override
    def elsewhere(self, reader: Reader) -> tuple[Index, ...]:
        return self.view.elsewhere(reader)

    @override
    def anchor(self, legal: Legal, index: Index) -> Index | None:
        return self.view.anchor(legal, index)
