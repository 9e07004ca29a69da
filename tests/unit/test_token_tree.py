"""A tree of tokens stores each beginning once and lets each node see its own ancestors alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lemon.evaluation.token_tree import TokenTree, common_beginning

SEQUENCES = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=12), min_size=1, max_size=9)


def test_a_beginning_is_stored_once() -> None:
    tree = TokenTree(prefix_length=2)
    assert tree.add([7, 8, 9]) == [0, 1, 2]
    assert tree.add([7, 8, 4]) == [0, 1, 3]
    assert tree.shared([7, 8, 4, 1]) == 3
    assert tree.shared([8]) == 0
    assert tree.add([7, 5]) == [0, 4]
    assert tree.grow(4, behind=1) == 5  # not node 3, which has the same place
    assert tree.tokens == [7, 8, 9, 4, 5, 4]
    assert tree.positions == [2, 3, 4, 4, 3, 4]
    assert tree.visible().int().tolist() == [
        [1, 1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 1, 0, 0],
        [1, 1, 1, 0, 0, 0, 1, 0],
        [1, 1, 1, 1, 0, 0, 0, 1],
    ]
    assert tree.visible(first=4).tolist() == tree.visible()[4:].tolist()


@given(SEQUENCES)
def test_each_node_sees_its_own_sequence_up_to_itself(sequences: list[list[int]]) -> None:
    tree = TokenTree()
    paths = [tree.add(sequence) for sequence in sequences]
    seen = tree.visible()
    for sequence, path in zip(sequences, paths, strict=True):
        assert [tree.tokens[node] for node in path] == sequence
        assert [tree.positions[node] for node in path] == list(range(len(sequence)))
        for depth, node in enumerate(path):
            assert seen[node].nonzero().flatten().tolist() == sorted(path[: depth + 1])
    assert len(tree.tokens) == len({tuple(s[: n + 1]) for s in sequences for n in range(len(s))})


@given(SEQUENCES)
def test_the_common_beginning_is_the_longest(sequences: list[list[int]]) -> None:
    shared = common_beginning(sequences)
    assert all(sequence[: len(shared)] == shared for sequence in sequences)
    longer = {tuple(sequence[: len(shared) + 1]) for sequence in sequences}
    assert len(longer) > 1 or len(shared) == min(map(len, sequences))
