"""Links of docs/ as the site needs them; on GitHub they work as they are written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.addnodes import download_reference, pending_xref
from sphinx.transforms import SphinxTransform
from sphinx.util.osutil import relative_uri

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]
REPOSITORY = "https://github.com/org/hearth"
# Where the site is published. Links of the pages to it lead to the same place of the site that is
# read, which may be a folder on a disk.
SITE = "https://org.github.io/hearth/"


class References(SphinxTransform):
    """Changes links to files of the repository and to the site, and file names as their text."""

    default_priority = 1  # before Sphinx copies the files that are linked

    def apply(self, **_: Any) -> None:
        """Change the links of one page."""
        for node in [*self.document.findall(download_reference)]:
            lead_to_repository(node, self.path_of(node), "blob")
        for node in [*self.document.findall(pending_xref)]:
            if node.get("refdomain") is None and self.path_of(node).is_dir():
                lead_to_repository(node, self.path_of(node), "tree")
            elif node["reftarget"] == str(ROOT / "README"):  # the first page has its text
                node["reftarget"] = "index"
            elif Path(node["reftarget"]).is_absolute():  # a page, but not of docs/
                lead_to_repository(node, Path(f"{node['reftarget']}.md"), "blob")
            else:
                name_page(node)
        for link in self.document.findall(nodes.reference):
            if str(link.get("refuri", "")).startswith(SITE):
                path, mark, place = link["refuri"][len(SITE) :].partition("#")
                file = f"{path}index.html" if path.endswith("/") or not path else path
                here = self.app.builder.get_target_uri(self.env.docname)
                link["refuri"] = relative_uri(here, file) + mark + place

    def path_of(self, node: nodes.Element) -> Path:
        """The file or folder that a link names."""
        return Path(self.env.relfn2path(node["reftarget"], self.env.docname)[1]).resolve()


def lead_to_repository(node: nodes.Element, path: Path, kind: str) -> None:
    """Replace a link by one to the repository; of a file outside of it, Sphinx makes a copy."""
    if path.is_relative_to(ROOT):
        uri = f"{REPOSITORY}/{kind}/HEAD/{path.relative_to(ROOT).as_posix()}"
        if node.get("reftargetid"):
            uri += f"#{node['reftargetid']}"
        node.replace_self(nodes.reference("", "", *node.children, refuri=uri))


def name_page(node: nodes.Element) -> None:
    """Let Sphinx put the title in place of a text such as `gpus.md`."""
    if node.astext() == f"{node['reftarget'].rpartition('/')[2]}.md":
        node["refexplicit"] = False


def add_references(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx of the transform."""
    app.add_transform(References)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
