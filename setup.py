"""The wheel carries notebooks/ and recipes/ too; all else is in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["gnivo_edu*", "toy_envs*"]),
        "gnivo_edu.data.notebooks",
        "gnivo_edu.data.recipes",
    ]
)
