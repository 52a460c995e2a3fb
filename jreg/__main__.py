"""The command line, `python -m jreg`: a demo on real data, and the path of your own CSV file."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path as File
from typing import Any, NoReturn

import jax
import numpy as np

import jreg
from jreg import checks, commands, datasets
from jreg.commands import Refused
from jreg.path import Path
from jreg.status import Status

DEGREE = 4  # of the demo's polynomial: 1000 columns, more than its 442 rows
SHARE = 0.95  # of the deviance explained at most: where `path` shows a model
LEGEND = """\
deviance explained: 1 - deviance / deviance of the model without features
certified gap: the objective is above its minimum by at most this, as a share of the objective
               of the model without features\
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 2 for bad input, 130 for Ctrl-C."""
    parser = build_parser()
    try:
        args = parser.parse_args(argv)
        if args.command is None:
            parser.print_help()
        code: int = args.command(args) if args.command else 0
        sys.stdout.flush()
        return code
    except Refused as error:
        print("jreg:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\njreg: interrupted; nothing was written beyond what is listed", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `| head`: the reader has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


class _Parser(argparse.ArgumentParser):
    """Raises Refused, where argparse prints its usage and exits."""

    def error(self, message: str) -> NoReturn:
        raise Refused(message)


def build_parser() -> argparse.ArgumentParser:
    """The options; no work."""
    parser = _Parser(
        prog="python -m jreg",
        description="Regularised regression along a path of penalties, each fit with a "
        "certificate of how close it is to the optimum.",
        allow_abbrev=False,
    )
    version = f"jreg {jreg.__version__}"
    parser.add_argument("--version", action="version", version=version)
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_demo(commands)
    _add_path(commands)
    return parser


def _add_demo(subparsers: Any) -> None:
    demo = subparsers.add_parser(
        "demo",
        help="lasso paths of real data, with a picture",
        description="The lasso path of the diabetes data (442 patients, 10 features) and of their "
        f"polynomial of degree {DEGREE} (1000 columns): tables, chosen features, times, a picture.",
        allow_abbrev=False,
    )
    demo.set_defaults(command=run_demo)
    demo.add_argument(
        "--out",
        metavar="FILE.png",
        default="jreg-demo.png",
        help="where the picture goes (default: %(default)s)",
    )


def _add_path(subparsers: Any) -> None:
    path = subparsers.add_parser(
        "path",
        help="the path of your own CSV file",
        description="Fit the columns of a CSV file along a path of penalties. The first line of "
        "the file names the columns; every column without another role is a feature.",
        allow_abbrev=False,
    )
    path.set_defaults(command=run_path)
    add = path.add_argument
    add("file", metavar="data.csv")
    add("--target", metavar="COLUMN", required=True, help="the column to explain")
    add("--penalty", choices=["l1", "ridge", "elastic-net"], default="l1", help="default: l1")
    add(
        "--loss",
        choices=["squared", "logistic"],
        default="squared",
        help="squared for numbers (default), logistic for two classes",
    )
    add(
        "--l1-ratio",
        type=_number("between 0 and 1", lambda x: 0 <= x <= 1),
        metavar="R",
        help="share of L1 in the elastic net, 0 to 1 (default: 0.5)",
    )
    add("--n-lams", type=_count, default=100, metavar="N", help="penalties (default: 100)")
    add(
        "--lam-min-ratio",
        type=_number("above 0 and at most 1", lambda x: 0 < x <= 1),
        metavar="R",
        help="last lam / first lam (default: 1e-4, or 1e-2 with more features than rows)",
    )
    add("--no-intercept", action="store_true", help="eta is 0 where all features are 0")
    add("--no-standardize", action="store_true", help="penalise coefficients in their own units")
    add("--tol", type=_tolerance, metavar="T", help="largest gap to accept (default: 1e-6)")
    add("--weight", metavar="COLUMN", help="how often each row counts; 0 is an absent row")
    add("--offset", metavar="COLUMN", help="a known part of the linear predictor")
    add("--drop", metavar="COLUMN", nargs="+", action="extend", default=[], help="leave out")
    add(
        "--dummies",
        action="store_true",
        help="make columns of 0 and 1 of each text column, one for each value but the first in "
        "alphabetical order (drop_first)",
    )
    add(
        "--missing",
        choices=["error", "drop", "mean"],
        default="error",
        help="missing values: stop (default), drop their rows, or put in the mean of the column "
        "(rows without target, weight or offset are dropped then, too)",
    )
    add("--out", metavar="coefs.csv", help="write every lam and its coefficients, as CSV")
    add("--plot", metavar="path.png", help="draw the path (.png, .pdf or .svg)")


def _number(what: str, accept: Callable[[float], bool]) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = np.nan
        if not accept(value):
            raise argparse.ArgumentTypeError(f"must be a number {what}; got {text}")
        return value

    return parse


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 on; got {text}")
    return int(text)


def _tolerance(text: str) -> float:
    value = _number("above 0", lambda x: 0 < x < np.inf)(text)
    try:
        return float(checks.tolerance(value, np.float64))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def run_demo(args: argparse.Namespace) -> int:
    """Fit the demo's two data sets twice each, and tell."""
    drawable = commands.can_draw()
    if drawable:
        commands.check_picture("--out", args.out)
    try:
        X, y, names = datasets.diabetes()
        Z, terms = datasets.polynomial_features(X, names, DEGREE)
    except ImportError as error:
        raise Refused(str(error)) from error
    print(f"jreg {jreg.__version__}, jax {jax.__version__} on {_device()}, float64")
    print("diabetes data (Efron et al. 2004): 442 patients, y a score of the disease a year later")
    print(LEGEND)
    panels = []
    models = {"diabetes": (X, names), f"polynomial of degree {DEGREE}": (Z, terms)}
    for name, (columns, labels) in models.items():
        title = f"{name}, {columns.shape[0]} x {columns.shape[1]}"
        print(f"\n=== Lasso path: {title}\n")
        found, cold = _fit(columns, y, feature_names=labels)
        if not _is_complete(found):
            return _tell_interrupted(found)
        found, warm = _fit(columns, y, feature_names=labels)
        if not _is_complete(found):
            return _tell_interrupted(found)
        print("\n".join(table(found)))
        k = commands.first_explaining(found, 0.5)
        print("\nThe first lam that explains half of the deviance:")
        print("\n".join(model(found, k)))
        print(f"\nseconds: {cold:.2f} with compilation, {warm:.2f} when called again")
        marks = {} if k is None else {"half of the deviance explained": float(found.lams[k])}
        panels.append((title, found, marks))
    if drawable:
        commands.draw(args.out, panels)
        print(f"\npicture: {File(args.out).resolve()}")
    else:
        print('\nno picture, as matplotlib is missing: pip install "jreg[plots]"')
    return 0


