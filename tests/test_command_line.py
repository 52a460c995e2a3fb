import dataclasses
import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path as File

import numpy as np
import pandas as pd
import pytest

import jreg
from jreg import __main__ as command_line
from jreg import commands
from jreg.__main__ import main

ROWS = 60


def houses():
    """Numbers, truth values, text, a class, counts; nothing missing."""
    rng = np.random.default_rng(7)
    frame = pd.DataFrame(
        {
            "area": rng.normal(100, 20, ROWS).round(1),
            "age": rng.integers(0, 90, ROWS),
            "garden": rng.integers(0, 2, ROWS).astype(bool),
            "heating": rng.choice(["gas", "oil", "electric"], ROWS),
            "times": rng.integers(0, 3, ROWS),
        }
    )
    noise = rng.normal(0, 5, ROWS)
    frame["price"] = (3 * frame.area - frame.age + 20 * frame.garden + noise).round(1)
    frame["sold"] = np.where(frame.price + 10 * noise > frame.price.median(), "yes", "no")
    return frame


NUMBERS = ["--drop", "heating", "sold", "times"]


@pytest.fixture
def csv(tmp_path):
    """A function that writes a DataFrame, or text, and gives the file's name."""

    def write(content=None, name="houses.csv"):
        content = houses() if content is None else content
        text = content if isinstance(content, str) else content.to_csv(index=False)
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


@pytest.fixture(scope="module")
def fitted():
    frame = houses()
    return jreg.path(frame[["area", "age", "garden"]].astype(float), frame.price, n_lams=20)


@pytest.fixture
def call(monkeypatch, fitted):
    """What jreg.path was called with; it is not run."""
    seen = {}

    def record(X, y, *others, **options):
        names = ("penalty", "loss")
        seen.update(options, X=X, y=y, **dict(zip(names, others, strict=False)))
        return fitted

    monkeypatch.setattr(jreg, "path", record)
    return seen


def table_rows(text):
    lines = text.splitlines()
    start = next(k for k, line in enumerate(lines) if line.split()[:1] == ["lam"])
    rows = lines[start + 1 : lines.index("", start)]
    return np.array([[float(word) for word in line.split()] for line in rows])


def refused(capsys, *argv):
    """The one sentence with which the arguments are refused."""
    assert main(list(argv)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("jreg: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    return err


def is_png(file, least=20_000):
    data = File(file).read_bytes()
    return data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) > least


# --- general


def test_version_in_a_process_of_its_own():
    command = [sys.executable, "-m", "jreg", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"jreg {jreg.__version__}\n"
    assert done.stderr == ""


def test_a_reader_that_leaves_is_no_error():
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "jreg"]
    streams = {"stdout": write, "stderr": subprocess.PIPE, "text": True}
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}
    done = subprocess.run(command, **streams, env=buffered, check=False)
    os.close(write)
    assert done.stderr == ""
    assert done.returncode == 141


def test_alone_it_prints_help(capsys):
    assert main([]) == 0
    out, err = capsys.readouterr()
    assert "demo" in out
    assert "path" in out
    assert err == ""


@pytest.mark.parametrize("argv", [["--help"], ["demo", "--help"], ["path", "--help"]])
def test_help(argv, capsys):
    with pytest.raises(SystemExit) as end:
        main(argv)
    assert end.value.code == 0
    assert "usage: python -m jreg" in capsys.readouterr().out


# --- path: a real fit


