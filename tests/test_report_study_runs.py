"""A study's page links to the pages of its runs, which have an explorer."""

import pytest
from browsing import asked, show
from demo_pair import BEFORE, write_facts
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select
from test_report import Page

from neuronscope.report.run_pages import EXPLORE
from neuronscope.study.loading import study_of
from neuronscope.study.plan import checked_plan
from neuronscope.study.running import run_study

FACTS = 8


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The page of a study of one method, trained for two steps and diagnosed without views."""
    folder = tmp_path_factory.mktemp("runs")
    plain = {
        "model": str(BEFORE),
        "facts": str(write_facts(folder / "facts.jsonl", FACTS // 2, FACTS // 2)),
        "training": {"steps": 2, "learning_rate": 1e-3, "evaluate_every": 2},
        "methods": [{"name": "GD & co", "objective": "gradient-difference", "stop": None}],
        "diagnosing": {"views": []},
    }
    plan = checked_plan(study_of(plain))
    return run_study(plan, folder / "study", "sequential", 1, lambda *_: None)


def test_the_studys_page_links_to_the_explorer_of_a_run(report):
    tags = Page(report.read_text(encoding="utf-8")).tags
    (address,) = {attributes["href"] for _, attributes in tags if "href" in attributes}
    page = (report.parent / address).read_text(encoding="utf-8")
    assert 'id="explorer"' in page and '"promotes":[["' in page


@pytest.mark.browser
def test_the_explorer_of_a_run_is_one_click_away_and_works_without_error_or_network(
    browser, report
):
    browser.get("about:blank")
    browser.get_log("performance")
    show(browser, report.as_uri())
    heading = browser.find_element(By.CSS_SELECTOR, ".folded tbody:not(.control) th")
    assert heading.text.split("\n") == ["GD & co", EXPLORE]
    heading.find_element(By.LINK_TEXT, EXPLORE).click()
    assert browser.title.startswith("Erased, or only hidden?")
    section = browser.find_element(By.ID, "explorer")
    assert section.is_displayed()
    neuron = Select(section.find_element(By.NAME, "neuron"))
    neuron.select_by_index(1)
    chosen = neuron.first_selected_option.text.split()[0]
    assert f", neuron {chosen}" in section.find_element(By.ID, "explored").text
    rows = section.find_elements(By.CSS_SELECTOR, "tbody tr")
    assert len(rows) == FACTS
    assert len(section.find_elements(By.CSS_SELECTOR, ".tokens code")) > 0
    assert browser.get_log("browser") == []
    assert asked(browser) == {report.as_uri(), browser.current_url}