def run_path(args: argparse.Namespace) -> int:
    """Fit the path of a CSV file, and tell."""
    penalty = _penalty(args.penalty, args.l1_ratio)
    if args.plot:
        commands.check_picture("--plot", args.plot)
    if args.out:
        commands.check_output("--out", args.out)
    files = [File(name).resolve() for name in (args.file, args.out, args.plot) if name]
    if len(set(files)) < len(files):
        raise Refused("data, --out and --plot must be different files")
    logistic = args.loss == "logistic"
    data = commands.read_table(
        args.file,
        args.target,
        logistic=logistic,
        weight=args.weight,
        offset=args.offset,
        drop=args.drop,
        dummies=args.dummies,
        missing=args.missing,
    )
    rows, columns = data.X.shape
    print(f"{args.file}: {rows} rows, {columns} feature{'s' * (columns > 1)}")
    print("\n".join(f"  {note}" for note in data.notes))
    print(LEGEND, flush=True)
    found, seconds = _fit(
        data.X,
        data.y,
        penalty,
        jreg.Logistic() if logistic else jreg.Squared(),
        n_lams=args.n_lams,
        lam_min_ratio=args.lam_min_ratio,
        sample_weight=data.weight,
        offset=data.offset,
        fit_intercept=not args.no_intercept,
        standardize=not args.no_standardize,
        tol=args.tol,
    )
    print("\n" + "\n".join(table(found)))
    best = float(np.nanmax(found.deviance_ratio, initial=0))
    k = commands.first_explaining(found, SHARE * best) if best > 0 else None
    print(f"\nThe first lam that explains {SHARE:.0%} of the most that any lam does ({best:.4f}):")
    print("\n".join(model(found, k)))
    print(f"\nseconds: {seconds:.2f} with compilation")
    if args.out:
        found.to_dataframe().to_csv(args.out, index=False)
        print(f"coefficients: {File(args.out).resolve()}")
    if args.plot and np.isfinite(found.coef).all(axis=1).any():
        marks = {} if k is None else {f"{SHARE:.0%} of the most explained": float(found.lams[k])}
        commands.draw(args.plot, [(f"{args.target} in {File(args.file).name}", found, marks)])
        print(f"picture: {File(args.plot).resolve()}")
    return 0 if _is_complete(found) else _tell_interrupted(found)