def test_the_table_is_that_of_jreg_path(csv, capsys, fitted, tmp_path):
    out, plot = tmp_path / "coefs.csv", tmp_path / "path.png"
    file = csv()
    argv = ["path", file, "--target", "price", "--n-lams", "20", *NUMBERS]
    assert main([*argv, "--out", str(out), "--plot", str(plot)]) == 0
    text, err = capsys.readouterr()
    assert err == ""  # no progress bar where nobody sees it
    assert f"{file}: {ROWS} rows, 3 features" in text

    rows = table_rows(text)
    assert rows.shape == (12, 4)
    places = [int(np.abs(fitted.lams - lam).argmin()) for lam in rows[:, 0]]
    assert (places[0], places[-1]) == (0, 19)
    np.testing.assert_allclose(rows[:, 0], fitted.lams[places], rtol=1e-3)
    np.testing.assert_array_equal(rows[:, 1], fitted.n_nonzero[places])
    np.testing.assert_allclose(rows[:, 2], fitted.deviance_ratio[places], atol=5e-5)
    np.testing.assert_allclose(rows[:, 3], fitted.gap[places], rtol=0.06, atol=1e-12)
    assert "-0.0000" not in text
    worst = float(re.search(r"worst gap of the 20 lams: (\S+)", text).group(1))
    assert worst <= 1e-6
    assert "20 of 20 lams: converged" in text

    enough = fitted.deviance_ratio >= 0.95 * fitted.deviance_ratio.max()
    k = int(np.flatnonzero(enough)[0])
    assert f"lam {fitted.lams[k]:.4g} explains {fitted.deviance_ratio[k]:.4f} with" in text
    told = dict(re.findall(r"^  (\w+) +(\S+)  +\S+$", text, flags=re.MULTILINE))
    assert float(told["area"]) == pytest.approx(fitted.coef[k, 0], rel=1e-3)

    written = pd.read_csv(out)
    pd.testing.assert_frame_equal(
        written.drop(columns=["gap", "residual", "num_steps"]),
        fitted.to_dataframe().drop(columns=["gap", "residual", "num_steps"]),
        check_dtype=False,
    )
    assert list(written.columns) == list(fitted.to_dataframe().columns)
    assert is_png(plot)
    assert f"coefficients: {out.resolve()}" in text
    assert f"picture: {plot.resolve()}" in text


def test_logistic_loss_and_text_labels(csv, capsys):
    argv = ["--target", "sold", "--loss", "logistic", "--n-lams", "5", "--drop", "heating", "times"]
    assert main(["path", csv(), *argv]) == 0
    text = capsys.readouterr().out
    assert "target: sold, no as 0 and yes as 1" in text
    frame = houses()
    X = frame[["area", "age", "garden", "price"]].astype(float)
    found = jreg.path(X, frame.sold == "yes", loss=jreg.Logistic(), n_lams=5)
    rows = table_rows(text)
    np.testing.assert_allclose(rows[:, 0], found.lams, rtol=1e-3)
    np.testing.assert_allclose(rows[:, 2], found.deviance_ratio, atol=5e-5)


# --- path: each option reaches jreg.path


def test_without_options_the_defaults_are_those_of_jreg_path(csv, call):
    assert main(["path", csv(), "--target", "price", *NUMBERS]) == 0
    assert repr(call["penalty"]) == repr(jreg.L1())
    assert call["loss"] == jreg.Squared()
    assert (call["n_lams"], call["lam_min_ratio"], call["tol"]) == (100, None, None)
    assert call["fit_intercept"]
    assert call["standardize"]
    assert call["sample_weight"] is None
    assert call["offset"] is None
    assert call["progress"] is False
    assert list(call["X"].columns) == ["area", "age", "garden"]
    np.testing.assert_array_equal(call["X"], houses()[["area", "age", "garden"]].astype(float))
    np.testing.assert_array_equal(call["y"], houses().price)


@pytest.mark.parametrize(
    ("argv", "name", "expected"),
    [
        (["--penalty", "l1"], "penalty", jreg.L1()),
        (["--penalty", "ridge"], "penalty", jreg.Ridge()),
        (["--penalty", "elastic-net"], "penalty", jreg.ElasticNet(l1_ratio=0.5)),
        (
            ["--penalty", "elastic-net", "--l1-ratio", "0.25"],
            "penalty",
            jreg.ElasticNet(l1_ratio=0.25),
        ),
        (["--loss", "squared"], "loss", jreg.Squared()),
        (["--n-lams", "7"], "n_lams", 7),
        (["--lam-min-ratio", "0.01"], "lam_min_ratio", 0.01),
        (["--no-intercept"], "fit_intercept", False),
        (["--no-standardize"], "standardize", False),
        (["--tol", "1e-9"], "tol", 1e-9),
    ],
)
def test_an_option_reaches_jreg_path(csv, call, argv, name, expected):
    assert main(["path", csv(), "--target", "price", *NUMBERS, *argv]) == 0
    assert repr(call[name]) == repr(expected)  # penalties hold arrays: they are never equal


