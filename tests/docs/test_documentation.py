"""The documentation site builds without a warning, and names all that is public."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import mist_jax

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert built.returncode == 0, built.stderr
    return folder


def test_every_public_name_is_explained_in_the_reference(site):
    told = "".join(page.read_text() for page in (site / "reference").rglob("index.html"))
    identifiers = set(re.findall(r'id="(mist_jax\.[\w.]+)"', told))
    named = {identifier.rpartition(".")[2] for identifier in identifiers}
    assert set(mist_jax.__all__) - named - {"__version__"} == set()


def test_no_page_of_the_site_loads_anything_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 15
    for page in pages:
        fetched = re.findall(r'(?:src|href)="(https?://[^"]+)"', page.read_text())
        scripts = [link for link in fetched if re.search(r"\.(js|css|woff2?)(\?|$)", link)]
        assert not scripts, f"{page}: {scripts}"


def test_every_link_within_the_site_leads_to_a_page_that_is_there(site):
    checked = 0
    for page in site.rglob("*.html"):
        if page.name == "404.html":
            continue
        for link in re.findall(r'href="([^"#?]+)', page.read_text()):
            if re.match(r"[a-z]+:", link):
                continue
            target = (page.parent / link).resolve()
            assert target.exists(), f"{page.relative_to(site)} leads to {link}"
            checked += 1
    assert checked > 500
