"""The dashboard and the alerts in the documentation name metrics and labels that there are."""

import json
import re
from pathlib import Path

import pytest
import yaml

from ZEO.serving.monitor.of_replication import REPLICATION
from ZEO.serving.monitor.of_server import SERVER
from ZEO.serving.monitor.of_storage import STORAGE

FILES = Path(__file__).parents[2] / 'docs' / 'operating' / 'monitoring'
DASHBOARD = json.loads((FILES / 'grafana.json').read_text(encoding='utf-8'))
ALERTS = yaml.safe_load((FILES / 'alerts.yaml').read_text(encoding='utf-8'))

#: The labels of each metric, by the name that queries use.
LABELS = {}
for family in (*SERVER, *STORAGE, *REPLICATION):
    first = () if family in SERVER else ('storage',)
    of_family = {*first, *family.labels, 'instance', 'job'}
    if family.kind == 'histogram':
        LABELS[f'{family.name}_bucket'] = of_family | {'le'}
        LABELS[f'{family.name}_sum'] = LABELS[f'{family.name}_count'] = of_family
    else:
        LABELS[family.full_name] = of_family

QUERIES = [
    *(target['expr'] for panel in DASHBOARD['panels'] for target in panel['targets']),
    *(one['query']['query'] for one in DASHBOARD['templating']['list'] if one['type'] == 'query'),
    *(rule['expr'] for group in ALERTS['groups'] for rule in group['rules']),
]


def selectors(query):
    """Yield the names of metrics in a query, each with the labels that select."""
    for name, selected in re.findall(r'\b((?:zeo|process)_\w+)(\{[^}]*\})?', query):
        yield name, set(re.findall(r'(\w+)\s*(?:=~|!~|!=|=)', selected))


@pytest.mark.parametrize('query', QUERIES)
def test_queries_name_metrics_and_labels_that_there_are(query):
    found = list(selectors(query))
    assert found or query.startswith('up{')
    for name, labels in found:
        assert name in LABELS, name
        assert labels <= LABELS[name], (name, labels - LABELS[name])
    for by in re.findall(r'by \(([^)]*)\)', query):
        known = set.intersection(*(LABELS[name] for name, _ in found))
        assert {label.strip() for label in by.split(',')} <= known, by
    assert [query.count(one) for one in '({['] == [query.count(one) for one in ')}]']


def test_the_dashboard_is_one():
    assert DASHBOARD['uid'] and DASHBOARD['schemaVersion'] >= 30
    numbers = [panel['id'] for panel in DASHBOARD['panels']]
    assert len(set(numbers)) == len(numbers) > 10
    for panel in DASHBOARD['panels']:
        assert panel['title'] and panel['gridPos']['x'] + panel['gridPos']['w'] <= 24


def test_alerts_have_what_prometheus_wants():
    for group in ALERTS['groups']:
        assert group.keys() == {'name', 'rules'}
        for rule in group['rules']:
            assert rule.keys() <= {'alert', 'expr', 'for', 'labels', 'annotations'}
            assert re.fullmatch(r'ZEO\w+', rule['alert'])
            assert re.fullmatch(r'\d+[smh]', rule.get('for', '1m'))
            assert rule['labels']['severity'] in ('info', 'warning', 'critical')
            assert rule['annotations']['summary']


def test_every_metric_is_in_the_documentation():
    page = (FILES.parent / 'monitoring.rst').read_text(encoding='utf-8')
    for family in (*SERVER, *STORAGE, *REPLICATION):
        assert f'``{family.full_name}``' in page


def test_names_follow_the_conventions():
    """Prometheus': base units, and no suffix that a kind or a unit has for itself."""
    for family in (*SERVER, *STORAGE, *REPLICATION):
        assert re.fullmatch(r'(zeo|process)(_[a-z]+)+', family.name)
        assert not re.search(r'_(total|count|sum|bucket|info|milliseconds|ms|kb|mb)$', family.name)
        assert family.text.endswith('.') or family.text.endswith(')')
        if family.kind == 'histogram':
            assert family.unit == 'seconds' or family.name == 'zeo_sync_transactions'
    assert len(LABELS) == len({name.lower() for name in LABELS})