def test_a_terminal_gets_a_progress_bar(csv, call, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    assert main(["path", csv(), "--target", "price", *NUMBERS]) == 0
    assert call["progress"] is True


def test_weight_and_offset_are_no_features(csv, call):
    drop = ["--drop", "heating", "--drop", "sold"]
    options = ["--weight", "times", "--offset", "age", *drop]
    assert main(["path", csv(), "--target", "price", *options]) == 0
    assert list(call["X"].columns) == ["area", "garden"]
    np.testing.assert_array_equal(call["sample_weight"], houses().times)
    np.testing.assert_array_equal(call["offset"], houses().age)


# --- reading


def test_dummies_leave_out_the_first_value(csv, call, capsys):
    argv = ["--target", "price", "--dummies", "--drop", "sold", "times"]
    assert main(["path", csv(), *argv]) == 0
    names = ["area", "age", "garden", "heating=gas", "heating=oil"]
    assert list(call["X"].columns) == names
    np.testing.assert_array_equal(call["X"]["heating=oil"], houses().heating == "oil")
    note = "heating is electric where none of these is 1: gas, oil"
    assert note in capsys.readouterr().out


def test_text_with_one_value_is_left_out_and_told():
    frame = pd.DataFrame({"a": ["x", "x"], "b": [1, 2]})
    X, notes = commands._encode(frame, ["a"])
    assert list(X.columns) == ["b"]
    assert notes == ["left out a, which is x in every row"]


def with_holes():
    frame = houses()
    frame.loc[[1, 2], "area"] = np.nan
    frame.loc[5, "age"] = np.nan
    frame.loc[[5, 9], "price"] = np.nan
    frame["garden"] = frame.garden.astype(object)
    frame.loc[11, "garden"] = np.nan
    return frame


def test_missing_drop(csv, call, capsys):
    argv = ["--target", "price", *NUMBERS, "--missing", "drop"]
    frame = with_holes()
    frame["sold"] = np.nan  # a column that is left out does not count
    assert main(["path", csv(frame), *argv]) == 0
    kept = houses().drop(index=[1, 2, 5, 9, 11])
    np.testing.assert_array_equal(call["y"], kept.price)
    np.testing.assert_array_equal(call["X"], kept[["area", "age", "garden"]].astype(float))
    text = capsys.readouterr().out
    assert "missing values: area (2), age (1), garden (1), price (2)" in text
    assert f"left out 5 of {ROWS} rows" in text


@pytest.mark.parametrize("weight", [None, "times"])
def test_missing_mean_fills_features_and_drops_rows_without_target(csv, call, capsys, weight):
    drop = ["--drop", "heating", "sold"] + ["times"] * (weight is None)
    options = ["--missing", "mean"] + ["--weight", "times"] * (weight is not None)
    assert main(["path", csv(with_holes()), "--target", "price", *drop, *options]) == 0
    kept = houses().drop(index=[5, 9])
    np.testing.assert_array_equal(call["y"], kept.price)
    known = kept.drop(index=[1, 2])
    mean = np.average(known.area, weights=None if weight is None else known.times)
    column = pd.Series(call["X"]["area"].to_numpy(), kept.index)
    np.testing.assert_allclose(column[[1, 2]], mean)
    np.testing.assert_array_equal(column.drop([1, 2]), known.area)
    assert 0 < call["X"]["garden"].to_numpy()[9] < 1
    text = capsys.readouterr().out
    assert f"left out 2 of {ROWS} rows" in text
    assert f"filled in the mean of area, {mean:.6g}" in text


def test_labels_of_classes(csv, call, capsys):
    frame = houses()
    for target in ("garden", "zero", "minus", "sold"):
        frame["zero"] = frame.garden.astype(int)
        frame["minus"] = 2 * frame.zero - 1
        features = ["area", "age", target]
        argv = ["--target", target, "--loss", "logistic"]
        assert main(["path", csv(frame[features]), *argv]) == 0
        expected = frame.sold == "yes" if target == "sold" else frame[target]
        np.testing.assert_array_equal(call["y"], expected.astype(float))
        assert call["loss"] == jreg.Logistic()
        assert f"target: {target}" in capsys.readouterr().out


def test_a_constant_feature_is_told(csv, call, capsys):
    frame = houses()[["area", "age", "price"]].assign(floor=1)
    assert main(["path", csv(frame), "--target", "price"]) == 0
    assert "the same in every row, so of no use: floor" in capsys.readouterr().out


# --- errors: exit code 2 and one sentence, before any fit


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["frob"], "invalid choice: 'frob'"),
        (["--frob"], "--frob"),
        (["path"], "required: data.csv, --target"),
        (["path", "FILE"], "required: --target"),
        (["path", "FILE", "--target", "price", "--frob"], "unrecognized arguments: --frob"),
        (["path", "FILE", "--target", "price", "--pen", "l1"], "--pen"),
        (["path", "no.csv", "--target", "price"], "there is no file no.csv"),
        (["path", ".", "--target", "price"], "cannot read . as a CSV file"),
        (["path", "FILE", "--target", "Price"], "no column Price; did you mean price?"),
        (["path", "FILE", "--target", "xyzzy"], "there are area, age, garden, heating, times"),
        (["path", "FILE", "--target", "price", "--drop", "qqq"], "--drop: "),
        (["path", "FILE", "--target", "price", "--weight", "qqq"], "--weight: "),
        (["path", "FILE", "--target", "price", "--offset", "qqq"], "--offset: "),
        (["path", "FILE", "--target", "price", "--drop", "price"], "price has another role"),
        (["path", "FILE", "--target", "price", "--weight", "price"], "price has another role"),
        (
            ["path", "FILE", "--target", "price"],
            "text, not numbers: heating (electric, oil, gas), sold (yes, no);",
        ),
        (["path", "FILE", "--target", "price"], "--dummies"),
        (["path", "FILE", "--target", "sold", "--dummies"], "use --loss logistic"),
        (["path", "FILE", "--target", "heating", "--loss", "logistic", "--dummies"], "two classes"),
        (["path", "FILE", "--target", "times", "--loss", "logistic", "--dummies"], "holds 0, 1, 2"),
        (["path", "FILE", "--target", "price", "--dummies", "--weight", "sold"], "sold (yes, no)"),
        (["path", "FILE", "--target", "price", "--dummies", "--offset", "sold"], "sold (yes, no)"),
        (["path", "FILE", "--target", "price", "--penalty", "lasso"], "invalid choice: 'lasso'"),
        (["path", "FILE", "--target", "price", "--loss", "hinge"], "invalid choice: 'hinge'"),
        (["path", "FILE", "--target", "price", "--missing", "zero"], "invalid choice: 'zero'"),
        (["path", "FILE", "--target", "price", "--l1-ratio", "0.3"], "--penalty elastic-net"),
        (["path", "FILE", "--target", "price", "--l1-ratio", "2"], "between 0 and 1; got 2"),
        (["path", "FILE", "--target", "price", "--l1-ratio", "nan"], "between 0 and 1; got nan"),
        (["path", "FILE", "--target", "price", "--n-lams", "0"], "--n-lams: must be a whole"),
        (["path", "FILE", "--target", "price", "--n-lams", "-3"], "--n-lams: must be a whole"),
        (["path", "FILE", "--target", "price", "--n-lams", "2.5"], "--n-lams: must be a whole"),
        (["path", "FILE", "--target", "price", "--lam-min-ratio", "0"], "above 0 and at most 1"),
        (["path", "FILE", "--target", "price", "--lam-min-ratio", "x"], "must be a number"),
        (["path", "FILE", "--target", "price", "--tol", "0"], "above 0; got 0"),
        (["path", "FILE", "--target", "price", "--tol", "inf"], "above 0; got inf"),
        (["path", "FILE", "--target", "price", "--tol", "1e-30"], "at least 2.2e-15"),
        (["path", "FILE", "--target", "price", "--out", "no/such/a.csv"], "cannot write"),
        (["path", "FILE", "--target", "price", "--out", "."], "--out: cannot write"),
        (["path", "FILE", "--target", "price", "--plot", "no/such/a.png"], "cannot write"),
        (["path", "FILE", "--target", "price", "--plot", "a.gif"], "ends in .png, .pdf or .svg"),
        (["path", "FILE", "--target", "price", "--out", "FILE"], "must be different files"),
        (["demo", "--out", "no/such/a.png"], "--out: cannot write no/such/a.png"),
        (["demo", "--out", "picture"], "ends in .png"),
        (["demo", "--degree", "3"], "unrecognized arguments"),
    ],
)
def test_bad_arguments(argv, message, csv, capsys, call):
    file = csv()
    before = File(file).read_text()
    argv = [file if word == "FILE" else word for word in argv]
    assert message in refused(capsys, *argv)
    assert not call
    assert File(file).read_text() == before


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("", [], "cannot read"),
        ("a,y\n", [], "no rows"),
        ("a;y\n1;2\n3;5\n", [], "separated by commas?"),
        ("a,y\n1,2,3\n1,2,4\n", [], "more fields than"),
        ("a,y\n1,2\n1,2,4\n", [], "cannot read"),
        ("y\n1\n2\n", [], "no column left to be a feature"),
        ("a,y\n1,5\n2,5\n", [], "the target y is 5 in every row"),
        ("a,y,w\n1,5,1\n2,5,1\n3,6,0\n", ["--weight", "w"], "the target y is 5 in every row"),
        ("a,y\n1,k\n2,k\n", ["--loss", "logistic"], "two classes"),
        ("a,y\n1,1\n2,1\n", ["--loss", "logistic"], "the target y is 1 in every row"),
        ("a,y\n1,1\n2,2\n", ["--loss", "logistic"], "y holds 1, 2"),
        ("a,y\n1,0\n2,-1\n3,1\n", ["--loss", "logistic"], "y holds -1, 0, 1"),
        ("a,y,w\n1,5,1\n2,6,-1\n", ["--weight", "w"], "at least 0"),
        ("a,y,w\n1,5,0\n2,6,0\n", ["--weight", "w"], "not all 0"),
        ("a,y\n1,5\ninf,6\n", [], "infinite values in a (1)"),
        ("a,y\n1,5\n,6\n", [], "missing values in a (1); --missing drop leaves out 1 of 2 rows"),
        ("a,b,y\n1,,5\n,2,6\n", ["--missing", "drop"], "no row is left"),
        ("a,b,y\n1,,5\n3,,6\n", ["--missing", "mean"], "the column b is empty"),
        ("a,b,y\n1,u,5\n3,,6\n1,v,7\n", ["--missing", "mean", "--dummies"], "text has no mean"),
        ("a,y\n1,5\n2,6\n1o,7\n", [], "a (numbers but for 1, as '1o')"),
        ("a,y\n1,5\n1,6\n", [], "every feature is the same in all rows: a"),
        ("a,y\nu,5\nu,6\n", ["--dummies"], "every feature is the same in all rows: a"),
    ],
)
def test_bad_files(content, options, message, csv, capsys, call):
    assert message in refused(capsys, "path", csv(content), "--target", "y", *options)
    assert not call


