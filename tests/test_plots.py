import itertools
import os
import pickle
import subprocess
import sys

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.collections import LineCollection
from matplotlib.text import Annotation

from jreg import plots

LAMS = np.geomspace(10, 0.01, 30)


@pytest.fixture(autouse=True)
def _closed():
    before = dict(plt.rcParams)
    yield
    plt.close("all")
    assert dict(plt.rcParams) == before


def soft_path(size=4, *, lams=LAMS, seed=0):
    """The lasso path of an orthogonal design, shape (lams, size)."""
    target = np.random.default_rng(seed).normal(scale=3, size=size)
    return np.sign(target) * np.maximum(np.abs(target) - np.asarray(lams)[:, None], 0)


def label_texts(ax):
    return [text.get_text() for text in ax.texts if isinstance(text, Annotation)]


def named_lines(ax):
    return {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}


def grey_lines(ax):
    (grey,) = (item for item in ax.collections if isinstance(item, LineCollection))
    return grey.get_segments()


def counts(ax):
    (upper,) = ax.child_axes
    assert upper.get_xlabel() == "non-zero coefficients"
    return [(tick, int(text.get_text())) for tick, text in zip(*ticks(upper), strict=True)]


def ticks(ax):
    return ax.get_xticks(), ax.get_xticklabels()


def tick_texts(ax):
    return [text.get_text() for text in ax.get_xticklabels()]


def test_lines_follow_the_coefficients():
    coef = soft_path()
    ax = plots.coefficient_path(LAMS, coef)
    lines = named_lines(ax)
    assert set(lines) == {"x0", "x1", "x2", "x3"}
    assert grey_lines(ax) == []
    for column, name in enumerate(["x0", "x1", "x2", "x3"]):
        x, y = lines[name].get_data()
        np.testing.assert_array_equal(x, LAMS)
        active = coef[:, column] != 0
        np.testing.assert_array_equal(y[active], coef[active, column])
        # Only the zero line where a coefficient stays at zero.
        assert np.isnan(y[: active.argmax() - 1]).all()


def test_axes_say_what_they_show():
    ax = plots.coefficient_path(LAMS, soft_path(), title="Path", ylabel="log odds")
    assert ax.get_ylabel() == "log odds"
    assert ax.get_title() == "Path"
    assert ax.get_xlabel() == r"$\lambda$ (log scale, decreasing)"
    assert ax.get_xscale() == "log"
    left, right = ax.get_xlim()
    assert left > 10 > 0.01 > right
    assert tick_texts(ax) == ["0.01", "0.1", "1", "10"]
    assert ax.get_legend() is None


def test_default_y_label():
    assert plots.coefficient_path(LAMS, soft_path()).get_ylabel() == "coefficient"


def test_small_lams_are_powers_of_ten():
    ax = plots.coefficient_path(LAMS / 1e5, soft_path())
    assert all("10^{-" in text for text in tick_texts(ax))


@pytest.mark.parametrize("high", [1.05, 1.5, 3.0, 20.0])
def test_a_narrow_grid_has_more_than_one_tick(high):
    lams = np.linspace(high, 1.0, 5)
    ax = plots.deviance_path(lams, np.linspace(0, 1, 5))
    assert len(set(tick_texts(ax))) >= 3
    assert all(1 <= tick <= high for tick in ax.get_xticks())


def test_upper_axis_counts():
    coef = soft_path(40)
    for lam, count in counts(plots.coefficient_path(LAMS, coef)):
        assert count == np.count_nonzero(coef[np.abs(LAMS - lam).argmin()])
    shown = counts(plots.coefficient_path(LAMS, coef, n_nonzero=np.arange(30)))
    assert shown[0] == (LAMS[-1], 29)
    assert 3 <= len(shown) <= 7


def test_only_the_largest_are_named():
    coef = soft_path(30)
    ax = plots.coefficient_path(LAMS, coef, names=[f"gene {j}" for j in range(30)], max_labels=5)
    largest = np.argsort(-np.abs(coef[-1]))[:5]
    assert set(label_texts(ax)) == {f"gene {j}" for j in largest} == set(named_lines(ax))
    drawn = np.count_nonzero(coef.any(axis=0))
    assert len(grey_lines(ax)) == drawn - 5


def test_no_labels():
    ax = plots.coefficient_path(LAMS, soft_path(), max_labels=0)
    assert label_texts(ax) == []
    assert len(grey_lines(ax)) == 4


