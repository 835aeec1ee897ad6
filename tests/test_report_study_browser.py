"""The page of a study in a real browser: `pytest -m browser`."""

import dataclasses

import pandas as pd
import pytest
from browsing import WIDTHS, asked, show
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from study_example import METHODS, SEEDS, example_study, swept

from neuronscope.report import write_study_report

pytestmark = pytest.mark.browser

NASTY = "<script>alert(1)</script>"
CHECKED = f"NPO {NASTY}"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "study.html"
    study = example_study(rename=lambda name: CHECKED if name == "NPO" else name)
    noted = study.recovery.assign(note=f"Simulated by rounding. {NASTY}")
    useful = study.scores.assign(metric="model_utility", split="utility")
    scores = pd.concat([study.scores, useful.drop_duplicates(["method", "seed"])])
    full = dataclasses.replace(swept(study), recovery=noted, scores=scores)
    write_study_report(full, path)
    return path.as_uri()


def names(browser):
    heads = browser.find_elements(By.CSS_SELECTOR, ".folded tbody tr:first-child th")
    return [head.text.split("\n")[0].strip() for head in heads]


def headings(browser):
    found = browser.find_elements(By.CSS_SELECTOR, ".folded thead th")
    return {heading.text.split("\n")[0].strip(): heading for heading in found}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_draws_unfolded_figures_without_errors_or_requests(
    browser, address, width, scheme
):
    browser.get("about:blank")
    browser.get_log("performance")
    show(browser, address, width, scheme)
    figures = browser.find_elements(By.TAG_NAME, "figure")
    shown = [figure for figure in figures if figure.is_displayed()]
    assert len(shown) == 4 and len(figures) == 6 + (1 + 2 * len(SEEDS)) * len(METHODS)
    for details in browser.find_elements(By.CSS_SELECTOR, "details:not([open]) summary"):
        browser.execute_script("arguments[0].click()", details)
    browser.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0], 100))")
    assert all(figure.find_elements(By.CSS_SELECTOR, "svg.main-svg") for figure in figures)
    assert browser.get_log("browser") == []
    assert asked(browser) == {address}


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_sticks_out_of_the_page(browser, address, width):
    show(browser, address, width)
    page = browser.find_element(By.TAG_NAME, "html")
    assert page.get_property("scrollWidth") <= page.get_property("clientWidth") <= width


def test_markup_in_a_methods_name_is_text_everywhere(browser, address):
    show(browser, address)
    assert CHECKED in names(browser)
    assert NASTY in browser.find_element(By.CSS_SELECTOR, ".answer").text
    notes = browser.find_elements(By.XPATH, "//p[contains(., 'Simulated by rounding.')]")
    assert [note.text.endswith(f"Simulated by rounding. {NASTY}") for note in notes] == [True]
    bars = browser.find_element(By.CSS_SELECTOR, "#recovered .plot").text
    assert "alert(1)" in bars
    scripts = browser.find_elements(By.TAG_NAME, "script")
    assert not [one for one in scripts if one.get_attribute("textContent") == "alert(1)"]


def test_the_verdict_table_sorts_by_click_and_by_key_and_seeds_stay_with_their_method(
    browser, address
):
    show(browser, address)
    assert names(browser) == ["before unlearning", *list(METHODS)[:-1], CHECKED, "never knew"]
    heading = headings(browser)["relearn forget (2 of 16 facts)"]
    button = heading.find_element(By.TAG_NAME, "button")
    button.click()
    assert heading.get_attribute("aria-sort") == "descending"
    falling = names(browser)
    assert falling[:2] == ["before unlearning", "gradient difference"]
    button.send_keys(Keys.ENTER)
    assert heading.get_attribute("aria-sort") == "ascending"
    assert set(names(browser)[:2]) == {CHECKED, "never knew"}
    for body in browser.find_elements(By.CSS_SELECTOR, ".folded tbody:not(.control)"):
        assert len(body.find_elements(By.TAG_NAME, "tr")) == 1 + len(SEEDS)


def test_a_method_unfolds_to_its_seeds_by_click_and_by_key(browser, address):
    show(browser, address)
    body = browser.find_elements(By.CSS_SELECTOR, ".folded tbody:not(.control)")[0]
    button = body.find_element(By.TAG_NAME, "button")
    parts = body.find_elements(By.CSS_SELECTOR, ".part")
    assert not any(part.is_displayed() for part in parts)
    button.click()
    assert button.get_attribute("aria-expanded") == "true"
    assert [part.text.split()[:2] for part in parts] == [["seed", "0"], ["seed", "1"]]
    button.send_keys(Keys.SPACE)
    assert not any(part.is_displayed() for part in parts)


def test_links_to_runs_can_be_followed_folded_and_unfolded(browser, address):
    show(browser, address)
    body = browser.find_elements(By.CSS_SELECTOR, ".folded tbody:not(.control)")[0]
    links = body.find_elements(By.CSS_SELECTOR, "tr:first-child a")
    assert [link.text for link in links] == ["neurons, seed 0", "seed 1"]
    assert not body.find_elements(By.CSS_SELECTOR, "button a")
    body.find_element(By.TAG_NAME, "button").click()
    below = body.find_elements(By.CSS_SELECTOR, ".part a")
    assert [link.text for link in below] == ["explore its neurons"] * len(SEEDS)
    pages = [link.get_attribute("href") for link in links]
    assert pages == [link.get_attribute("href") for link in below] and len(set(pages)) == 2


def test_the_table_of_attacks_sorts_by_area(browser, address):
    show(browser, address)
    table = browser.find_element(By.CSS_SELECTOR, ".reasoned")
    headings = table.find_elements(By.TAG_NAME, "th")
    (place,) = [n for n, one in enumerate(headings) if one.text.split("\n")[0].strip() == "area"]
    headings[place].find_element(By.TAG_NAME, "button").click()
    areas = [
        float(row.find_elements(By.TAG_NAME, "td")[place].get_attribute("data-key"))
        for row in table.find_elements(By.CSS_SELECTOR, "tbody tr")
    ]
    assert areas == sorted(areas, reverse=True) and areas[0] > areas[-1]
