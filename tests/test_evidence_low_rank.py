"""Matrices are complete, their directions sum to the change, and undoing restores each part."""

import numpy as np
import pytest
import torch
from test_evidence_low_rank_restoration import case_of, known_to, only_matrices
from test_evidence_weight_path import changed, jittered
from tiny import ARCHITECTURES, StayDouble, every_expert, tiny

from neuronscope.evidence._low_rank import DENSE, OVERSAMPLING, leading, matrices, random_like
from neuronscope.evidence._undoing import Undoing


def undone(case, rank=16):
    return Undoing(case, matrices(case.after), rank, 0, lambda: None)


@pytest.fixture(scope="module")
def before():
    return tiny("llama")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_entry_of_the_layers_matrices_belongs_to_exactly_one_matrix(architecture):
    model = tiny(architecture)
    counts = changed(model, lambda name, p: p.zero_())
    for matrix in matrices(counts):
        parameter = counts.hf.get_parameter(matrix.parameter)
        with torch.no_grad():
            matrix.put(parameter, matrix.of(parameter) + 1)
        assert matrix.rank(parameter) == min(matrix.of(parameter).shape)
    for name, count in counts.hf.named_parameters():
        inside = count.dim() > 1 and ("layers." in name or ".h." in name)
        assert (count == int(inside)).all(), name


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox", "llama", "opt", "mixtral"])
def test_columns_of_a_matrix_read_and_rows_write(architecture):
    model = tiny(architecture)
    for matrix in matrices(model):
        parameter = model.hf.get_parameter(matrix.parameter)
        values = matrix.of(parameter)
        writes, reads = values.shape
        if matrix.module in ("mlp.down", "attn.o"):
            assert writes == 16 and reads == len(matrix.neurons)
        if matrix.expert != DENSE or matrix.module == "other":
            continue
        module = model.hf.get_submodule(matrix.parameter.rpartition(".")[0])
        flow = torch.randn(3, reads, dtype=torch.float64)
        written = (module(flow) - module(torch.zeros_like(flow))).detach()
        mine = written if writes == written.shape[-1] else written[:, matrix.places]
        torch.testing.assert_close(mine, (flow @ values.T).detach())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_all_directions_together_restore_the_original_matrices(architecture):
    with StayDouble():
        before = tiny(architecture, **every_expert(architecture))
        case = case_of(before, only_matrices(before))
        undoing = undone(case)
        wanted = case.measure(before, undoing.evaluated).score[undoing.evaluated]
        everything = undoing.low_rank(undoing.found, 16).score[undoing.evaluated]
        copied = undoing.whole_matrices(range(len(undoing.whole))).score[undoing.evaluated]
    assert np.abs(wanted - case.at_last.score[undoing.evaluated]).max() > 0.1
    np.testing.assert_allclose(everything, wanted, atol=1e-9)
    np.testing.assert_array_equal(copied, wanted)
    assert undoing.outside == pytest.approx(0, abs=1e-12)


def test_interpolation_runs_from_the_unlearned_to_the_original_model(before):
    case = case_of(before, jittered(before, by=1.0))
    undoing = undone(case)
    for alpha, wanted in ((1.0, case.before), (0.0, case.after)):
        scores, own = (
            undoing.interpolated(alpha).score,
            case.measure(wanted, undoing.evaluated).score,
        )
        np.testing.assert_array_equal(scores, own)
        for name, parameter in wanted.hf.named_parameters():
            assert torch.equal(parameter, undoing.model.hf.get_parameter(name))
    np.testing.assert_array_equal(undoing.nothing.score, undoing.interpolated(0.0).score)


