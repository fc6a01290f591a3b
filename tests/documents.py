"""The pages of the documentation, as tests read them."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def yaml_blocks(page: str) -> list[str]:
    """Every block of YAML on a page of docs/, in order."""
    return re.findall(r"^```yaml\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