def test_columns_of_zeros_are_not_drawn():
    coef = soft_path()
    coef[:, 1] = 0
    ax = plots.coefficient_path(LAMS, coef)
    assert set(named_lines(ax)) == {"x0", "x2", "x3"}
    empty = plots.coefficient_path(LAMS, np.zeros((30, 3)))
    assert not named_lines(empty)
    assert not grey_lines(empty)
    empty.figure.canvas.draw()


def boxes_of_labels(ax):
    ax.figure.canvas.draw()
    texts = [text for text in ax.texts if isinstance(text, Annotation)]
    # An annotation's own extent has its leader in it.
    return [matplotlib.text.Text.get_window_extent(text) for text in texts]


@pytest.mark.parametrize("size", [(3.5, 2.6), (6.4, 4.8), (10, 5.6)])
def test_labels_do_not_overlap_and_are_not_clipped(size):
    rng = np.random.default_rng(1)
    coef = np.linspace(0, 1, 30)[:, None] * np.concatenate([rng.normal(1, 0.01, 12), [-2.0]])
    _, ax = plt.subplots(figsize=size)
    plots.coefficient_path(LAMS, coef, max_labels=20, names=["a longer name"] * 13, ax=ax)
    # A later change of size is followed, as far as the labels fit at all.
    for _ in range(2):
        boxes = boxes_of_labels(ax)
        assert len(boxes) >= 10
        for lower, upper in itertools.pairwise(boxes):
            assert lower.y1 <= upper.y0 + 1
        whole = ax.figure.bbox
        assert all(whole.x0 <= box.x0 and box.x1 <= whole.x1 for box in boxes)
        assert all(whole.y0 <= box.y0 and box.y1 <= whole.y1 for box in boxes)
        ax.figure.set_size_inches(size[0] * 1.2, size[1] * 1.1)


def test_a_label_alone_stands_at_the_end_of_its_line():
    ax = plots.coefficient_path(LAMS, np.linspace(0, 1, 30)[:, None] * [1.0, -1.0])
    boxes = boxes_of_labels(ax)
    ends = ax.transData.transform([(LAMS[-1], -1.0), (LAMS[-1], 1.0)])[:, 1]
    for box, end in zip(boxes, ends, strict=True):
        assert abs((box.y0 + box.y1) / 2 - end) < 5


def test_low_axes_get_fewer_labels():
    _, ax = plt.subplots(figsize=(3.5, 1.5))
    plots.coefficient_path(LAMS, soft_path(30), ax=ax)
    assert 2 <= len(label_texts(ax)) < 10


def test_marks_have_lines_and_a_legend():
    ax = plots.coefficient_path(LAMS, soft_path(), marks={"lam_min": 0.1, "lam_1se": 1.0})
    legend = ax.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["lam_min", "lam_1se"]
    lines = named_lines(ax)
    assert list(lines["lam_min"].get_xdata()) == [0.1, 0.1]
    assert all(lines[mark].is_dashed() for mark in ("lam_min", "lam_1se"))


@pytest.mark.parametrize("size", [(3.5, 2.6), (6.4, 4.8), (10, 5.6)])
@pytest.mark.parametrize("names", [["m"], ["lam_min", "lam_1se"], ["a", "b", "c"]])
def test_the_legend_hides_nothing(size, names):
    coef = np.array([[-1.0, 1.0]]).repeat(30, axis=0)
    _, ax = plt.subplots(figsize=size)
    plots.coefficient_path(LAMS, coef, marks=dict.fromkeys(names, 5.0), ax=ax)
    ax.figure.canvas.draw()
    bottom = ax.get_legend().get_window_extent().y0
    for line in ax.lines:
        top = line.get_transform().transform(line.get_xydata())[:, 1].max()
        assert top <= bottom + 1


def test_a_mark_off_the_grid_is_in_sight():
    ax = plots.deviance_path(LAMS, np.linspace(0, 1, 30), marks={"old": 1000.0, "none": 0})
    left, right = ax.get_xlim()
    places = [line.get_xdata()[0] for line in named_lines(ax).values()]
    assert all(right < place < left for place in places)


def test_zero_stands_apart():
    lams = np.append(LAMS, 0.0)
    ax = plots.coefficient_path(lams, soft_path(lams=lams))
    (x, *_) = (line.get_xdata() for line in named_lines(ax).values())
    assert 0 < x[-1] < LAMS[-1]
    assert "0 set apart" in ax.get_xlabel()
    at_zero = [text.get_text() for tick, text in zip(*ticks(ax), strict=True) if tick == x[-1]]
    assert at_zero == ["0"]
    assert "//" in label_texts(ax)
    assert counts(ax)[0] == (x[-1], 4)


