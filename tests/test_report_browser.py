"""The page in a real browser: `pytest -m browser`."""

import dataclasses

import pandas as pd
import pytest
from browsing import WIDTHS, asked, show
from diagnosis_example import FORGET, INHIBITOR, RETAIN, example_diagnosis, example_recordings
from findings_example import causal_diagnosis
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

from neuronscope.plots._look import DARK, PAPER
from neuronscope.report import write_report
from neuronscope.report.explorer import explorer

pytestmark = pytest.mark.browser

NASTY = "<script>alert(1)</script>"

PAGES = {"reading": (example_diagnosis, 6), "verdict": (causal_diagnosis, 12)}
"""The diagnosis of each page, and its number of figures."""


@pytest.fixture(scope="module", params=PAGES)
def page(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    diagnosis, figures = PAGES[request.param]
    write_report(diagnosis(), path, explorer=explored())
    return path.as_uri(), figures


def explored():
    """An explorer; a token and a fact contain markup."""
    before, after = (
        dataclasses.replace(one, fact_ids=(NASTY, *one.fact_ids[1:]))
        for one in example_recordings()
    )
    place = {"site": "mlp.post", "layer": INHIBITOR[0], "neuron": INHIBITOR[1]}
    tokens = pd.DataFrame([place | {"promotes": [" Paris", NASTY], "suppresses": ["the"]}])
    return explorer(before, after, example_diagnosis().neurons, tokens)


@pytest.fixture
def address(page):
    return page[0]


def column(table, index):
    return [row.find_elements(By.TAG_NAME, "td")[index].text for row in table]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_draws_all_figures_without_an_error_and_asks_for_nothing_but_itself(
    browser, page, width, scheme
):
    address, drawn = page
    browser.get("about:blank")
    browser.get_log("performance")
    show(browser, address, width, scheme)
    figures = browser.find_elements(By.TAG_NAME, "figure")
    assert len(figures) == drawn
    assert all(figure.find_elements(By.CSS_SELECTOR, "svg.main-svg") for figure in figures)
    assert browser.get_log("browser") == []
    assert asked(browser) == {address}


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_sticks_out_of_the_page(browser, address, width):
    show(browser, address, width)
    page = browser.find_element(By.TAG_NAME, "html")
    assert page.get_property("scrollWidth") <= page.get_property("clientWidth") <= width
    for plot in browser.find_elements(By.CSS_SELECTOR, ".plot .main-svg"):
        assert plot.rect["x"] >= 0 and plot.rect["x"] + plot.rect["width"] <= width


def test_bars_lie_on_their_scales_at_any_width(browser, tmp_path):
    path = tmp_path / "report.html"
    write_report(causal_diagnosis(), path)
    for width in WIDTHS:
        show(browser, path.as_uri(), width)
        scales = browser.find_elements(By.CSS_SELECTOR, ".estimates .track, .ends .track")
        shown = [scale for scale in scales if scale.is_displayed()]
        assert len(shown) > 10
        for scale in shown:
            least, most = scale.rect["x"], scale.rect["x"] + scale.rect["width"]
            assert most - least > 80
            for mark in scale.find_elements(By.CSS_SELECTOR, ".range, .zero, .noise"):
                assert least - 1 <= mark.rect["x"]
                assert mark.rect["x"] + mark.rect["width"] <= most + 3


def test_figures_follow_the_colour_scheme_of_the_page(browser, address):
    papers = {"light": PAPER, "dark": DARK[PAPER]}
    for scheme, paper in papers.items():
        show(browser, address, scheme=scheme)
        script = "return document.querySelector('.plot')._fullLayout.paper_bgcolor"
        assert browser.execute_script(script) == paper
        background = "return getComputedStyle(document.body).backgroundColor"
        rgb = tuple(int(paper[at : at + 2], 16) for at in (1, 3, 5))
        assert browser.execute_script(background) == f"rgb{rgb}"


def test_a_click_on_a_heading_sorts_and_a_second_click_turns_the_order(browser, address):
    show(browser, address)
    table = browser.find_element(By.XPATH, "//h2[.='Facts']/..//table")
    heading = table.find_elements(By.CSS_SELECTOR, "th")[3]
    rows = table.find_elements(By.CSS_SELECTOR, "tbody tr")
    unsorted = [float(text.replace("−", "-")) for text in column(rows, 3)]
    assert unsorted != sorted(unsorted)
    for reverse, state in ((True, "descending"), (False, "ascending")):
        heading.find_element(By.TAG_NAME, "button").click()
        rows = table.find_elements(By.CSS_SELECTOR, "tbody tr")
        values = [float(text.replace("−", "-")) for text in column(rows, 3)]
        assert values == sorted(unsorted, reverse=reverse)
        assert heading.get_attribute("aria-sort") == state


def test_pointing_at_the_heatmap_names_the_planted_neuron(browser, address):
    show(browser, address)
    place = browser.execute_script(
        """
        const plot = document.querySelector("#map-0 .plot");
        plot.scrollIntoView();
        const { xaxis2, yaxis2 } = plot._fullLayout;
        const { left, top } = plot.getBoundingClientRect();
        const [layer, neuron] = arguments;
        return {
            x: left + xaxis2._offset + xaxis2.d2p(neuron),
            y: top + yaxis2._offset + yaxis2.d2p(String(layer)),
        };
        """,
        *INHIBITOR,
    )
    browser.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", **place})
    script = "return document.querySelector('#map-0 .hoverlayer').textContent"
    text = WebDriverWait(browser, 5).until(lambda driver: driver.execute_script(script))
    assert "layer 1, neuron 3: -2" in text.replace("−", "-") and "after" in text


def test_a_chosen_neuron_shows_its_facts_and_tokens_and_markup_in_them_is_text(browser, address):
    show(browser, address)
    section = browser.find_element(By.ID, "explorer")
    first = section.find_element(By.ID, "explored")
    assert first.text == "mlp.post, layer {}, neuron {}: spurious".format(*INHIBITOR)
    tokens = [code.text for code in section.find_elements(By.CSS_SELECTOR, ".tokens code")]
    assert tokens == ['" Paris"', f'"{NASTY}"', '"the"']
    rows = section.find_elements(By.CSS_SELECTOR, "tbody tr")
    assert len(rows) == FORGET + RETAIN
    assert set(column(rows[:FORGET], 1)) == {"forget"} and NASTY in column(rows, 0)
    changes = [float(text.replace("−", "-")) for text in column(rows, 4)]
    assert all(-2.1 < change < -1.9 for change in changes[:FORGET]) and max(changes) < 0.1
    scripts = browser.find_elements(By.TAG_NAME, "script")
    assert not [one for one in scripts if one.get_attribute("textContent") == "alert(1)"]


def test_layer_and_neuron_can_be_chosen_and_their_facts_sorted(browser, address):
    show(browser, address)
    section = browser.find_element(By.ID, "explorer")
    layer, neuron = (Select(section.find_element(By.NAME, name)) for name in ("layer", "neuron"))
    assert [option.text for option in layer.options] == ["0", "1"] and len(neuron.options) == 12
    layer.select_by_visible_text("0")
    assert len(neuron.options) == 12
    neuron.select_by_index(2)
    name = neuron.first_selected_option.text.split()[0]
    assert section.find_element(By.ID, "explored").text == f"mlp.post, layer 0, neuron {name}"
    assert not section.find_element(By.CSS_SELECTOR, ".tokens").is_displayed()
    heading = section.find_elements(By.CSS_SELECTOR, "thead th")[2]
    heading.find_element(By.TAG_NAME, "button").click()
    rows = section.find_elements(By.CSS_SELECTOR, "tbody tr")
    values = [float(text.replace("−", "-").split("·")[0]) for text in column(rows, 2)]
    assert values == sorted(values, reverse=True) and values[0] > values[-1]
    neuron.select_by_index(0)
    assert heading.get_attribute("aria-sort") is None
