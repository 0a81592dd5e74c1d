"""`S3TTLCache`: a mapping whose items outlive the process, by itself and under cachetools' decorators."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cachetools
import cachetools.keys
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from s3memo import Cache, MemoryTier, S3TTLCache, register_key
from s3memo.errors import (
    DecodeError,
    EncodeError,
    KeyDerivationError,
    NotStoredError,
    SettingsError,
    StoreError,
    StoreUnavailableError,
)
from tests.troubled import Clock, TroubledStore, raising


@pytest.fixture
def make(store: TroubledStore) -> Callable[..., S3TTLCache]:
    """Make one more process's view on the items."""
    return lambda **options: S3TTLCache(Cache(store), **{"name": "items", **options})


@pytest.fixture
def items(make: Callable[..., S3TTLCache]) -> S3TTLCache:
    return make(ttl=60)


def test_an_item_comes_back_as_it_was(items: S3TTLCache, make: Callable[..., S3TTLCache]) -> None:
    items["a"] = {"x": (1, 2)}
    for mapping in (items, make()):
        assert mapping["a"] == {"x": (1, 2)}
        assert mapping["a"] is not mapping["a"]
        assert mapping.get("a") == {"x": (1, 2)}
        assert "a" in mapping
        assert len(mapping) == 1


def test_what_is_not_there_is_a_key_error(items: S3TTLCache) -> None:
    with pytest.raises(KeyError, match="'a'"):
        items["a"]
    with pytest.raises(KeyError, match="'a'"):
        del items["a"]
    with pytest.raises(KeyError, match="'a'"):
        items.pop("a")
    assert items.pop("a", 5) == 5
    assert items.get("a", 5) == 5
    assert "a" not in items
    with pytest.raises(KeyError, match="is empty"):
        items.popitem()


def test_none_is_a_value(items: S3TTLCache) -> None:
    items["a"] = None
    assert items["a"] is None
    assert "a" in items


KEYS = [
    1,
    1.0,
    True,
    "1",
    ("a b", "c"),
    ("a", "b c"),
    None,
    frozenset({1, 2}),
    datetime(2026, 11, 23, tzinfo=UTC),
    b"1",
    ((1,), ()),
]


def test_keys_of_many_types_are_apart_and_come_back(items: S3TTLCache, make: Callable[..., S3TTLCache]) -> None:
    for place, key in enumerate(KEYS):
        items[key] = place
    assert [items[key] for key in KEYS] == list(range(len(KEYS)))
    found = {(type(key), key): value for key, value in make().items()}
    assert found == {(type(key), key): place for place, key in enumerate(KEYS)}


def test_what_is_no_key_is_an_error(items: S3TTLCache) -> None:
    for use in (lambda: items[object()], lambda: items.setdefault(object(), 1), lambda: items.pop(object(), None)):
        with pytest.raises(KeyDerivationError):
            use()


def test_items_of_mappings_of_similar_names_are_apart(make: Callable[..., S3TTLCache]) -> None:
    one, other = make(name="a"), make(name="a/b")
    one[1], other[1] = "one", "other"
    assert (list(one.values()), list(other.values())) == (["one"], ["other"])
    one.clear()
    assert list(other.values()) == ["other"]


def test_deleting_and_setting_again(items: S3TTLCache, make: Callable[..., S3TTLCache]) -> None:
    items["a"] = 1
    del items["a"]
    assert "a" not in items
    assert len(make()) == 0
    items["a"] = 2
    assert make()["a"] == 2
    assert items.pop("a") == 2
    assert "a" not in make()


def test_setdefault_stores_only_what_is_not_there(items: S3TTLCache, make: Callable[..., S3TTLCache]) -> None:
    assert items.setdefault("a", 1) == 1
    assert make().setdefault("a", 2) == 1
    assert items.setdefault("b") is None


def test_update_and_clear(items: S3TTLCache, make: Callable[..., S3TTLCache]) -> None:
    items.update({"a": 1}, b=2)
    assert dict(make()) == {"a": 1, "b": 2}
    items.clear()
    assert (len(items), "a" in items, len(make())) == (0, False, 0)


def test_popitem_removes_what_it_returns(items: S3TTLCache) -> None:
    items.update(a=1, b=2)
    assert sorted([items.popitem(), items.popitem()]) == [("a", 1), ("b", 2)]
    assert len(items) == 0


