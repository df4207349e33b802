"""Classifier-free guidance and dynamic thresholding, by hand."""

import pytest
import torch

from gatlas.diffusion.guidance import dynamic_threshold, guide, guided


def test_guidance_is_one_more_than_the_weight_of_the_paper():
    conditional, unconditional = torch.tensor([2.0, -1.0]), torch.tensor([1.0, 4.0])
    weight = 2.5
    expected = (1 + weight) * conditional - weight * unconditional  # 4.5, -13.5
    torch.testing.assert_close(guide(conditional, unconditional, 1 + weight), expected)
    torch.testing.assert_close(expected, torch.tensor([4.5, -13.5]))


def test_both_predictions_come_from_one_call():
    x = torch.tensor([[1.0], [10.0]])
    calls = []

    def predict(rows, conditional):
        calls.append(conditional.tolist())
        return rows * torch.where(conditional, 2.0, 1.0)[:, None]

    assert guided(predict, x, 3.0).tolist() == [[4.0], [40.0]]  # x + 3 (2 x - x)
    assert guided(predict, x, 1.0).tolist() == [[2.0], [20.0]]
    assert calls == [[True, True, False, False], [True, True]]


def test_a_guided_prediction_leaves_the_samples_alone():
    x = torch.ones(2, 3)
    guided(lambda rows, conditional: rows.mul_(2), x, 1.0)
    assert torch.equal(x, torch.ones(2, 3))


def test_dynamic_thresholding_scales_each_sample_by_its_own_quantile_but_never_up():
    x0 = torch.tensor([[-4.0, 2.0, 1.0, 0.0, 1.0], [0.5, -0.5, 0.25, 0.0, 0.125]])
    # The 0.75 quantile of 0 1 1 2 4 is 2; that of the second sample is less than 1.
    expected = torch.tensor([[-1.0, 1.0, 0.5, 0.0, 0.5], x0[1].tolist()])
    torch.testing.assert_close(dynamic_threshold(x0, 0.75), expected)
    assert float(dynamic_threshold(100 * x0).abs().max()) == pytest.approx(1.0)