def test_parts_cover_the_whole_change_and_are_undone_separately(before):
    case = case_of(before, jittered(before, by=1.0))
    undoing = undone(case)
    after = dict(case.after.hf.named_parameters())

    def moved():
        """Squared distance from the unlearned model, as a share of the change's energy."""
        square = {
            name: float((p.detach() - after[name].detach()).square().sum())
            for name, p in undoing.model.hf.named_parameters()
        }
        return sum(square.values()) / sum(undoing.energies.values())

    shares = []
    for at in range(len(undoing.whole)):
        undoing.whole_matrices([at])
        shares.append(moved())
        assert shares[-1] == pytest.approx(undoing.energy_of([at]), rel=1e-9)
    undoing.everything_else()
    assert moved() == pytest.approx(undoing.outside, rel=1e-9) and undoing.outside > 0.1
    assert sum(shares) + moved() == pytest.approx(1, rel=1e-12)
    for layer in range(2):
        _, energy = undoing.layers([layer])
        assert energy == pytest.approx(moved(), rel=1e-9) and 0.1 < energy < 0.9
    for rank in (1, 3):
        undoing.low_rank(undoing.found, rank)
        inside = undoing.energy_at(rank) * (1 - undoing.outside)
        assert moved() == pytest.approx(inside, rel=1e-9)
    assert undoing.energy_at(16) == pytest.approx(1, rel=1e-12)


def test_the_residual_has_the_norm_of_the_remaining_singular_values():
    change = torch.randn(9, 14, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    directions = leading(change, 9, 0)
    for rank in range(10):
        left = (change - directions.part(rank)).square().sum()
        torch.testing.assert_close(left, directions.sizes[rank:].square().sum())
    assert directions.energy == pytest.approx(float(directions.sizes.square().sum()))


def test_the_randomized_decomposition_is_accurate_if_singular_values_decay():
    generator = torch.Generator().manual_seed(2)
    left = torch.linalg.qr(torch.randn(200, 200, generator=generator, dtype=torch.float64)).Q
    right = torch.linalg.qr(torch.randn(300, 200, generator=generator, dtype=torch.float64)).Q
    sizes = 1.0 / torch.arange(1, 201, dtype=torch.float64)
    change = (left * sizes) @ right.T
    assert min(change.shape) > 2 * (8 + OVERSAMPLING)
    state = torch.get_rng_state()
    directions = leading(change, 8, 0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(directions.sizes, sizes[:8], rtol=1e-6, atol=0)
    for rank in (1, 8):
        residual = float((change - directions.part(rank)).square().sum())
        assert residual == pytest.approx(float(sizes[rank:].square().sum()), rel=1e-6)
    assert torch.equal(directions.writes, leading(change, 8, 0).writes)


def test_random_directions_have_the_norm_of_the_change_at_every_rank(before):
    undoing = undone(case_of(before, jittered(before, by=1.0)))
    first, second = undoing.random(0), undoing.random(1)
    for own, one, other in zip(undoing.found, first, second, strict=True):
        for rank in (1, 2, 12):
            norm = own.part(rank).norm()
            torch.testing.assert_close(one.part(rank).norm(), norm)
            torch.testing.assert_close(other.part(rank).norm(), norm)
        for side in (one.writes, one.reads):
            eye = torch.eye(side.shape[1], dtype=side.dtype)
            torch.testing.assert_close(side.T @ side, eye)
        assert (one.writes - other.writes).abs().max() > 0.1
    again = random_like(undoing.found[0], torch.Generator().manual_seed(0))
    assert torch.equal(again.reads, first[0].reads)


def test_half_precision_models_are_restored_in_single_precision():
    before = tiny("llama", dtype=torch.bfloat16)
    after = jittered(before, by=0.01)
    undoing = undone(case_of(before, after, known_to(before)))
    assert undoing.model.dtype == torch.float32
    undoing.low_rank(undoing.found, 16)
    for matrix in undoing.whole:
        put, wanted = (
            matrix.of(model.hf.get_parameter(matrix.parameter)) for model in (undoing.model, before)
        )
        torch.testing.assert_close(put, wanted.float(), rtol=0, atol=1e-6)
    assert before.dtype == after.dtype == torch.bfloat16
