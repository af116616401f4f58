"""All rules of a server: what each client may do with each storage.

Enters: rules for one storage or for all, in their order; an identity. Leaves: its right, by the
first rule that is about both. Fails: ValueError for lines that are not rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ZEO.serving.access.identity import Identity
from ZEO.serving.access.rules import Right, Rule, rule


@dataclass(frozen=True)
class Section:
    """Some rules for one storage; for every storage where `storage` is None.

    :param place: where they are configured, for errors.
    """

    storage: str | None
    rules: tuple[Rule, ...]
    place: str = field(default='', compare=False)


@dataclass(frozen=True)
class Access:
    """What clients may do.

    :param sections: in the order in which they are looked at.
    """

    sections: tuple[Section, ...]

    @classmethod
    def of(cls, rules: Iterable[str] | Mapping[str, Iterable[str]]) -> Access:
        """Return the access that rules allow, as ``['unix-user zope write', 'anyone read']``.

        :param rules: for every storage; or a mapping from names of storages to rules for each, with
            the name ``''`` for every storage.
        :raises ValueError: when one of them is not a rule.
        """
        by_storage = rules if isinstance(rules, Mapping) else {'': rules}
        return cls(
            tuple(
                Section(storage or None, tuple(map(rule, lines)))
                for storage, lines in by_storage.items()
            )
        )

    def right(self, identity: Identity, storage: str) -> Right:
        """Return what a client may do with a storage: nothing, if no rule says so."""
        found = self.rule(identity, storage)
        return Right.NOTHING if found is None else found.right

    def rule(self, identity: Identity, storage: str) -> Rule | None:
        """Return the rule that decides that."""
        if identity.trouble:
            return None
        for section in self.sections:
            if section.storage in (None, storage):
                for one in section.rules:
                    if one.matches(identity):
                        return one
        return None
