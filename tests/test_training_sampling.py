from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuronscope.facts.fact import Fact
from neuronscope.training.sampling import batches, groups_of


def facts(count):
    return tuple(Fact(str(i), f"prompt {i}", "answer") for i in range(count))


@given(st.integers(1, 12), st.integers(1, 15), st.integers(0, 5))
def test_every_fact_occurs_once_before_any_fact_occurs_again(count, size, seed):
    drawn = list(islice(batches(facts(count), size, seed, "forget"), 12))
    assert {len(batch) for batch in drawn} == {min(size, count)}
    assert all(len(set(batch)) == len(batch) for batch in drawn)
    stream = [fact for batch in drawn for fact in batch]
    for start in range(0, len(stream) - count + 1, count):
        assert set(stream[start : start + count]) == set(facts(count))


def test_the_order_depends_only_on_seed_and_split():
    def drawn(**changes):
        arguments = {"seed": 0, "split": "forget", "skip": 0} | changes
        return list(islice(batches(facts(10), 4, **arguments), 6))

    assert drawn() == drawn() and drawn(skip=2)[:4] == drawn()[2:]
    assert drawn() != drawn(seed=1) and drawn() != drawn(split="retain")


def test_without_facts_batches_are_empty():
    assert list(islice(batches((), 4, 0, "retain"), 2)) == [(), ()]


@given(st.integers(1, 30), st.integers(1, 5), st.integers(1, 9))
def test_processes_share_all_facts_of_a_step_in_equally_many_groups(count, processes, micro_batch):
    if count < processes:
        return
    shares = [groups_of(facts(count), i, processes, micro_batch) for i in range(processes)]
    assert sum((g for share in shares for g in share), ()) == facts(count)
    assert len({len(share) for share in shares}) == 1
    sizes = [len(group) for share in shares for group in share]
    assert min(sizes) > 0 and max(sizes) <= micro_batch + (processes > 1)


@pytest.mark.parametrize(("count", "sizes"), [(8, [8]), (9, [4, 5]), (17, [5, 6, 6])])
def test_one_process_divides_facts_evenly(count, sizes):
    assert [len(group) for group in groups_of(facts(count), 0, 1, 8)] == sizes
