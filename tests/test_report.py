import dataclasses
import re
import shlex
from html.parser import HTMLParser

import numpy as np
import pytest
import tyro
from diagnosis_example import FORGET, INHIBITOR, RETAIN, WIDTHS, example_diagnosis, neuron_table

from neuronscope.analysis.influence_variation import cumulative_curve, module_map
from neuronscope.cli import commands_for
from neuronscope.cli.command import task_of
from neuronscope.report import write_report
from neuronscope.report.figures import figures_by_site, shared_figures
from neuronscope.report.numbers import count, number
from neuronscope.report.page import render_report, reproducing_command
from neuronscope.report.sentences import sentence
from neuronscope.report.tables import (
    TOP_FACTS,
    TOP_NEURONS,
    before_and_after,
    completeness_table,
    fact_table,
    largest_error,
    measures,
    provenance_rows,
)
from neuronscope.report.tables import neuron_table as neuron_rows

EVIL = '<script>alert("1")</script><img src="http://evil.example/x">'


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.inside = [], "", ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        self.text += "" if self.inside else data


def text_of(page):
    """The page's text, with single spaces."""
    return " ".join(Page(page).text.split())


@pytest.fixture(scope="module")
def diagnosis():
    return example_diagnosis()


@pytest.fixture(scope="module")
def page(diagnosis):
    return render_report(diagnosis)


def large(diagnosis, layers, widths):
    """The diagnosis with as many neurons as a real model."""
    neurons = neuron_table(layers, widths)
    template = diagnosis.layers.head(1)
    rows = template.loc[template.index.repeat(layers * len(widths))]
    return dataclasses.replace(
        diagnosis,
        sites=tuple(widths),
        neurons=neurons,
        layers=rows.assign(
            site=np.repeat(list(widths), layers), layer=np.tile(np.arange(layers), len(widths))
        ),
        curve=cumulative_curve(neurons),
        modules=module_map(neurons),
        n_spurious=int(neurons["spurious"].sum()),
    )


def test_the_page_loads_nothing(page):
    parsed = Page(page)
    loading = ("src", "href", "srcset", "action", "data", "poster", "background")
    assert [tag for tag in parsed.tags if set(tag[1]) & set(loading)] == []
    assert not {"link", "iframe", "object", "embed", "base"} & {tag for tag, _ in parsed.tags}
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style and "@import" not in style
    (policy,) = [tag["content"] for _, tag in parsed.tags if "http-equiv" in tag]
    assert policy.startswith("default-src 'none'") and "http" not in policy
    assert page.count("plotly.js v") == 1


def test_the_page_asks_the_question_and_explains_what_the_attributions_suggest(diagnosis, page):
    text = text_of(page)
    assert diagnosis.reading == "hidden"
    assert "Erased, or only hidden?" in text
    assert f"What the attributions suggest hidden {sentence(diagnosis)}" in text
    assert "This is not a verdict" in text and "SmolLM2-135M" in text


def test_every_reading_can_be_shown(diagnosis):
    for reading in ("hidden", "erased", "mixed", "not forgotten"):
        text = render_report(dataclasses.replace(diagnosis, reading=reading))
        assert f'<p class="word">{reading}</p>' in text
        assert f'<div class="chosen"><dt>{reading}</dt>' in text


def test_text_from_outside_is_escaped_everywhere(diagnosis):
    facts = diagnosis.facts.assign(fact=EVIL)
    before = dataclasses.replace(
        diagnosis.provenance_before, model=EVIL, notes=(EVIL,), settings={EVIL: EVIL}
    )
    evil = dataclasses.replace(
        diagnosis,
        facts=facts,
        warnings=(EVIL,),
        provenance_before=before,
        provenance_after=before,
    )
    text = render_report(evil, title=EVIL)
    assert "alert(&#34;1&#34;)" in text
    assert 'alert("1")' not in text
    assert "img" not in {tag for tag, _ in Page(text).tags}
    assert len(re.findall("<script", text)) == len(re.findall("<script", render_report(diagnosis)))


def test_a_units_or_sites_text_cannot_end_the_figures_script(diagnosis):
    (spec,) = {shared_figures(dataclasses.replace(diagnosis, unit="nats"))["curve"].spec}
    assert "<" not in spec and ">" not in spec and "&" not in spec
    assert "\\u003cextra\\u003e" in spec  # plotly's own markup is still there