def test_nothing_but_zero():
    ax = plots.coefficient_path([0.0], [[1.0, -2.0]])
    assert tick_texts(ax) == ["0"]
    assert label_texts(ax) == ["x1", "x0"]
    ax.figure.canvas.draw()


def test_rows_of_nan_are_gaps():
    coef = soft_path(20)
    coef[10:12] = np.nan
    coef[25:, 3] = np.inf
    ax = plots.coefficient_path(LAMS, coef, max_labels=1)
    (line,) = named_lines(ax).values()
    assert line.get_xdata()[-1] == LAMS[24]
    y = line.get_ydata()
    assert np.isnan(y[10:12]).all()
    assert np.isfinite(y[12:]).all()
    assert y[-1] == coef[24, np.abs(coef[24]).argmax()]
    assert len(grey_lines(ax)) == np.count_nonzero(np.nan_to_num(coef[:25]).any(axis=0)) - 1
    assert np.isfinite(ax.get_ylim()).all()
    # The upper axis counts no row that is not there.
    assert all(count <= 20 and lam not in LAMS[10:12] for lam, count in counts(ax))


def test_a_row_between_gaps_has_a_marker():
    ratio = np.linspace(0, 1, 30)
    ratio[[4, 6]] = np.nan
    (line,) = plots.deviance_path(LAMS, ratio).lines
    assert list(line.get_markevery()) == [5]
    assert line.get_marker() == "o"


def test_one_lam_is_drawn_with_markers():
    ax = plots.coefficient_path([0.5], [[1.0, 0.0, -2.0, 0.5]], max_labels=2)
    assert set(named_lines(ax)) == {"x0", "x2"}
    for line in named_lines(ax).values():
        assert line.get_marker() == "o"
        assert list(line.get_markevery()) == [0]
    assert any(list(line.get_ydata()) == [0.5] for line in ax.lines)
    assert tick_texts(ax) == ["0.5"]
    assert ax.get_xlabel() == r"$\lambda$"
    assert counts(ax) == [(0.5, 3)]


def test_lams_are_drawn_sorted():
    order = np.random.default_rng(2).permutation(30)
    coef, ratio = soft_path(), np.linspace(0, 1, 30)
    mixed = plots.coefficient_path(LAMS[order], coef[order])
    straight = plots.coefficient_path(LAMS, coef)
    for name, line in named_lines(straight).items():
        np.testing.assert_array_equal(line.get_xydata(), named_lines(mixed)[name].get_xydata())
    assert counts(mixed) == counts(straight)
    (line,) = plots.deviance_path(LAMS[order], ratio[order]).lines
    np.testing.assert_array_equal(line.get_xydata()[:, 1], ratio)


def test_lams_may_repeat():
    lams = np.array([1.0, 0.1, 0.1, 0.01])
    ax = plots.coefficient_path(lams, soft_path(lams=lams))
    assert all(line.get_xdata().size == 4 for line in named_lines(ax).values())
    ax = plots.coefficient_path([1.0, 1.0], [[1.0], [2.0]])
    assert list(named_lines(ax)["x0"].get_markevery()) == [0, 1]
    ax.figure.canvas.draw()


def test_one_feature_and_float32():
    ax = plots.coefficient_path(
        LAMS.astype(np.float32), np.linspace(0, 1, 30, dtype=np.float32)[:, None], names=["age"]
    )
    assert label_texts(ax) == ["age"]
    ax.figure.canvas.draw()


def test_many_features_are_one_collection():
    ax = plots.coefficient_path(LAMS, soft_path(10_000))
    assert len(ax.lines) == 11  # ten with a name, and the zero line
    assert len(grey_lines(ax)) > 9_000
    assert all(np.isfinite(ax.get_ylim()))


def test_deviance_path():
    ratio = 1 - LAMS / 10
    ax = plots.deviance_path(
        LAMS, ratio, n_nonzero=np.arange(30), marks={"lam_min": 0.1}, title="Fit"
    )
    assert ax.get_ylabel() == "fraction of deviance explained"
    assert ax.get_title() == "Fit"
    line, _ = ax.lines
    np.testing.assert_array_equal(line.get_xydata(), np.column_stack([LAMS, ratio]))
    assert counts(ax)[0] == (LAMS[-1], 29)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["lam_min"]
    assert -0.1 < ax.get_ylim()[0] <= 0


