"""Verifying a database: structure, order, records, references and blobs, in two passes.

Enters: a source. Leaves: what was found, and figures about the database. Fails: ClientDisconnected
when a server is lost; OSError where the disk does.

Nothing is unpickled: records are read opcode by opcode.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ZODB.fsIndex import fsIndex

from ZEO.data.blobfiles import BlobFiles
from ZEO.data.outcome import Findings
from ZEO.data.references import UNREADABLE, Graph, plain, targets, unreadable
from ZEO.data.sources import FileSource, Record, Source
from ZEO.data.structure import Revisions, revisions
from ZEO.progress import Progress
from ZEO.wire.guarded import Unreadable, is_blob


@dataclass
class Report:
    """What is in a database, and what is wrong with it."""

    findings: Findings = field(default_factory=Findings)
    notes: list[str] = field(default_factory=list)
    transactions: int = 0
    records: int = 0
    objects: int = 0
    garbage: int = 0  # objects that the root does not lead to
    garbage_bytes: int = 0
    blobs: int = 0
    blob_bytes: int = 0


class Verification:
    """One look at a whole database.

    :param blobs: whether to look at the files of blobs.
    :param history: whether to read every revision, not only the last of each object.
    """

    def __init__(self, source: Source, progress: Progress, blobs: bool, history: bool) -> None:
        self._source, self._progress = source, progress
        self._with_blobs, self._with_history = blobs, history
        self.report = Report()
        self._index = fsIndex()
        self._blobs = BlobFiles(source, self.report.findings)

    def run(self) -> Report:
        """Verify; return what was found."""
        found = revisions(self._source, self.report.findings)
        try:
            self._first_pass(found)
            self._second_pass(found)
        finally:
            found.close()
        return self.report

    def _first_pass(self, found: Revisions) -> None:
        index = self._index
        for number, record in found.first_time(index):
            index[record.oid] = number
            self._look_at(record)
            self._progress.transactions = found.transactions
            self._progress.show()
        report = self.report
        if self._with_blobs and self._blobs.count and not report.findings:
            self._blobs.look_for_strays(found.last)
        report.transactions, report.records = found.transactions, self._progress.records
        report.blobs, report.blob_bytes = self._blobs.count, self._blobs.bytes
        report.notes += found.notes

    def _look_at(self, record: Record) -> None:
        self._progress.record(record.data)
        data = record.data
        if data is None:
            return
        if self._with_blobs and self._is_blob(data):
            self._progress.blob(self._blobs.check(record))

    def _is_blob(self, data: bytes) -> bool:
        try:
            return is_blob(plain(data))
        except Unreadable:  # the second pass says so
            return False

    def _second_pass(self, found: Revisions) -> None:
        index, report = self._index, self.report
        graph = Graph(index, report.findings)
        for number, record in found:
            if index.get(record.oid) == number:
                graph.add(record.oid, record.tid, record.data)
            elif self._with_history and record.data is not None:
                self._read(record, record.data)
            self._progress.bytes += 50 + len(record.data or b'')
            self._progress.show()
        graph.finish()
        report.objects = graph.objects
        report.garbage, report.garbage_bytes = graph.garbage, graph.garbage_bytes

    def _read(self, record: Record, data: bytes) -> None:
        """Read a revision that is not the last of its object."""
        try:
            targets(data)
        except Unreadable as error:
            self.report.findings.add(UNREADABLE, unreadable(record.oid, record.tid, error))


def passes(source: Source) -> int:
    """Return how many bytes a verification reads, about."""
    return 2 * source.size()


def blobs_unknown(source: Source) -> bool:
    """Return whether the files of a source's blobs cannot be looked at, since their directory was
    not given.
    """
    return isinstance(source, FileSource) and source.blobs is None
