"""The wiring of a site: what somebody stated, completed by what was discovered."""

from datetime import datetime

from domain.topology import Topology, merged, topology_from_document, topology_to_document
from storage.documents import read_document, write_document
from storage.store import Store

_STATED, _DISCOVERED = "default", "discovered"  # the names of its two documents


def read_topology(store: Store) -> Topology:
    """The wiring as last told, completed by what was discovered; empty when nobody told or discovered any."""
    return merged(_read_topology(store, _STATED), _read_topology(store, _DISCOVERED))


def write_topology(store: Store, topology: Topology, now: datetime, *, discovered: bool = False) -> None:
    """Keep the wiring that somebody told, or the one that was discovered: each in place of the last of its kind."""
    write_document(store, "topology", _DISCOVERED if discovered else _STATED, topology_to_document(topology), now)


def _read_topology(store: Store, name: str) -> Topology:
    document = read_document(store, "topology", name)
    return topology_from_document(document) if document is not None else Topology()
