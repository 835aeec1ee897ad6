"""The curve of the relearning probe shows the values of its table."""

import pandas as pd

from neuronscope.plots.relearning_probe_curve import relearning_probe_curve

PROBE = pd.DataFrame(
    [
        (control, distance, round(16 * share), 16, share, max(share - 0.2, 0), min(share + 0.2, 1))
        for control, shares in ((-1, (0, 0.5, 1.0)), (0, (0, 0, 0.25)), (1, (0, 0.125, 0.25)))
        for distance, share in zip((0.0, 1e-4, 2e-4), shares, strict=True)
    ],
    columns=["control", "distance", "answered", "total", "share", "low", "high"],
)


def test_every_draw_is_a_line_and_the_true_answers_have_a_band():
    figure = relearning_probe_curve(PROBE)
    lines = [trace for trace in figure.data if trace.customdata is not None]
    assert [list(trace.y) for trace in lines] == [[0, 0, 0.25], [0, 0.125, 0.25], [0, 0.5, 1.0]]
    (band,) = (trace for trace in figure.data if trace.customdata is None)
    assert list(band.y)[:3] == [0.2, 0.7, 1.0] and list(band.y)[:2:-1] == [0, 0.3, 0.8]
    # One entry in the legend for all wrong answers.
    assert sum(bool(trace.showlegend) for trace in lines) == 2


def test_the_logarithmic_axis_includes_the_start():
    figure = relearning_probe_curve(PROBE)
    start, *others = figure.data[-1].x
    assert 0 < start < 1e-4 and others == [1e-4, 2e-4]
    assert figure.layout.xaxis.ticktext[0] == "0" and figure.layout.xaxis.tickvals[0] == start
    assert "16 forgotten" in figure.layout.title.subtitle.text.replace("<br>", " ")