def test_what_somebody_else_deleted_is_not_there_to_pop_and_leaves_memory(make: Callable[..., S3TTLCache]) -> None:
    items, other = make(), make()

    def remember_what_other_deletes() -> None:
        other["a"] = 1
        assert items["a"] == 1
        del other["a"]

    remember_what_other_deletes()
    assert items.pop("a", 5) == 5
    assert "a" not in items
    remember_what_other_deletes()
    with pytest.raises(KeyError, match="'a'"):
        del items["a"]
    assert "a" not in items
    other["a"] = 1
    assert items["a"] == 1
    other.clear()
    with pytest.raises(KeyError, match="'a'"):
        items.pop("a")
    assert "a" not in items


@pytest.mark.parametrize("pop", [lambda items: ("a", items.pop("a")), lambda items: items.popitem()])
def test_what_is_removed_is_what_is_returned(make: Callable[..., S3TTLCache], pop: Callable[..., Any]) -> None:
    items, other = make(), make()
    other["a"] = 1
    assert items["a"] == 1
    other["a"] = 2
    assert pop(items) == ("a", 2)
    assert len(other) == 0


def test_an_item_whose_key_cannot_be_told_is_not_removed(items: S3TTLCache) -> None:
    items[int] = 1
    with pytest.raises(DecodeError, match="cannot be told"):
        items.popitem()
    assert items[int] == 1
    assert len(items) == 1


def test_items_expire(items: S3TTLCache, store: TroubledStore, clock: Clock) -> None:
    items["old"] = 1
    clock.now += 30
    items["young"] = 2
    clock.now += 31
    assert list(items) == ["young"]
    assert "old" not in items
    with pytest.raises(KeyError):
        del items["old"]
    assert items.expire() == 1
    assert items.expire() == 0
    assert len(list(store.list(""))) == 1


def test_without_a_ttl_nothing_expires(make: Callable[..., S3TTLCache], clock: Clock) -> None:
    items = make()
    items["a"] = 1
    clock.now += 1e9
    assert items["a"] == 1
    assert items.expire() == 0


def test_what_was_deleted_is_swept_by_expire(items: S3TTLCache, store: TroubledStore) -> None:
    items["a"] = 1
    store.before_delete = raising(StoreUnavailableError("503"))
    del items["a"]
    store.before_delete = lambda: None
    assert items.expire() == 1
    assert [info.size for info in store.list("")] == [0]


def test_maxsize_bounds_memory_alone(make: Callable[..., S3TTLCache]) -> None:
    items = make(maxsize=2)
    items.update(a=1, b=2, c=3)
    assert (items.maxsize, items.currsize, len(items), items.ttl) == (2, 2, 3, None)
    assert [items[key] for key in "abc"] == [1, 2, 3]
    assert make(maxsize=0)["a"] == 1
    assert make(maxsize=0).currsize == 0


def test_all_who_use_a_mapping_by_one_cache_share_its_memory(store: TroubledStore) -> None:
    items, other = (S3TTLCache(store, name="items") for _ in range(2))
    items["a"] = 1
    assert other["a"] == 1
    items["a"] = 2
    assert other["a"] == 2
    assert "a" not in S3TTLCache(store, name="others")


def test_memory_is_as_the_cache_is_set(store: TroubledStore, clock: Clock) -> None:
    items = S3TTLCache(Cache(store), name="items")
    forgetful = S3TTLCache(Cache(store, memory=None), name="items")
    small = S3TTLCache(Cache(store, memory=MemoryTier(max_bytes=1)), name="items")
    careful = S3TTLCache(Cache(store, memory=MemoryTier(revalidate_after=60)), name="items")
    items["a"] = 1
    assert [mapping["a"] for mapping in (forgetful, small, careful)] == [1, 1, 1]
    assert [mapping.currsize for mapping in (forgetful, small, careful)] == [0, 0, 1]
    items["a"] = 2
    assert [mapping["a"] for mapping in (forgetful, small, careful)] == [2, 2, 1]
    clock.now += 61
    assert careful["a"] == 2


def test_an_item_that_goes_during_an_iteration_is_passed_over(make: Callable[..., S3TTLCache]) -> None:
    items = make()
    items.update(a=1, b=2, c=3)
    iteration = iter(make())
    first = next(iteration)
    rest = [key for key in "abc" if key != first]
    del items[rest[0]]
    assert set(iteration) <= {rest[1]} | {rest[0]}
    assert rest[0] not in set(make())


def test_two_mappings_are_equal_only_if_they_are_one(make: Callable[..., S3TTLCache]) -> None:
    items = make()
    assert items == items  # noqa: PLR0124  that is what is shown
    assert items != make()
    assert len({items, make()}) == 2


