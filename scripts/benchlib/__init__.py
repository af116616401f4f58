"""What scripts/bench.py is made of.

Two sides.  The *driver* (environments, runner, report, plot) runs in the Python that started
bench.py, which need not have ZODB.  The *workloads* (worker and what it imports) run as one process
per measurement in the Python of the implementation under measurement, and use only what both have
in public: ClientStorage, ZODB.DB, ``python -m ZEO.runzeo -C FILE`` and the wire protocol.

Each workload is a function that is registered together with the rows of the table that show it
(registry); the catalogue, which both sides import, has them all.
"""