def test_deviance_path_without_counts_has_no_upper_axis():
    ax = plots.deviance_path(LAMS, -np.ones(30))
    assert ax.child_axes == []
    assert ax.get_ylim()[0] < -1
    plots.deviance_path(LAMS, np.zeros(30)).figure.canvas.draw()


def test_the_axes_given_are_the_axes_returned():
    figure, axes = plt.subplots(1, 2)
    assert plots.coefficient_path(LAMS, soft_path(), ax=axes[0]) is axes[0]
    assert plots.deviance_path(LAMS, np.ones(30), ax=axes[1]) is axes[1]
    assert plt.get_fignums() == [figure.number]


def test_a_layout_is_left_alone():
    figure, ax = plt.subplots(layout="constrained")
    engine = figure.get_layout_engine()
    plots.coefficient_path(LAMS, soft_path(), ax=ax)
    assert figure.get_layout_engine() is engine
    figure = plt.figure()
    plots.coefficient_path(LAMS, soft_path(), ax=figure.add_axes((0.2, 0.2, 0.5, 0.5)))
    assert figure.get_layout_engine() is None
    figure.canvas.draw()


def test_text_follows_the_width_unless_a_size_was_chosen():
    def size(width):
        _, ax = plt.subplots(figsize=(width, 3))
        return plots.deviance_path(LAMS, np.ones(30), ax=ax).yaxis.label.get_size()

    assert size(3.5) < size(6.4) < size(12)
    with plt.rc_context({"font.size": 7.0}):
        assert size(3.5) == size(12) == 7


def test_figures_can_be_pickled():
    ax = plots.coefficient_path(LAMS, soft_path())
    again = pickle.loads(pickle.dumps(ax.figure)).axes[0]
    assert label_texts(again) == label_texts(ax)
    again.figure.canvas.draw()


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((LAMS, np.ones((4, 30))), {}, r"\(30, n_features\).* got \(4, 30\); transpose it"),
        ((LAMS, np.ones((29, 4))), {}, r"got \(29, 4\)$"),
        ((LAMS, np.ones(30)), {}, r"got \(30,\)$"),
        ((LAMS[:, None], np.ones((30, 4))), {}, r"lams must be one-dimensional.* \(30, 1\)"),
        (([], np.ones((0, 4))), {}, r"not empty; got shape \(0,\)"),
        ((-LAMS, np.ones((30, 4))), {}, "lams must be finite and not negative; got -10"),
        (([np.nan], np.ones((1, 4))), {}, "got nan"),
        ((LAMS, np.full((30, 4), np.nan)), {}, "nothing to draw"),
        ((LAMS, np.ones((30, 4))), {"n_nonzero": [1, 2]}, r"n_nonzero .*\(30,\); got \(2,\)"),
        ((LAMS, np.ones((30, 4))), {"names": ["a"]}, "each of 4; got 1"),
        ((LAMS, np.ones((30, 4))), {"max_labels": -1}, "max_labels must not be negative; got -1"),
        ((LAMS, np.ones((30, 4))), {"marks": {"m": -1}}, "marks must be .* got -1"),
        ((LAMS, np.ones((30, 4))), {"marks": {"m": np.inf}}, "marks must be .* got inf"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        plots.coefficient_path(*arguments, **options)
    assert plt.get_fignums() == []


def test_deviance_path_refuses():
    with pytest.raises(ValueError, match=r"deviance_ratio must have shape \(30,\).* got \(4,\)"):
        plots.deviance_path(LAMS, np.ones(4))
    with pytest.raises(ValueError, match="nothing to draw"):
        plots.deviance_path(LAMS, np.full(30, np.nan))


@pytest.mark.parametrize("draw", [plots.coefficient_path, plots.deviance_path])
def test_without_matplotlib(draw, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    values = soft_path() if draw is plots.coefficient_path else np.ones(30)
    with pytest.raises(ImportError, match=r'pip install "jreg\[plots\]"'):
        draw(LAMS, values)


def test_import_leaves_matplotlib_alone():
    code = (
        "import sys, importlib.util as util\n"
        "spec = util.spec_from_file_location('plots', sys.argv[1])\n"
        "spec.loader.exec_module(util.module_from_spec(spec))\n"
        "assert not {'matplotlib', 'jreg'} & set(sys.modules)\n"
    )
    # In a bare environment: a coverage or site hook could import anything.
    environment = {"PATH": os.environ.get("PATH", "")}
    subprocess.run([sys.executable, "-c", code, plots.__file__], check=True, env=environment)
