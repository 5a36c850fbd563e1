"""The wheel carries notebooks/, recipes/ and results/ too; all else is in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["gnivo_edu*", "toy_envs*"]),
        "gnivo_edu.data.notebooks",
        "gnivo_edu.data.recipes",
        "gnivo_edu.data.results",
    ]
)