def test_a_file_that_is_no_text(tmp_path, capsys):
    file = tmp_path / "picture.png"
    file.write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\xff")
    assert "cannot read" in refused(capsys, "path", str(file), "--target", "y")


def test_an_output_that_exists_survives_a_refusal(csv, tmp_path, capsys):
    out = tmp_path / "out.csv"
    out.write_text("precious")
    refused(capsys, "path", csv(), "--target", "price", "--out", str(out))
    assert out.read_text() == "precious"
    new = tmp_path / "new.csv"
    refused(capsys, "path", csv(), "--target", "price", "--out", str(new))
    assert not new.exists()


@pytest.mark.parametrize(
    ("module", "argv", "message"),
    [
        ("pandas", ["path", "FILE", "--target", "y"], 'pip install "jreg[data]"'),
        ("matplotlib.figure", ["path", "FILE", "--target", "y", "--plot", "a.png"], "jreg[plots]"),
        ("sklearn.datasets", ["demo", "--out", "OUT"], 'pip install "jreg[data]"'),
    ],
)
def test_a_missing_package_is_named(module, argv, message, csv, tmp_path, capsys, monkeypatch):
    files = {"FILE": csv(), "OUT": str(tmp_path / "a.png")}
    monkeypatch.setitem(sys.modules, module, None)
    assert message in refused(capsys, *(files.get(word, word) for word in argv))


