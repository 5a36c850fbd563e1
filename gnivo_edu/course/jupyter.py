"""A whole notebook, run by IPython as Jupyter runs it: the last way to find a student's function,
where a part of the notebook does not do.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

from gnivo_edu.course.shell import Checks, fresh_module


def run_cells(cells: Sequence[str]) -> tuple[dict[str, Any], Checks, BaseException | None, int]:
    """Run code cells, each until it raises; the names they leave, the checks, and the first error
    with the number of its cell. ImportError where IPython is not installed.
    """
    from IPython.core.compilerop import CachingCompiler
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    class Compiler(CachingCompiler):
        """Names the code of a cell by its number."""

        def get_code_name(self, raw_code: str, transformed_code: str, number: int) -> str:
            return f"<cell {number}>"

    class Shell(InteractiveShell):
        """IPython without a terminal, a screen and a history on the disk."""

        compiler_class = Compiler
        system = InteractiveShell.system_raw  # the other one wants a terminal

        def enable_gui(self, gui: str | None = None) -> None:
            """There is none to enable, and `%matplotlib inline` asks."""

        def showtraceback(self, *arguments: Any, **options: Any) -> None:
            """Nobody sees it."""

        showsyntaxerror = showtraceback

    main, checks = fresh_module()
    settings = Config({"HistoryManager": {"enabled": False}})
    shell = Shell.instance(user_module=main, user_ns=vars(main), config=settings)
    first: BaseException | None = None
    place = 0

    async def run(source: str) -> Any:
        problem = None
        try:
            code = shell.transform_cell(source)
        except Exception:
            code, problem = source, sys.exc_info()
        # As a kernel does it: tasks go on from cell to cell in one loop.
        result = await shell.run_cell_async(
            source, store_history=True, transformed_cell=code, preprocessing_exc_tuple=problem
        )
        await asyncio.sleep(0)
        return result.error_before_exec or result.error_in_exec

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    for number, source in enumerate(cells, 1):
        error = loop.run_until_complete(run(source))
        if error is not None and first is None:
            first, place = error, number
    return vars(main), checks, first, place
