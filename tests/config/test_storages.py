"""-S name=module_path:attribute -> storages, and what an operator is told when it can't be."""

import os
import sys
import textwrap

import pytest
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage

from ZEO.config import storages as storages_module
from ZEO.config.storages import StorageSpec, close_all, open_storages
from ZEO.Exceptions import ConfigurationError

MAPPING = 'from ZODB.MappingStorage import MappingStorage as M\n'
TWO_STORAGES = """
    from ZODB.MappingStorage import MappingStorage
    system = MappingStorage("the system's")
    scott = MappingStorage("scott's")
    lender = object()
"""

pytestmark = pytest.mark.smoke


@pytest.fixture(autouse=True)
def own_imports(monkeypatch, tmp_path):
    """Run in an empty directory, with imports that the next test doesn't see."""
    (tmp_path / 'here').mkdir()
    monkeypatch.chdir(tmp_path / 'here')
    monkeypatch.delenv('INSTANCE_HOME', raising=False)
    monkeypatch.setattr(sys, 'path', list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def stores(tmp_path):
    """A directory outside the working directory, for modules and data."""
    directory = tmp_path / 'stores'
    directory.mkdir()
    return directory


@pytest.fixture
def serve():
    """open_storages() that closes what it opened when the test ends."""
    opened = []

    def open_for_test(*specs, file_name=None):
        storages = open_storages(specs, file_name)
        opened.extend(storages.values())
        return storages

    yield open_for_test
    close_all(opened)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


def refusal(*specs, file_name=None):
    """Return the one line that an operator is told."""
    with pytest.raises(ConfigurationError) as caught:
        open_storages(specs, file_name)
    line = str(caught.value)
    assert '\n' not in line
    return line


def free(file_name):
    """Tell whether no storage holds the file's lock."""
    FileStorage(str(file_name)).close()
    return True


class TestSpec:
    def test_name_module_and_attribute_are_taken_apart(self):
        assert StorageSpec.parse('1=/stores/fs:Storage') == StorageSpec(
            '1', '/stores/fs', 'Storage'
        )

    def test_attribute_defaults_to_the_name(self):
        assert StorageSpec.parse('scott=/stores/oracle') == StorageSpec(
            'scott', '/stores/oracle', 'scott'
        )

    def test_only_the_first_equals_sign_and_the_last_colon_count(self):
        assert StorageSpec.parse('n=/a=b/c:d/fs:S') == StorageSpec('n', '/a=b/c:d/fs', 'S')

    @pytest.mark.parametrize('text', ['', 'name', '=/stores/fs:S', 'name=', 'name=:S', 'name=fs:'])
    def test_other_forms_are_refused_with_the_right_one(self, text):
        with pytest.raises(ConfigurationError, match='give name=module_path:attribute'):
            StorageSpec.parse(text)


class TestDefault:
    def test_data_fs_in_the_working_directory(self, serve):
        (storage,) = serve().values()
        assert storage.getName() == 'Data.fs'
        assert os.path.exists('Data.fs')

    def test_data_fs_of_the_instance(self, serve, monkeypatch, tmp_path):
        (tmp_path / 'var').mkdir()
        monkeypatch.setenv('INSTANCE_HOME', str(tmp_path))
        assert serve()['1'].getName() == str(tmp_path / 'var' / 'Data.fs')

    def test_a_file_is_served_by_its_name(self, serve, stores):
        assert serve(file_name=str(stores / 'app.fs'))['1'].getName() == str(stores / 'app.fs')

    def test_a_file_name_beside_modules(self, serve, stores):
        write(stores / 'oracle.py', TWO_STORAGES)
        storages = serve(f'scott={stores}/oracle', file_name='app.fs')
        assert list(storages) == ['scott', '1']

    def test_no_default_beside_modules(self, serve, stores):
        write(stores / 'oracle.py', TWO_STORAGES)
        serve(f'scott={stores}/oracle')
        assert not os.path.exists('Data.fs')


class TestModules:
    def test_the_manual_of_0_2(self, serve, stores):
        FileStorage(str(stores / 'fs1.fs')).close()
        write(
            stores / 'fs.py',
            f"""
            import ZODB.FileStorage
            Storage=FileStorage('{stores}/fs1.fs', read_only=1)
            """,
        )
        write(stores / 'DCOracle.py', 'def Connect(where): return where')
        write(
            stores / 'DCOracleStorage.py',
            """
            from ZODB.MappingStorage import MappingStorage
            def DCOracleStorage(connect): return MappingStorage(connect())
            """,
        )
        write(
            stores / 'oracle.py',
            """
            import DCOracle, DCOracleStorage
            system=DCOracleStorage.DCOracleStorage(
              lambda : DCOracle.Connect('system/manager@spamservice')
              )
            scott=DCOracleStorage.DCOracleStorage(
              lambda : DCOracle.Connect('scott/tiger@spamservice')
              )
            """,
        )
        storages = serve(
            f'system={stores}/oracle:system',
            f'scott={stores}/oracle:scott',
            f'1={stores}/fs:Storage',
        )
        assert storages['1'].isReadOnly()
        assert storages['system'].getName() == 'system/manager@spamservice'
        assert storages['scott'].getName() == 'scott/tiger@spamservice'

    def test_a_file_is_imported_once_however_it_is_spelled(self, serve, stores):
        write(
            stores / 'fs.py', 'import marks\nmarks.made.append(1)\n' + MAPPING + 'a, b = M(), M()'
        )
        write(stores / 'marks.py', 'made = []\na = b = c = None')
        (stores / 'link').symlink_to(stores)
        os.chdir(stores)
        write(stores / 'more.py', MAPPING + 'a, b = M(), M()')
        storages = serve(
            f'a={stores}/fs:a',
            'b=./fs.py:b',
            'c=more:a',
            'd=link/more.py:b',
        )
        assert sys.modules['marks'].made == [1]
        assert storages['c'] is sys.modules['more'].a
        assert storages['d'] is sys.modules['more'].b

    @pytest.mark.parametrize('spelled', ['fs', './fs', 'fs.py', '{stores}/fs', '../stores/fs.py'])
    def test_spellings_of_a_path(self, serve, stores, spelled):
        write(stores / 'fs.py', TWO_STORAGES)
        os.chdir(stores)
        assert serve(f'scott={spelled.format(stores=stores)}')['scott'].getName() == "scott's"

    def test_a_tilde_is_the_home_directory(self, serve, stores, monkeypatch):
        write(stores / 'fs.py', TWO_STORAGES)
        monkeypatch.setenv('HOME', str(stores))
        assert serve('scott=~/fs')

    def test_dotted_module_and_its_file_are_one(self, serve, stores):
        write(stores / 'zeo_test_package' / '__init__.py', '')
        write(stores / 'zeo_test_package' / 'fs.py', TWO_STORAGES)
        os.chdir(stores)
        storages = serve('a=zeo_test_package.fs:scott', 'b=zeo_test_package/fs:system')
        assert storages['a'] is sys.modules['zeo_test_package.fs'].scott
        assert storages['b'] is sys.modules['zeo_test_package.fs'].system

    def test_neighbours_import_each_other_without_a_second_copy(self, serve, stores):
        write(stores / 'hosted_data.py', MAPPING + 's = M()')
        write(
            stores / 'hosted_demo.py',
            'import hosted_data\nfrom ZODB.DemoStorage import DemoStorage\n'
            'demo = DemoStorage(base=hosted_data.s)',
        )
        storages = serve(f'demo={stores}/hosted_demo', f's={stores}/hosted_data')
        assert storages['demo'].base is storages['s']

    def test_neighbours_do_not_hide_what_is_installed(self, serve, stores):
        write(stores / 'colorsys.py', 'raise AssertionError')
        write(stores / 'fs.py', 'import colorsys\n' + textwrap.dedent(TWO_STORAGES))
        serve(f'scott={stores}/fs')

    def test_a_name_that_something_installed_has(self, serve, stores):
        """A module may be called like one that it imports itself."""
        write(
            stores / 'transaction.py',
            'import transaction\ntransaction.begin\n' + textwrap.dedent(TWO_STORAGES),
        )
        assert serve(f'scott={stores}/transaction')['scott'].getName() == "scott's"

    def test_two_files_of_one_name(self, serve, stores):
        write(stores / 'a' / 'fs.py', TWO_STORAGES)
        write(stores / 'b' / 'fs.py', TWO_STORAGES)
        storages = serve(f'a={stores}/a/fs:scott', f'b={stores}/b/fs:scott')
        assert storages['a'] is not storages['b']


class TestRefusals:
    def test_a_missing_file_is_named(self, stores):
        assert f'there is no file {stores}/fs.py' in refusal(f'1={stores}/fs:Storage')

    @pytest.mark.parametrize('name', ['nosuchmodule', 'nosuch.module', 'ZODB.nosuch'])
    def test_a_missing_module_is_named(self, name):
        assert f"storage '1': there is no module {name}" in refusal(f'1={name}:Storage')

    def test_a_package_that_fails_is_named(self, stores):
        write(stores / 'zeo_failing' / '__init__.py', 'import nosuchmodule')
        os.chdir(stores)
        line = refusal('1=zeo_failing.fs:Storage')
        assert 'zeo_failing.fs' in line and "No module named 'nosuchmodule'" in line

    def test_the_line_that_raises_is_named(self, stores):
        write(stores / 'fs.py', "a = 1\ndef f():\n    raise TypeError('two\\nlines')\nf()")
        assert refusal(f'1={stores}/fs:S') == (
            f"storage '1': {stores}/fs.py, line 3: TypeError: two lines"
        )

    def test_the_line_that_is_not_python_is_named(self, stores):
        write(stores / 'fs.py', 'a = 1\nb = = 2\n')
        line = refusal(f'1={stores}/fs:S')
        assert f'{stores}/fs.py, line 2: SyntaxError' in line

    def test_the_line_that_finds_a_storage_locked_is_named(self, stores):
        holder = FileStorage(str(stores / 'fs1.fs'))
        write(stores / 'fs.py', f"\nS = FileStorage('{stores}/fs1.fs')")
        line = refusal(f'1={stores}/fs:S')
        assert f'{stores}/fs.py, line 2: ' in line and 'has the database open' in line
        holder.close()

    def test_a_missing_attribute_is_answered_with_those_there_are(self, stores):
        write(stores / 'fs.py', TWO_STORAGES)
        assert refusal(f'1={stores}/fs:Storage') == (
            f"storage '1': {stores}/fs.py has no attribute Storage; "
            'it defines the storages system, scott'
        )

    def test_an_attribute_that_is_not_a_storage_is_refused(self, stores):
        write(stores / 'fs.py', TWO_STORAGES)
        assert 'lender in ' in refusal(f'1={stores}/fs:lender')
        assert 'is not a storage: its type is object' in refusal(f'1={stores}/fs:lender')

    def test_a_module_without_storages_is_refused(self, stores):
        write(stores / 'fs.py', 'S = None')
        line = refusal(f'1={stores}/fs:S')
        assert 'is not a storage: its type is NoneType; it defines no storage' in line

    def test_a_name_given_twice_is_refused(self, stores):
        write(stores / 'fs.py', TWO_STORAGES)
        specs = [f'a={stores}/fs:system', f'a={stores}/fs:scott']
        assert "duplicate storage name 'a'" in refusal(*specs)
        assert "duplicate storage name '1'" in refusal(f'1={stores}/fs:scott', file_name='a.fs')

    def test_one_storage_under_two_names_is_refused(self, stores):
        write(stores / 'fs.py', TWO_STORAGES)
        specs = [f'a={stores}/fs:scott', f'b={stores}/fs:scott']
        assert refusal(*specs) == "'a' and 'b' are the same storage: serve it under one name"

    def test_a_locked_file_is_refused(self):
        holder = FileStorage('Data.fs')
        line = refusal()
        assert line.startswith('cannot open Data.fs: ') and 'has the database open' in line
        holder.close()

    def test_a_missing_directory_is_named(self, tmp_path):
        assert refusal(file_name='nowhere/app.fs') == (
            'cannot open nowhere/app.fs: there is no directory '
            f'{os.getcwd()}/nowhere: create it first'
        )

    def test_a_file_of_another_kind_is_refused(self, stores):
        write(stores / 'notes.txt', 'remember the milk')
        line = refusal(file_name=str(stores / 'notes.txt'))
        assert line == (
            f'cannot open {stores}/notes.txt: it is not the file of a FileStorage: check the path, '
            'or restore it from a backup'
        )

    def test_a_directory_instead_of_a_file_is_refused(self, stores):
        assert 'Is a directory' in refusal(file_name=str(stores))

    def test_missing_rights_are_reported(self, stores, monkeypatch):
        def refuse(file_name, **options):
            raise PermissionError(13, 'Permission denied', file_name)

        monkeypatch.setattr(storages_module, 'FileStorage', refuse)
        line = refusal(file_name='app.fs')
        assert line == 'cannot open app.fs: Permission denied (app.fs)'


class TestClosing:
    def test_what_was_opened_before_is_closed_again(self, stores):
        write(stores / 'good.py', f"S = FileStorage('{stores}/good.fs')")
        refusal(f'good={stores}/good:S', f'bad={stores}/bad:S')
        assert free(stores / 'good.fs')

    def test_also_storages_that_no_switch_names(self, stores):
        write(
            stores / 'good.py',
            f"S = FileStorage('{stores}/s.fs')\nT = FileStorage('{stores}/t.fs')",
        )
        refusal(f'good={stores}/good:S', f'bad={stores}/good:B')
        assert free(stores / 's.fs') and free(stores / 't.fs')

    def test_also_those_of_a_module_that_raises_then(self, stores):
        write(stores / 'bad.py', f"S = FileStorage('{stores}/s.fs')\nraise ValueError")
        refusal(f'1={stores}/bad:S')
        assert free(stores / 's.fs')

    def test_when_the_file_cannot_be_opened(self, stores):
        write(stores / 'good.py', f"S = FileStorage('{stores}/s.fs')")
        refusal(f'good={stores}/good:S', file_name='nowhere/app.fs')
        assert free(stores / 's.fs')

    def test_one_that_fails_to_close_keeps_no_other_open(self, caplog):
        class Failing(MappingStorage):
            def close(self):
                raise OSError('disk full')

        other = MappingStorage()
        close_all([Failing(), other])
        assert not other.opened()
        assert 'could not close' in caplog.text


def test_a_storage_that_does_not_say_that_it_is_one(serve, stores):
    """As tempstorage and zc.beforestorage, which sections serve as they are; one that lacks
    something is not one.
    """
    (stores / 'plain.py').write_text(
        textwrap.dedent("""
        from ZODB.MappingStorage import MappingStorage

        class Undeclared:
            def __init__(self, storage):
                self._inner = storage

            def __getattr__(self, name):
                return getattr(self._inner, name)

        class Proxy:
            def __getattr__(self, name):
                raise RuntimeError('there is no request')

        Storage = Undeclared(MappingStorage())
        half = Undeclared(object())
        proxy = Proxy()
    """)
    )
    (storage,) = serve(f'1={stores}/plain:Storage').values()
    assert storage.getName() == 'MappingStorage'
    for name in ('half', 'proxy'):
        with pytest.raises(
            ConfigurationError,
            match=f'{name} in .* not a storage: .*; it defines the storages Storage',
        ):
            serve(f'1={stores}/plain:{name}')