# --- Ctrl-C


def interrupt_after(lams, monkeypatch):
    """Ctrl-C when so many lams are done."""
    real = jreg.path

    def press(done, total):
        if done >= lams:
            raise KeyboardInterrupt

    def path(*data, **options):
        return real(*data, **{**options, "progress": press})

    monkeypatch.setattr(jreg, "path", path)


def test_ctrl_c_keeps_what_is_done(csv, capsys, monkeypatch, tmp_path):
    interrupt_after(50, monkeypatch)
    out, plot = tmp_path / "coefs.csv", tmp_path / "path.png"
    argv = ["--target", "price", "--n-lams", "60", *NUMBERS, "--out", str(out), "--plot", str(plot)]
    assert main(["path", csv(), *argv]) == 130
    text, err = capsys.readouterr()
    assert "jreg: interrupted after 50 of 60 lams" in err
    assert len(table_rows(text)) == 12  # evenly apart
    assert "worst gap of the 50 lams" in text
    assert "50 of 60 lams: converged" in text
    assert "10 of 60 lams: not computed" in text
    assert "nan" not in text
    assert (pd.read_csv(out).status == "NOT_RUN").sum() == 10
    assert is_png(plot)


def test_ctrl_c_before_the_first_lam(csv, capsys, call, fitted, monkeypatch, tmp_path):
    none = {k: np.full_like(getattr(fitted, k), np.nan) for k in ("coef", "deviance_ratio", "gap")}
    status = np.full_like(fitted.status, jreg.Status.NOT_RUN)
    nothing = dataclasses.replace(fitted, status=status, **none)
    monkeypatch.setattr(jreg, "path", lambda *_, **__: nothing)
    plot = tmp_path / "path.png"
    argv = ["path", csv(), "--target", "price", *NUMBERS, "--plot", str(plot)]
    assert main(argv) == 130
    text, err = capsys.readouterr()
    assert "jreg: interrupted after 0 of 20 lams" in err
    assert "no lam is done" in text
    assert not plot.exists()


