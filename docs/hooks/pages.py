"""Pages of the site that lie outside docs/, and links that lead out of it."""

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
# page of the site -> file of the repository
ELSEWHERE = {
    "build.md": "BUILD.md",
    "changelog.md": "CHANGELOG.md",
    "performance.md": "PERFORMANCE.md",
    "contributing.md": "CONTRIBUTING.md",
    "cards/mist-nano.md": "mist_jax/checkpoints/mist-nano/README.md",
    "cards/mist-nano-object.md": "mist_jax/checkpoints/mist-nano-object/README.md",
}
_PAGE_OF = {source: page for page, source in ELSEWHERE.items()} | {"README.md": "index.md"}
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that lie elsewhere in the repository."""
    for page, source in ELSEWHERE.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Turns links between files of the repository into links between pages.

    A link to a file that is no page leads to the repository where `repo_url` names it, and is
    plain text otherwise.
    """
    here = page.file.src_uri
    source = ELSEWHERE.get(here, f"docs/{here}")

    def turned(link: re.Match[str]) -> str:
        text, target, anchor = link[1], link[2], link[3] or ""
        path = os.path.normpath(PurePosixPath(source).parent / target)
        if not (ROOT / path).exists():
            raise ValueError(f"{source}: there is no {path}, which {target!r} leads to")
        to = _PAGE_OF.get(path, path.removeprefix("docs/") if path.startswith("docs/") else None)
        if to is not None and (to.endswith(".md") or not to.endswith("/")):
            return f"[{text}]({os.path.relpath(to, PurePosixPath(here).parent)}{anchor})"
        return f"[{text}]({config.repo_url}/blob/main/{path})" if config.repo_url else text

    return _LINK.sub(turned, markdown)
