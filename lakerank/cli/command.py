"""The frame of every command's `main` around its own work: arguments, exit code, summary. Needs no Spark."""

from __future__ import annotations

import json
import os
import select
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from lakerank.cli.errors import UserError, files_gone_problem, quoted_user_error
from lakerank.cli.settings import Settings, parse_args
from lakerank.cli.stores import (
    damaged_file,
    hide_known,
    hide_secrets,
    hiding,
    is_in_object_store,
    require_store,
    secrets_in,
    store_problem,
)

A = TypeVar("A", bound=Settings)
Summary = Mapping[str, Any]
_WHEEL_TASK = "DATABRICKS_RUNTIME_VERSION"  # set where Databricks calls us


def run_command(
    run: Callable[[A], Summary],
    args_class: type[A],
    name: str,
    doc: str | None,
    argv: Sequence[str] | None = None,
) -> int:
    """Parse, run, print the summary; return the exit code: 0 done, 2 the user's mistake, 1 ours.

    Args:
        run: the command's own work; returns the fields of the `--json` summary.
        args_class: the command's settings, with their defaults.
        name: the command's name, e.g. `pagerank`.
        doc: the command's module docstring; its first paragraph becomes the help text.
        argv: command line without the program's name; None reads `sys.argv`.
    """
    code = _code(run, args_class, name, doc, argv)
    if code and _WHEEL_TASK in os.environ and argv is None:
        raise SystemExit(code)  # Databricks takes a wheel task that returns for one that went well
    return code


def _output_is_closed() -> bool:
    """Tell whether who reads standard output has seen enough, as `| head` does; nothing more is written there then."""
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)
    if not any(event & (select.POLLERR | select.POLLHUP) for _, event in output.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def _require_stores(args: Settings) -> None:
    """Ask each store that the settings name for its bucket, before Spark is started, whose clients try for minutes.

    Raises:
        UserError: one does not answer, refuses us, or has no such bucket.
    """
    given = (value for value in vars(args).values() if isinstance(value, str))
    places = (one.strip() for value in given for one in value.split(",") if is_in_object_store(one.strip()))
    for place in dict.fromkeys(places):
        require_store(place)


def _code(
    run: Callable[[A], Summary], args_class: type[A], name: str, doc: str | None, argv: Sequence[str] | None
) -> int:
    known = secrets_in(*(sys.argv[1:] if argv is None else argv))
    try:
        args = parse_args(args_class, name, doc or "", argv)
        known |= secrets_in(*(value for value in vars(args).values() if isinstance(value, str)))
        with hiding(known):
            _require_stores(args)
            summary = run(args)
    except UserError as error:
        told = str(error)
        if "\n" in told:  # it quotes somebody else's words
            told = store_problem(error) or " ".join(told.split())
        print(f"{name}: error: {hide_secrets(told, known)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{name}: stopped; {args_class.AFTER_STOP}", file=sys.stderr)
        return 130
    except Exception as error:
        said = (of(error) for of in (quoted_user_error, files_gone_problem, damaged_file, store_problem))
        if problem := next(filter(None, said), ""):
            print(f"{name}: error: {hide_secrets(problem, known)}", file=sys.stderr)
            return 2
        if isinstance(error, BrokenPipeError) and _output_is_closed():
            return 128 + 13  # as a shell says of a program that SIGPIPE ended
        print(hide_secrets(traceback.format_exc(), known), end="", file=sys.stderr)
        print(f"{name}: this is a bug of ours; please report it with the lines above", file=sys.stderr)
        return 1
    if args.json:
        print(hide_known(json.dumps({"job": name, **summary}, default=str), known), flush=True)
    return 0