@pytest.mark.parametrize(
    ("layers", "widths"), [(28, {"mlp.post": 27_648}), (28, WIDTHS)], ids=["one site", "seven"]
)
def test_774144_neurons_make_a_page_below_eight_megabytes(tmp_path, diagnosis, layers, widths):
    many = large(diagnosis, layers, widths)
    assert len(many.neurons) == 774_144
    path = tmp_path / "report.html"
    write_report(many, path)
    assert 5e6 < path.stat().st_size < 8e6
    drawn = figures_by_site(many)
    assert set(drawn) == set(widths)
    assert all(len(figures) == 2 for figures in drawn.values())


def test_the_site_where_most_changed_is_shown_first(diagnosis):
    many = large(diagnosis, 2, {"mlp.post": 10, "attn.o": 10})
    changed = many.neurons.assign(d_minus=np.where(many.neurons["site"] == "attn.o", 2.0, 0.0))
    assert list(figures_by_site(dataclasses.replace(many, neurons=changed))) == [
        "attn.o",
        "mlp.post",
    ]


def test_a_joint_path_shows_its_one_decomposition_with_the_first_site(diagnosis):
    many = large(diagnosis, 2, {"mlp.post": 30, "attn.o": 10})
    layers = many.layers.drop_duplicates("site").assign(layer="all")
    drawn = figures_by_site(dataclasses.replace(many, layers=layers))
    assert [len(figures) for figures in drawn.values()] == [2, 1]


def test_rates_carry_their_counts_and_wilson_intervals(diagnosis):
    assert count(16, 16) == "16 of 16 [81–100\xa0%]"
    assert count(4, 27) == "4 of 27 [6–32\xa0%]"
    cells = before_and_after(diagnosis)
    assert cells["answered"] == (count(FORGET, FORGET), count(0, FORGET), f"−{FORGET}")
    assert cells["score"][2].startswith("−2.00 [−2.0")


def test_numbers_have_three_digits_and_typographic_signs():
    shown = [number(value) for value in (0.0, -2.8, 123.4, 98_765.4, 0.00003, -1e-12, float("nan"))]
    assert shown == ["0", "−2.80", "123", "98,765", "3.00·10⁻⁵", "−1.00·10⁻¹²", "–"]


def test_the_spurious_count_comes_with_its_test_or_the_reason_for_none(diagnosis, page):
    assert measures(diagnosis)["spurious"] == ("1 of 24",)
    assert "other facts of the same relation" in text_of(page)
    untested = dataclasses.replace(diagnosis, n_spurious=None, n_null=0)
    assert measures(untested)["spurious"] == ("not tested",)
    assert "the recordings contain no other facts" in text_of(render_report(untested))
    reduced = dataclasses.replace(untested, n_null=RETAIN)
    assert "contain only means" in text_of(render_report(reduced))


def test_missing_intervals_are_left_out(diagnosis):
    nothing = (float("nan"), float("nan"))
    reduced = dataclasses.replace(diagnosis, drop_ci95=nothing)
    assert before_and_after(reduced)["score"][2] == "−2.00 "


def test_the_first_neuron_of_the_table_is_the_planted_one(diagnosis):
    table = neuron_rows(diagnosis.neurons)
    assert len(table.rows) == table.total == diagnosis.n_spurious == 1
    assert [cell.text for cell in table.rows[0][:3]] == ["mlp.post", *map(str, INHIBITOR)]
    d_minus = table.rows[0][table.header.index("D⁻")]
    assert d_minus.key == pytest.approx(diagnosis.neurons["d_minus"].max())


def test_the_table_of_neurons_is_sorted_and_cut(diagnosis):
    neurons = neuron_table(5, {"mlp.post": 2000})
    table = neuron_rows(neurons)
    keys = [row[table.header.index("D⁻")].key for row in table.rows]
    assert keys == sorted(keys, reverse=True) and len(keys) == TOP_NEURONS
    assert table.total == neurons["spurious"].sum()
    assert neuron_rows(neurons.assign(spurious=False)).total == len(neurons)