def test_ctrl_c_elsewhere(csv, capsys, monkeypatch):
    def press(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "read_table", press)
    assert main(["path", csv(), "--target", "price"]) == 130
    assert "jreg: interrupted" in capsys.readouterr().err


# --- the words


def test_a_path_that_did_not_converge_says_so(fitted):
    status = fitted.status.copy()
    status[-3:] = jreg.Status.MAX_STEPS
    lines = command_line.table(dataclasses.replace(fitted, status=status))
    assert "3 of 20 lams: " + jreg.Status.MAX_STEPS.describe() in lines


@pytest.mark.parametrize("n_rows", [1, 2, 12, 20, 50])
def test_the_table_has_the_first_and_the_last_lam(fitted, n_rows):
    rows = table_rows("\n".join(command_line.table(fitted, n_rows)))
    assert len(rows) == min(n_rows, 20)
    assert rows[0, 0] == pytest.approx(fitted.lams[0], rel=1e-3)
    if n_rows > 1:
        assert rows[-1, 0] == pytest.approx(fitted.lams[-1], rel=1e-3)


def test_a_model_names_the_largest_effects_first(fitted):
    lines = command_line.model(fitted, 19, most=2)
    shown = [line.split()[0] for line in lines[3:]]
    order = np.argsort(-np.abs(fitted.coef[19] * fitted.scale))
    assert shown == [*np.array(fitted.names())[order[:2]], "and", "intercept"]
    assert lines[5] == "  and 1 more"
    assert command_line.model(fitted, None) == ["  there is none"]