def _penalty(name: str, l1_ratio: float | None) -> Any:
    if name == "elastic-net":
        return jreg.ElasticNet(l1_ratio=0.5 if l1_ratio is None else l1_ratio)
    if l1_ratio is not None:
        raise Refused("--l1-ratio goes with --penalty elastic-net")
    return jreg.L1() if name == "l1" else jreg.Ridge()


def _fit(*data: Any, **options: Any) -> tuple[Path, float]:
    """The path and how many seconds it took; a progress bar where somebody sees it."""
    start = time.perf_counter()
    found = jreg.path(*data, progress=sys.stderr.isatty(), **options)
    return found, time.perf_counter() - start


def _device() -> str:
    devices = jax.devices()
    return f"{len(devices)} x {devices[0].device_kind}"


def _is_complete(found: Path) -> bool:
    return not (found.status == Status.NOT_RUN).any()


def _tell_interrupted(found: Path) -> int:
    done = int((found.status != Status.NOT_RUN).sum())
    print(f"jreg: interrupted after {done} of {found.lams.size} lams", file=sys.stderr)
    return 130


def table(found: Path, n_rows: int = 12) -> list[str]:
    """About `n_rows` of the lams that are done, evenly apart, and how all of them ended."""
    done = np.flatnonzero(found.status != Status.NOT_RUN)
    if done.size == 0:
        return ["no lam is done"]
    lines = [f"{'lam':>10}  {'non-zero':>8}  {'deviance explained':>18}  {'certified gap':>13}"]
    for k in done[np.unique(np.linspace(0, done.size - 1, n_rows).round().astype(int))]:
        explained = round(float(found.deviance_ratio[k]), 4) + 0.0  # no -0.0000
        lines.append(
            f"{short(found.lams[k]):>10}  {found.n_nonzero[k]:>8}  {explained:>18.4f}"
            f"  {found.gap[k]:>13.1e}"
        )
    worst = np.max(found.gap[done])
    lines += ["", f"worst gap of the {done.size} lams: {worst:.1e}"]
    for code in np.unique(found.status):
        count = int((found.status == code).sum())
        lines.append(f"{count} of {found.lams.size} lams: {Status(int(code)).describe()}")
    return lines


def model(found: Path, k: int | None, most: int = 20) -> list[str]:
    """The features at place k, the largest effects first."""
    if k is None:
        return ["  there is none"]
    names, coef, effect = found.names(), found.coef[k], found.coef[k] * found.scale
    chosen = np.flatnonzero(coef)
    order = chosen[np.argsort(-np.abs(effect[chosen]), kind="stable")]
    lines = [
        f"lam {short(found.lams[k])} explains {found.deviance_ratio[k]:.4f} "
        f"with {chosen.size} of {coef.size} features:",
        "",
    ]
    width = max([len(names[j]) for j in order[:most]], default=0)
    width = max(width, len("intercept"))
    head = f"  {'':<{width}}  {'coefficient':>12}"
    lines.append(head + "  per standard deviation" * found.standardize)
    for j in order[:most]:
        line = f"  {names[j]:<{width}}  {short(coef[j]):>12}"
        lines.append(line + f"  {short(effect[j]):>22}" * found.standardize)
    if order.size > most:
        lines.append(f"  and {order.size - most} more")
    if found.fit_intercept:
        lines.append(f"  {'intercept':<{width}}  {short(found.intercept[k]):>12}")
    return lines


def short(x: float) -> str:
    """Four digits, or all those before the point up to ten millions."""
    return f"{x:.0f}" if 1e4 <= abs(x) < 1e7 else f"{x:.4g}"


if __name__ == "__main__":
    code = main()
    if code == 130:  # JAX may still compute in a thread of its own, which crashes a usual exit
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
