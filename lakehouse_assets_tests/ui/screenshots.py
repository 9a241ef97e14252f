"""The pictures of the documents, taken of a running UI: `python -m lakehouse_assets_tests.ui.screenshots
http://localhost:3000 docs/images`.

Load the sample first, and start the UI with LAKEHOUSE_PARTITIONS_START at its first day, so that the bars of partitions
are filled.
"""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from lakehouse_assets_tests.ui.conftest import CHROMIUM, NO_GREETING

_EXPANDED = ",".join(f"global@global:{group}" for group in ("bronze", "silver", "gold", "snowflake"))
_LAST = "view=partitions&partition=2026-09-30"
"""The sample's last day, on which the numbers of the run stand that loaded it."""
PICTURES = {
    "asset-graph": (f"/asset-groups?expanded={_EXPANDED}", 2700, 3000, 0.85, ""),
    "asset": ("/assets/snowflake/sales_lines", 1600, 1250, 0.9, ""),
    "metadata": (f"/assets/snowflake/sales_lines?{_LAST}", 1600, 1250, 0.9, ""),
    "partitions": (f"/assets/silver/order_lines?{_LAST}", 1600, 1000, 0.9, ""),
    "preview": (f"/assets/gold/daily_sales?{_LAST}", 1600, 1000, 0.9, "[Show Markdown]"),
    "checks": ("/assets/silver/order_lines?view=checks", 1600, 1000, 0.9, ""),
    "runs": ("/runs", 1600, 500, 0.9, ""),
}
"""Name → path, width, height, pixels for one of the page, and what is clicked on before the picture; of the graph only
the canvas is shown.
"""


def take(url: str, folder: Path, names: list[str]) -> None:
    """Take the pictures of those names (default all)."""
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        for name, (path, width, height, scale, click) in PICTURES.items():
            if names and name not in names:
                continue
            with tempfile.TemporaryDirectory() as profile:
                context = playwright.chromium.launch_persistent_context(
                    profile,
                    executable_path=shutil.which("chromium"),
                    headless=True,
                    args=["--headless", *CHROMIUM],
                    viewport={"width": width, "height": height},
                    device_scale_factor=scale,
                )
                context.add_init_script(NO_GREETING)
                page = context.new_page()
                page.goto(url + path, wait_until="load")
                page.wait_for_timeout(6000)
                if click:
                    page.get_by_text(click, exact=True).first.click()
                canvas = name == "asset-graph"
                if canvas:
                    page.get_by_text("Hide navigation").click()
                    page.locator('[aria-label="panel_show_right"]').click()
                    page.reload()  # laid out anew, to fit
                page.wait_for_timeout(9000)
                clip: Any = {"x": 372, "y": 110, "width": width - 390, "height": height - 160} if canvas else None
                page.screenshot(path=folder / f"{name}.png", clip=clip)
                context.close()


if __name__ == "__main__":
    take(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
