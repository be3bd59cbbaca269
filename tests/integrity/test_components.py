"""One union-find: its sets are the connected components, whatever the order of the joins."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fibrokd.integrity.components import Components

COUNT = 12
PAIRS = st.lists(st.tuples(st.integers(0, COUNT - 1), st.integers(0, COUNT - 1)), max_size=20)


@given(PAIRS, st.randoms())
def test_sets_are_the_connected_components_and_named_by_their_smallest_item(pairs, random):
    sets = Components(COUNT)
    merges = sum(sets.join(*pair) for pair in pairs)
    edges = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(pairs)), (edges[0], edges[1])), shape=(COUNT, COUNT))
    count, labels = connected_components(graph, directed=False)
    assert sets.heads().tolist() == [labels.tolist().index(label) for label in labels]
    assert merges == COUNT - count
    again = Components(COUNT)
    for one, other in random.sample(pairs, len(pairs)):
        again.join(other, one)
    assert again.heads().tolist() == sets.heads().tolist()


def test_nothing_to_join_leaves_every_item_alone():
    assert Components(3).heads().tolist() == [0, 1, 2]
    assert Components(0).heads().tolist() == []