def test_it_names_itself(items: S3TTLCache) -> None:
    assert repr(items) == "S3TTLCache(name='items', ttl=60.0, maxsize=1024)"


# Trouble.


def test_a_store_that_fails_is_a_visible_miss(
    items: S3TTLCache, store: TroubledStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.list = raising(StoreUnavailableError("503"))  # type: ignore[method-assign]
    assert items.get("a", 5) == 5
    assert "a" not in items
    with pytest.raises(KeyError):
        items["a"]
    assert items.setdefault("a", 6) == 6
    assert "mapping 'items': the store could not be read" in caplog.text


def test_what_reads_or_deletes_all_raises(items: S3TTLCache, store: TroubledStore) -> None:
    items["a"] = 1
    store.list = raising(StoreUnavailableError("503"))  # type: ignore[method-assign]
    for use in (lambda: len(items), lambda: list(iter(items)), items.clear, items.expire, items.popitem):
        with pytest.raises(StoreUnavailableError):
            use()
    with pytest.raises(StoreUnavailableError):
        del items["a"]


def test_an_iteration_leaves_nothing_out_in_silence(make: Callable[..., S3TTLCache], store: TroubledStore) -> None:
    make()["a"] = 1
    store.before_get = raising(StoreUnavailableError("503"))
    with pytest.raises(StoreUnavailableError):
        list(iter(make()))


def test_what_is_not_stored_is_a_value_error(
    items: S3TTLCache, store: TroubledStore, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(NotStoredError, match="'a' was not stored in S3TTLCache") as caught:
        items["a"] = object()
    assert isinstance(caught.value.__cause__, EncodeError)
    store.before_put = raising(StoreUnavailableError("503"))
    with pytest.raises(ValueError, match="503") as caught_too:
        items["a"] = 1
    assert isinstance(caught_too.value.__cause__, StoreError)
    assert "mapping 'items': an item was not stored" in caplog.text


def test_with_on_error_raise_reads_raise_too(store: TroubledStore) -> None:
    items = S3TTLCache(Cache(store, on_error="raise"), name="items")
    store.list = raising(StoreUnavailableError("503"))  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailableError):
        items.get("a")


def test_a_read_only_cache_stores_nothing(store: TroubledStore) -> None:
    items = S3TTLCache(Cache(store, read_only=True), name="items")
    with pytest.raises(SettingsError, match="read-only"):
        items["a"] = 1
    assert items.setdefault("a", 1) == 1
    assert not list(store.list(""))
    with pytest.raises(SettingsError, match="expire: this cache is read-only"):
        items.expire()


def test_what_no_mapping_wrote_is_an_error(make: Callable[..., S3TTLCache], store: TroubledStore) -> None:
    items = make()
    cache, terms = items._bind()
    cache.set(items._item_key("a"), terms, "no pair")
    with pytest.raises(DecodeError, match="is not what an S3TTLCache wrote"):
        items["a"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": ""}, "give the mapping a name"),
        ({"name": 5}, "give the mapping a name"),
        ({"maxsize": -1}, "maxsize=-1 must be"),
        ({"ttl": "soon"}, "ttl="),
        ({"url_or_cache": "bucket"}, "names no store"),
    ],
)
def test_what_makes_no_sense_is_an_error(options: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        S3TTLCache(**{"name": "items", **options})


# cachetools.


def test_cached_functions_keep_their_results(items: S3TTLCache, make: Callable[..., S3TTLCache]) -> None:
    calls = []

    def decorated(cache: S3TTLCache) -> Any:
        @cachetools.cached(cache=cache, lock=threading.Lock(), info=True)
        def add(a: int, b: int = 0) -> int:
            calls.append((a, b))
            return a + b

        return add

    add = decorated(items)
    assert [add(1), add(1, 2), add(1, b=2), add(1), add(1, b=2)] == [1, 3, 3, 1, 3]
    assert decorated(make())(1, b=2) == 3
    assert calls == [(1, 0), (1, 2), (1, 2)]
    assert (add.cache_info().hits, add.cache_info().misses, add.cache_info().currsize) == (2, 3, 3)
    assert set(make()) == {cachetools.keys.hashkey(1), cachetools.keys.hashkey(1, 2), cachetools.keys.hashkey(1, b=2)}
    add.cache_clear()
    assert len(make()) == 0


def test_cached_methods_keep_their_results(items: S3TTLCache) -> None:
    class Shop:
        def __init__(self) -> None:
            self.cache = items
            self.calls = 0

        @cachetools.cachedmethod(lambda shop: shop.cache)
        def price(self, what: str, *, currency: str = "EUR") -> int:
            self.calls += 1
            return len(what)

    shop = Shop()
    assert [shop.price("tea"), shop.price("tea"), shop.price("tea", currency="USD")] == [3, 3, 3]
    assert shop.calls == 2
    assert Shop().price("tea") == 3


def test_keys_that_cannot_be_stored_serve_all_the_same_and_cannot_be_told(items: S3TTLCache) -> None:
    calls = []

    @cachetools.cached(cache=items, key=cachetools.keys.typedkey)
    def double(number: float) -> float:
        calls.append(number)
        return 2 * number

    assert [double(1), double(1.0), double(1)] == [2, 2.0, 2]
    assert len(calls) == len(items) == 2
    with pytest.raises(DecodeError, match="cannot be told"):
        list(iter(items))


def test_older_keys_of_cachetools_are_the_same_keys(items: S3TTLCache) -> None:
    items[(1, 2)] = "new"
    assert items[cachetools.keys._HashedTuple((1, 2))] == "new"  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Route:
    start: str
    stops: int


def test_classes_of_ones_own_are_keys_and_values_if_they_are_listed(make: Callable[..., S3TTLCache]) -> None:
    make(types=(Route,))[Route("a", 1)] = Route("b", 2)
    assert make(types=(Route,))[Route("a", 1)] == Route("b", 2)
    assert list(make(types=(Route,))) == [Route("a", 1)]
    assert make().get(Route("a", 1)) is None
    with pytest.raises(NotStoredError, match="types="):
        make()["a"] = Route("b", 2)


def test_items_are_kept_as_the_cache_is_set(store: TroubledStore) -> None:
    items = S3TTLCache(Cache(store, signing_keys=["k" * 32]), name="items")
    items["a"] = 1
    assert S3TTLCache(Cache(store, signing_keys=["k" * 32]), name="items")["a"] == 1
    assert S3TTLCache(Cache(store, signing_keys=["f" * 32]), name="items").get("a") is None


def test_keys_with_types_of_ones_own(items: S3TTLCache) -> None:
    class Point:
        def __init__(self, x: int) -> None:
            self.x = x

    register_key(Point, lambda point: point.x)
    items[Point(1)] = "one"
    assert items[Point(1)] == "one"
    assert items.get(Point(2)) is None


def test_a_function_runs_whatever_becomes_of_the_store(items: S3TTLCache, store: TroubledStore) -> None:
    @cachetools.cached(cache=items)
    def double(number: int) -> int:
        return 2 * number

    store.before_put = raising(StoreUnavailableError("503"))
    assert double(4) == 8
    store.list = raising(StoreUnavailableError("503"))  # type: ignore[method-assign]
    assert double(4) == 8


def test_items_outlive_the_process(tmp_path: Path) -> None:
    S3TTLCache(tmp_path, name="items")["a"] = 1
    assert S3TTLCache(Cache(str(tmp_path)), name="items")["a"] == 1


class LikeADict(RuleBasedStateMachine):
    """Two processes' views of one mapping do as one dict does, when they take turns and memory is off in one."""

    keys = st.sampled_from([1, "1", (1,), None])

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        store = TroubledStore(self.clock)
        self.view = S3TTLCache(Cache(store, on_error="raise"), name="items", maxsize=0)
        self.model: dict[Any, Any] = {}

    @rule(key=keys, value=st.integers())
    def set(self, key: Any, value: int) -> None:
        self.view[key] = self.model[key] = value

    @rule(key=keys)
    def delete(self, key: Any) -> None:
        assert self.view.pop(key, "none") == self.model.pop(key, "none")

    @rule(key=keys, value=st.integers())
    def set_default(self, key: Any, value: int) -> None:
        assert self.view.setdefault(key, value) == self.model.setdefault(key, value)

    @rule()
    def pop_some(self) -> None:
        if self.model:
            key, value = self.view.popitem()
            assert self.model.pop(key) == value

    @rule()
    def clear(self) -> None:
        self.view.clear()
        self.model.clear()

    @rule(seconds=st.sampled_from([0.0, 1e-6, 1.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.clock.now += seconds

    @invariant()
    def they_hold_the_same(self) -> None:
        assert dict(self.view) == self.model
        assert len(self.view) == len(self.model)


LikeADict.TestCase.settings = settings(max_examples=settings.default.max_examples // 2, stateful_step_count=20)
TestLikeADict = LikeADict.TestCase
