"""Classes are allowed by exact names; functions and what is defined elsewhere never."""

import collections

import pytest
from BTrees.Length import Length
from BTrees.OOBTree import OOBTree

from ZEO.serving.allowed import OF_ZODB, Allowed, NotAllowed

HERE = __name__
HOME = Allowed([HERE])
imported_function = collections.namedtuple


class Basket:
    """A class of this module."""


def function():
    """A function of this module."""


class TestByDefault:
    def test_data_structures_of_zodb(self):
        assert Allowed().find('BTrees.OOBTree', 'OOBTree') is OOBTree
        assert Allowed().find('BTrees.Length', 'Length') is Length
        assert not Allowed().makes(Length)

    def test_all_that_are_named_are_classes(self):
        allowed, missing = Allowed(), []
        for module, name in OF_ZODB:
            try:
                assert isinstance(allowed.find(module, name), type)
            except NotAllowed:  # not every version of BTrees has every family
                missing.append(name)
        assert not [
            name for name in missing if name[:2] in ('OO', 'IO', 'OI', 'LO', 'OL', 'II', 'LL')
        ]

    @pytest.mark.parametrize(
        'names',
        [
            ('os', 'system'),
            ('builtins', 'eval'),
            ('ZODB.broken', 'find_global'),
            ('ZODB._compat', 'loads'),
            ('BTrees.OOBTree', 'Persistent'),
            ('copyreg', '_reconstructor'),
            ('BTrees', 'OOBTree'),
            ('BTrees.OOBTree', 'OOBTree.keys'),
            ('ZODB.FileStorage', 'FileStorage'),
            ('persistent', 'wref.WeakRef'),
            ('zope.interface', 'Interface'),
            ('', ''),
            ('BTrees.OOBTree\0', 'OOBTree'),
            (1, 2),
            ('x' * 10**6, 'y' * 10**6),
        ],
    )
    def test_nothing_else(self, names):
        with pytest.raises(NotAllowed) as caught:
            Allowed().find(*names)
        assert len(str(caught.value)) < 1000


class TestByTheOperator:
    @pytest.mark.parametrize(
        'name', [HERE, HERE.rpartition('.')[0] or HERE, f'{HERE}:Basket', f'{HERE}.Basket']
    )
    def test_a_class_of_a_module_of_a_package_or_by_its_name(self, name):
        allowed = Allowed([name])
        assert allowed.find(HERE, 'Basket') is Basket
        assert allowed.makes(Basket)

    @pytest.mark.parametrize(
        'name',
        [
            'function',
            'imported_function',
            'collections',
            'HOME',
            'Length',
            'pytest',
            'missing',
            '__builtins__',
            'Basket.__init__',
        ],
    )
    def test_only_classes_that_are_defined_there(self, name):
        with pytest.raises(NotAllowed):
            HOME.find(HERE, name)

    def test_a_class_by_its_name_allows_no_other(self):
        allowed = Allowed([f'{HERE}:Basket'])
        with pytest.raises(NotAllowed):
            allowed.find(HERE, 'TestByDefault')

    def test_a_name_that_only_begins_like_it(self):
        with pytest.raises(NotAllowed):
            Allowed([HERE[:-1]]).find(HERE, 'Basket')

    def test_a_module_that_fails_is_logged_once(self, caplog):
        allowed = Allowed(['nowhere'])
        for _ in range(3):
            with pytest.raises(NotAllowed):
                allowed.find('nowhere.to', 'Be')
        assert (
            len([entry for entry in caplog.records if 'cannot be imported' in entry.message]) == 1
        )
