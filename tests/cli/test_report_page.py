"""The report's page in a real browser: in both colour schemes, on a telephone and a wide screen, and on paper."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path

import pytest

from s3memo.cli.page import render
from s3memo.cli.summary import Summary
from s3memo.cli.tally import COLOURED, tally
from s3memo.stores.base import ObjectInfo, TimeBounds
from s3memo.versions import ItemKey, Key, Version
from tests.browser.chromium import Browser, Page
from tests.cli.console import DAY, HOUR, digest, grave, result
from tests.cli.test_report import HOSTILE

NAMES = (
    "jobs.simulate",
    "package.with_a_long_name.models.train.fit_gradient_boosted_trees_with_cross_validation.<locals>.objective",
    "x" * 170,
    *HOSTILE,
)
WIDTHS = (390, 1280)
SCHEMES = ("light", "dark")


def listing() -> Iterator[ObjectInfo]:
    """A bucket of everything: long names and hostile ones, large numbers, garbage of each kind."""
    for number, name in enumerate(NAMES):
        for place in range(30):
            key = Key(name, f"tag{place % 2}" * 12, digest(place))
            version = result(place * 3 * DAY, ttl=30 * 86_400, elapsed=10.0**number, nonce=place)
            yield ObjectInfo(key.prefix + version.name, 10 ** (number + 2) + place, time.time())
            yield ObjectInfo(key.prefix + result(200 * DAY).name, 10**6, time.time())
        yield ObjectInfo(ItemKey(name, "", digest(1)).prefix + result(HOUR).name, 5, time.time())
    extreme = Version(1, 1, 10**12 - 1, 10**15 - 1, "00000000")  # in 1970, for 31,688 years
    yield ObjectInfo(Key("extreme", "1", digest(1)).prefix + extreme.name, 5 * 10**12, time.time())
    for version in (grave(9 * DAY), result(10 * DAY), result(11 * DAY)):
        yield ObjectInfo(Key("buried", "1", digest(1)).prefix + version.name, 100, time.time())
    for sequence in ("fffffffffffffd", "fffffffffffffe"):
        yield ObjectInfo(f"v1/state/job/{sequence}.s3s", 230, time.time() - 30 * DAY)
        yield ObjectInfo(f"v1/lease/job/{sequence}.s3s", 230, time.time() - 30 * DAY)
    yield ObjectInfo("v1/photos/<b>cat</b>.jpg", 10**9, time.time())


def summarized(infos: list[ObjectInfo], url: str = "s3://results/jobs") -> Summary:
    now = time.time()
    return tally(url, sorted(infos, key=lambda info: info.key), TimeBounds(now, now))


@cache
def page_of(name: str) -> str:
    if name == "everything":
        return render(summarized([*listing()], url="s3://bucket/" + "a-long-prefix/" * 20 + "<b>"))
    if name == "one":
        key = Key("f", "1", digest(1))
        return render(summarized([ObjectInfo(key.prefix + result(HOUR).name, 0, time.time())]))
    return render(
        replace(summarized([]), hint="Nothing of s3memo's is in s3://results/jobs, nor is anything else there")
    )


@pytest.fixture(params=[(width, scheme) for width in WIDTHS for scheme in SCHEMES], ids=lambda view: f"{view}")
def view(browser: Browser, request: pytest.FixtureRequest) -> Page:
    page = browser.new_page()
    width, scheme = request.param
    page.set_up(width=width, scheme=scheme)
    return page


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Page:
    """A page of everything on a wide screen."""
    page = browser.new_page()
    page.set_up(width=WIDTHS[-1])
    return opened(page, tmp_path)


def opened(page: Page, directory: Path, name: str = "everything") -> Page:
    file = directory / f"{name}.html"
    file.write_text(page_of(name), encoding="utf-8")
    page.load(file.as_uri())
    return page


OVERFLOWING = """
[...document.querySelectorAll('body *')].filter(each => {
  const box = each.getBoundingClientRect();
  const isText = each.children.length == 0 && each.scrollWidth > each.clientWidth + 1;
  return box.right > innerWidth + 0.5 || box.left < -0.5
    || isText && getComputedStyle(each).overflow == 'visible' && each.clientWidth;
}).map(each => each.outerHTML.slice(0, 200))
"""
MEETING = """
[...document.querySelectorAll('svg')].flatMap(svg => {
  const boxes = [...svg.querySelectorAll('text')].map(each => [each.textContent, each.getBoundingClientRect()]);
  return boxes.flatMap(([text, box], place) => boxes.slice(place + 1).filter(([, other]) =>
    box.left < other.right && other.left < box.right && box.top < other.bottom && other.top < box.bottom
  ).map(([other]) => `${text} meets ${other}`));
}).concat([...document.querySelectorAll('td')].filter(cell => {
  const amount = cell.querySelector('.amount').getBoundingClientRect(), bar = cell.querySelector('.bar');
  const width = cell.querySelector('.number').getBoundingClientRect().width;
  return amount.right > cell.getBoundingClientRect().right + 1 || width > amount.width
    || cell.querySelector('.number').getBoundingClientRect().left < cell.getBoundingClientRect().left - 1;
}).map(cell => cell.textContent))
"""
CONTRAST = """
(() => {
  const parse = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = colour => {
    const [r, g, b] = parse(colour).slice(0, 3).map(each => each / 255)
      .map(each => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = each => {
    const colour = getComputedStyle(each).backgroundColor;
    return parse(colour)[3] === 0 ? behind(each.parentElement) : colour;
  };
  return [...document.querySelectorAll('body *')].filter(each =>
    [...each.childNodes].some(node => node.nodeType == 3 && node.textContent.trim()) && each.tagName != 'title'
  ).map(each => {
    const style = getComputedStyle(each), isSvg = each.namespaceURI.endsWith('svg');
    const [low, high] = [light(isSvg ? style.fill : style.color), light(behind(each))].sort((a, b) => a - b);
    return [(high + 0.05) / (low + 0.05), each.textContent];
  }).sort((a, b) => a[0] - b[0])[0];
})()
"""


@pytest.mark.parametrize("name", ["everything", "one", "empty"])
def test_it_fits_and_asks_for_nothing(name: str, view: Page, tmp_path: Path) -> None:
    page = opened(view, tmp_path, name)
    assert page.problems == []
    assert page.requests == [(tmp_path / f"{name}.html").as_uri()]
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    assert page.run(OVERFLOWING) == []
    assert page.run(MEETING) == []
    contrast, text = page.run(CONTRAST)
    assert contrast >= 4.5, text
    assert page.picture().startswith(b"\x89PNG")


def test_it_fits_between_a_small_telephone_and_a_large_screen(page: Page) -> None:
    for width in (*range(360, 1400, 60), 2560):
        page.set_up(width=width)
        assert page.run("document.documentElement.scrollWidth <= innerWidth"), width
        assert (page.run(OVERFLOWING), page.run(MEETING)) == ([], []), width
        narrowest = page.run("Math.min(...[...document.querySelectorAll('tbody th')].map(each => each.clientWidth))")
        assert narrowest > 90, width


def test_the_colour_scheme_is_the_readers(view: Page, tmp_path: Path) -> None:
    page = opened(view, tmp_path)
    is_dark = page.run("matchMedia('(prefers-color-scheme: dark)').matches")
    paper = page.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (max(paper) < 50) == is_dark
    assert (min(paper) > 200) != is_dark


def test_columns_say_what_they_are_and_series_are_named(page: Page) -> None:
    titles = page.run("[...document.querySelectorAll('.column title')].map(each => each.textContent)")
    assert len(titles) == 3 * page.run("document.querySelector('.plot').querySelectorAll('.column').length")
    assert any("\nall others: " in title for title in titles)
    legend = page.run("[...document.querySelectorAll('.legend li')].map(each => each.textContent.trim())")
    assert (len(legend), legend[-1]) == (COLOURED + 1, "all others")
    swatches, drawn = (
        page.run(f"[...new Set([...document.querySelectorAll('{where}')].map(each => {colour}))]")
        for where, colour in (
            (".legend li", "getComputedStyle(each, '::before').backgroundColor"),
            (".column rect:not(.hover)", "getComputedStyle(each).fill"),
        )
    )
    assert set(drawn) <= set(swatches)
    assert len(swatches) == COLOURED + 1


def test_a_screen_reader_reads_each_column(page: Page) -> None:
    titles = page.run("[...document.querySelectorAll('.column title')].map(title => title.textContent)")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    read = [node["name"]["value"] for node in nodes if node.get("role", {}).get("value") in {"image", "img"}]
    assert titles
    assert [*map(str.split, read)] == [*map(str.split, titles)]


def test_bars_are_as_long_as_what_they_stand_for(view: Page, tmp_path: Path) -> None:
    page = opened(view, tmp_path)
    lengths = page.run(
        "[...document.querySelectorAll('section:first-of-type .fill')].map(each => "
        "[parseFloat(each.getAttribute('width')), each.getBoundingClientRect().width])"
    )
    whole = {round(drawn / percent * 100) for percent, drawn in lengths if percent > 1}
    assert len(whole) == 1
    assert min(whole) > 60  # pixels


def test_nothing_of_a_bucket_is_run(page: Page) -> None:
    assert page.run("document.scripts.length + document.images.length + document.links.length") == 0
    text = page.run("document.body.textContent")
    assert all(name in text for name in HOSTILE)
    page.run("document.body.insertAdjacentHTML('beforeend', '<img src=x:y onerror=no()><p style=color:red>')")
    page.run("new Promise(requestAnimationFrame).then(() => true)")
    for forbidden in ("Executing inline event handler", "Applying inline style", "Loading the image 'x:y'"):
        assert any(problem.startswith(f"{forbidden} violates") for problem in page.problems)


def test_paper_is_light_and_has_colours(browser: Browser, tmp_path: Path) -> None:
    page = browser.new_page()
    page.set_up(width=800, scheme="dark", media="print")
    opened(page, tmp_path)
    assert min(page.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")) > 200
    assert page.run("getComputedStyle(document.querySelector('.fill')).printColorAdjust") == "exact"
    swatch = "getComputedStyle(document.querySelector('.coloured tr[class] th'), '::before').printColorAdjust"
    assert page.run(swatch) == "exact"
    assert page.call("Page.printToPDF", printBackground=False)["data"]


MACHADO = {  # how colours look to who lacks one kind of cones (Machado et al. 2009), in linear RGB
    "all": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


@pytest.mark.parametrize("scheme", [0, 1])
def test_who_is_colour_blind_can_tell_the_series_apart(scheme: int) -> None:
    style = files("s3memo.cli").joinpath("templates", "report.css").read_text(encoding="utf-8")
    paper = linear(re.findall(r"--paper: #(\w{6});", style)[scheme])
    colours = [linear(each) for each in re.findall(r"--s\d: #(\w{6});", style)[scheme * 6 :][:6]]
    assert len(colours) == COLOURED + 1
    for colour in (*colours, linear(re.findall(r"--bar: #(\w{6});", style)[scheme])):
        dark, light = sorted((lab(colour)[3], lab(paper)[3]))
        assert (light + 0.05) / (dark + 0.05) >= 3
    for matrix in MACHADO.values():
        seen = [
            lab([min(max(sum(map(float.__mul__, map(float, row), each)), 0), 1) for row in matrix]) for each in colours
        ]
        for one, other in itertools.combinations(seen, 2):
            assert sum((a - b) ** 2 for a, b in zip(one[:3], other[:3], strict=True)) ** 0.5 > 20


def linear(colour: str) -> list[float]:
    parts = (int(colour[place : place + 2], 16) / 255 for place in (0, 2, 4))
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def lab(colour: list[float]) -> tuple[float, float, float, float]:
    """Return a colour in CIELAB, where distances are as they are seen, and its luminance."""
    r, g, b = colour
    luminance = 0.2126 * r + 0.7152 * g + 0.0722 * b
    x, y, z = (
        each ** (1 / 3) if each > 0.008856 else 7.787 * each + 16 / 116
        for each in (
            (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.95047,
            luminance,
            (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.08883,
        )
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z), luminance
