"""Paths side by side: in threads, in turn, and with one product with X for all of them."""

import threading
import time

import numpy as np
import pytest

import jreg
from jreg.path import drive, meeting
from jreg.path.inputs import precision
from jreg.path.meeting import Closed, Meeting
from jreg.path.threads import in_threads

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 50))


@pytest.fixture
def products(monkeypatch):
    """The numbers of rows of all products with X that are made."""
    made, original = [], meeting.product

    def product(X, rows):
        made.append(int(np.prod(rows.shape[:-1])))
        return original(X, rows)

    monkeypatch.setattr(meeting, "product", product)
    monkeypatch.setattr(drive, "product", product)
    return made


def ask(meets, rounds, rows):
    """A path that asks `rounds` times; what it was told."""

    def of(k):
        return [np.asarray(meets.product(k, rows[k] + i)) for i in range(rounds[k])]

    return of


@pytest.mark.parametrize(("threads", "wanted"), [(1, 13), (2, 7), (5, 6)])
def test_one_product_for_all_who_ask(products, threads, wanted):
    """One for each round of those who are there, each row as if it were alone."""
    rows, rounds = RNG.normal(size=(5, 3, 2, 30)), [4, 1, 6, 0, 2]
    with precision(np.float64):
        meets = Meeting(X, 2)
        found = list(in_threads(iter(range(5)), ask(meets, rounds, rows), X.dtype, threads, meets))
    for k, told in enumerate(found):
        assert len(told) == rounds[k]
        for i, product in enumerate(told):
            np.testing.assert_allclose(product, (rows[k] + i) @ X, rtol=1e-12, atol=1e-12)
    assert len(products) == wanted


def test_alone_nobody_waits(products):
    with precision(np.float64):
        found = Meeting(X, 2).product(0, X.T[:4])
    np.testing.assert_allclose(found, X.T[:4] @ X, rtol=1e-12, atol=1e-12)
    assert products == [4]


def test_at_most_so_many_compute(monkeypatch):
    """Ten members, two at work; all of them wait where nobody has to."""
    working, most = [], []
    meets = Meeting(X, 2)

    def of(k):
        for _ in range(3):
            working.append(k)
            most.append(len(working))
            time.sleep(0.002)
            working.remove(k)
            meets.product(k, np.ones((1, 30)))

    with precision(np.float64):
        list(in_threads(iter(range(10)), of, X.dtype, 10, meets))
    assert max(most) == 2


def test_an_error_stays_with_whom_it_happened(products):
    """The others go on; and the results before it have come."""
    meets = Meeting(X, 2)

    def of(k):
        meets.product(k, np.ones((1, 30)))
        if k == 2:
            raise ValueError("of fold 2")
        return k, np.asarray(meets.product(k, np.ones((1, 30))))

    with precision(np.float64):
        found = in_threads(iter(range(4)), of, X.dtype, 4, meets)
        assert [next(found)[0], next(found)[0]] == [0, 1]
        with pytest.raises(ValueError, match="of fold 2"):
            next(found)
    assert len(products) == 2


def test_an_error_of_the_product_reaches_all(monkeypatch):
    def refuse(*_):
        raise MemoryError("too large")

    monkeypatch.setattr(meeting, "product", refuse)
    meets = Meeting(X, 2)
    with precision(np.float64), pytest.raises(MemoryError, match="too large"):
        list(in_threads(iter(range(3)), ask(meets, [1, 1, 1], np.ones((3, 30))), X.dtype, 3, meets))


def test_an_error_of_the_items_comes_in_its_place():
    def items():
        yield 0
        yield 1
        raise KeyError("no third")

    found = in_threads(items(), lambda k: k, np.float64, 2)
    assert [next(found), next(found)] == [0, 1]
    with pytest.raises(KeyError, match="no third"):
        next(found)


@pytest.mark.parametrize("threads", [1, 3])
def test_in_turn(threads):
    """In the order of the items, whoever is quicker."""

    def of(k):
        time.sleep(0.01 * (k % 3 == 0))
        return k

    assert list(in_threads(iter(range(9)), of, np.float64, threads)) == list(range(9))
    assert list(in_threads(iter(()), of, np.float64, threads)) == []


def test_who_stops_listening_ends_it():
    """As Ctrl-C does: those who wait for others are sent home, and no thread is left."""
    before, ends, meets = threading.active_count(), [], Meeting(X, 2)

    def of(k):
        try:
            while k:
                meets.product(k, np.ones((1, 30)))
        except Closed:
            ends.append(k)
            raise
        return k

    with precision(np.float64):
        found = in_threads(iter(range(4)), of, X.dtype, 4, meets)
        assert next(found) == 0
        found.close()
    assert sorted(ends) == [1, 2, 3]
    assert threading.active_count() == before


@pytest.mark.parametrize("loss", [jreg.Squared(), jreg.Logistic()], ids=["squared", "logistic"])
def test_passes_of_ten_folds(products, monkeypatch, loss):
    """At most twice as many as those of one path, and of the same answers each time; where
    X is small, each makes its own."""
    X = RNG.normal(size=(100, 400))
    y = X[:, :5] @ np.ones(5) + RNG.normal(size=100)
    y = y if loss.quadratic else (y > 0) * 1.0
    options = {"loss": loss, "lam_min_ratio": 0.1}
    jreg.path(X, y, **options)
    alone = len(products)
    products.clear()
    apart = jreg.cross_validate(X, y, **options)
    assert len(products) > 5 * alone
    products.clear()
    monkeypatch.setattr(drive, "CACHED", 0)
    found = jreg.cross_validate(X, y, **options)
    np.testing.assert_allclose(found.fold_scores, apart.fold_scores, rtol=1e-4)
    assert alone <= len(products) <= 2 * alone
    again = jreg.cross_validate(X, y, **options)
    np.testing.assert_array_equal(again.fold_scores, found.fold_scores)


def test_large_folds_do_not_all_meet(monkeypatch):
    """What they keep is limited; that changes who meets, not what comes out."""
    X = RNG.normal(size=(60, 90))
    y = X[:, 0] + RNG.normal(size=60)
    together = []
    original = drive.in_threads

    def noted(items, of, dtype, threads, meets):
        together.append(threads)
        return original(items, of, dtype, threads, meets)

    monkeypatch.setattr(drive, "in_threads", noted)
    monkeypatch.setattr(drive, "CACHED", 0)
    many = jreg.cross_validate(X, y, n_lams=20, tol=1e-9)
    monkeypatch.setattr(drive, "ROOM", 0)
    few = jreg.cross_validate(X, y, n_lams=20, tol=1e-9)
    assert together == [11, drive.THREADS]
    np.testing.assert_allclose(few.fold_scores, many.fold_scores, rtol=1e-6)