def test_in_a_mixture_the_table_names_expert_and_index():
    neurons = neuron_table(2, {"mlp.post": 40, "attn.o": 10}).assign(spurious=False)
    post = neurons["site"] == "mlp.post"
    neurons["expert"] = (neurons["neuron"] // 10).astype("Int64").where(post)
    neurons.loc[27, "d_minus"], neurons.loc[85, "d_minus"] = 9.0, 8.0
    first, second = (
        dict(zip(neuron_rows(neurons).header, row, strict=True))
        for row in neuron_rows(neurons).rows[:2]
    )
    assert [first[name].text for name in ("neuron", "expert", "index")] == ["27", "2", "7"]
    assert [second[name].text for name in ("site", "neuron", "expert")] == ["attn.o", "5", "–"]


def test_facts_to_be_forgotten_come_first_and_long_lists_are_cut(diagnosis):
    table = fact_table(diagnosis.facts.iloc[::-1])
    splits = [row[1].text for row in table.rows]
    assert splits == ["forget"] * FORGET + ["retain"] * RETAIN
    assert [cell.text for cell in table.rows[0][-2:]] == ["yes", "no"]
    many = diagnosis.facts.iloc[np.zeros(TOP_FACTS + 5, dtype=int)]
    assert (len(fact_table(many).rows), fact_table(many).total) == (TOP_FACTS, TOP_FACTS + 5)


def test_each_layers_completeness_error_and_flagged_errors_are_shown(diagnosis, page):
    rows = completeness_table(diagnosis.completeness_by_layer).rows
    assert [row[1].text for row in rows] == ["0", "1"]
    assert all(cell.key == pytest.approx(1e-3, abs=1e-6) for row in rows for cell in row[2:])
    assert largest_error(diagnosis).endswith("nats, 0.05\xa0% of the drop")
    assert "drop" not in largest_error(dataclasses.replace(diagnosis, drop=0.0))
    assert "are within the method's tolerance" in text_of(page)
    flagged = dataclasses.replace(diagnosis, unconverged=7)
    assert "7 errors (per fact, layer and model) exceed" in text_of(render_report(flagged))
    free = dataclasses.replace(diagnosis.provenance_before, settings={})
    free = dataclasses.replace(diagnosis, provenance_before=free)
    assert "has no tolerance" in text_of(render_report(free))


def test_only_integrated_gradients_are_called_complete(diagnosis, page):
    assert "Integrated gradients are complete" in text_of(page)
    for method in ("gradient_x_activation", "conductance"):
        other = render_report(dataclasses.replace(diagnosis, attribution=method))
        assert f"({method}) is not guaranteed to be complete" in text_of(other)


def test_provenance_is_shown_once_where_both_recordings_agree(diagnosis):
    rows = {row.name: row.cells for row in provenance_rows(diagnosis)}
    assert rows["model"] == ("a/model", "a/model-after")
    assert rows["settings"] == ("steps = 8, tolerance = 0.01",)
    assert set(rows) >= {"model hash", "facts hash", "versions", "notes", "dtype"}


def test_the_command_line_reads_the_command_to_reproduce(diagnosis):
    models = {"model": "models/it's; rm -rf $HOME", "prompt_form": "chat"}
    before = dataclasses.replace(diagnosis.provenance_before, **models)
    sites = ("mlp.post", "attn.q")
    asked = dataclasses.replace(diagnosis, provenance_before=before, sites=sites)
    program, *options = shlex.split(reproducing_command(asked))
    assert (program, options[0]) == ("neuronscope", "diagnose")
    parsed = tyro.extras.subcommand_cli_from_dict(
        commands_for(options), args=options, config=(tyro.conf.OmitArgPrefixes,)
    )
    task = task_of(parsed.command, vars(parsed))
    assert (task.before, task.after) == (before.model, diagnosis.provenance_after.model)
    assert (task.attribution, task.loading.dtype) == ("integrated-gradients", "float32")
    assert (task.target, task.form, tuple(task.sites)) == ("log-odds", "chat", sites)


def test_a_failed_report_leaves_the_existing_page_unchanged(tmp_path, diagnosis):
    path = tmp_path / "report.html"
    path.write_text("older")
    broken = dataclasses.replace(diagnosis, neurons=diagnosis.neurons.drop(columns="spurious"))
    with pytest.raises(KeyError):
        write_report(broken, path)
    assert path.read_text() == "older" and list(tmp_path.iterdir()) == [path]
    write_report(diagnosis, path)
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_refused_before_drawing(tmp_path, diagnosis):
    broken = dataclasses.replace(diagnosis, neurons=diagnosis.neurons.drop(columns="spurious"))
    with pytest.raises(FileNotFoundError, match=r"No folder .*nowhere to write report.html to"):
        write_report(broken, tmp_path / "nowhere" / "report.html")


def test_equal_diagnoses_make_equal_pages(diagnosis, page):
    assert render_report(example_diagnosis()) == page