@pytest.mark.parametrize(
    ("x", "text"),
    [(0, "0"), (-1.23456, "-1.235"), (12345.6, "12346"), (1.5e8, "1.5e+08"), (2e-7, "2e-07")],
)
def test_short_numbers(x, text):
    assert command_line.short(x) == text


# --- demo


def test_the_demo_runs(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(command_line, "DEGREE", 1)  # the same shape twice: compiled once
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 0
    text = capsys.readouterr().out
    picture = tmp_path / "jreg-demo.png"
    assert f"picture: {picture.resolve()}" in text
    assert is_png(picture, 100_000)
    assert text.count("442 x 10") == 2
    assert text.count("100 of 100 lams: converged") == 2
    assert text.count("when called again") == 2
    assert re.search(r"jax \S+ on \d+ x ", text)
    assert "bmi" in text

    X, y, names = jreg.datasets.diabetes()
    found = jreg.path(X, y, feature_names=names)
    rows = table_rows(text)
    np.testing.assert_allclose(rows[[0, -1], 0], found.lams[[0, -1]], rtol=1e-3)
    np.testing.assert_allclose(rows[-1, 2], found.deviance_ratio[-1], atol=5e-5)
    k = commands.first_explaining(found, 0.5)
    assert found.deviance_ratio[k] >= 0.5 > found.deviance_ratio[k - 1]
    assert f"lam {found.lams[k]:.4g} explains" in text


def test_the_demo_without_matplotlib(capsys, monkeypatch, call, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr(command_line, "DEGREE", 1)
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 0
    assert 'no picture, as matplotlib is missing: pip install "jreg[plots]"' in (
        capsys.readouterr().out
    )
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_in_the_demo(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(command_line, "DEGREE", 1)
    monkeypatch.chdir(tmp_path)
    interrupt_after(5, monkeypatch)
    assert main(["demo"]) == 130
    assert "jreg: interrupted after 50 of 100 lams" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_while_drawing_waits_for_its_end(capsys, monkeypatch, csv, tmp_path):
    # in the middle of matplotlib it became "ValueError: Invalid bounding box"
    real, drawn = commands.plots.deviance_path, []

    def press(*args, **options):
        signal.raise_signal(signal.SIGINT)
        drawn.append(real(*args, **options))

    monkeypatch.setattr(commands.plots, "deviance_path", press)
    picture = tmp_path / "path.png"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code = main(["path", csv(), "--target", "price", *NUMBERS, "--plot", str(picture)])
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert code == 130
    assert drawn
    assert "jreg: interrupted" in capsys.readouterr().err
    assert not picture.exists()


@pytest.mark.slow
def test_the_whole_demo(capsys, tmp_path):
    picture = tmp_path / "demo.png"
    assert main(["demo", "--out", str(picture)]) == 0
    text = capsys.readouterr().out
    assert "442 x 1000" in text
    assert text.count("100 of 100 lams: converged") == 2
    assert is_png(picture, 100_000)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [1, 4])
def test_ctrl_c_while_jax_computes_does_not_crash_the_process(seconds, tmp_path):
    # a test run in the background of a shell ignores the signal, and so would its children;
    # one demo after the other, so that the signal finds one however fast the machine is
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from jreg.__main__ import main\n"
        "while not (code := main(sys.argv[1:])): pass\n"
        "sys.exit(code)"
    )
    command = [sys.executable, "-u", "-c", program, "demo", "--out", str(tmp_path / "demo.png")]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **streams) as process:
        for line in process.stdout:
            if "442 x 1000" in line:
                break
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert "jreg: interrupted" in err
    assert "Traceback" not in err
    assert process.returncode == 130
