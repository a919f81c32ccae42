import logging
import multiprocessing
import sqlite3
import threading
from pathlib import Path

import pytest

from handful.errors import OutputError
from handful.files.cache import ContentCache, content_key


def values(first: int, count: int) -> dict[bytes, bytes]:
    return {content_key(str(n)): bytes([n % 256]) * 50 for n in range(first, first + count)}


def test_values_come_back_and_absent_keys_do_not(tmp_path: Path) -> None:
    kept = values(0, 1200)
    with ContentCache(tmp_path / "deep" / "cache.sqlite") as cache:
        cache.put_many("embedding", kept)
    with ContentCache(tmp_path / "deep" / "cache.sqlite") as cache:
        assert cache.get_many([*kept, content_key("absent")]) == kept
        assert cache.info().num_rows == {"embedding": 1200}
        assert cache.info().num_bytes > 60_000


def test_keys_depend_on_the_boundaries_of_their_parts() -> None:
    keys = {content_key("ab", "c"), content_key("a", "bc"), content_key("abc"), content_key("c")}
    assert len(keys) == 4
    assert content_key("ab", "c") == content_key("ab", "c")


def test_a_changed_row_is_a_miss(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "cache.sqlite"
    kept = values(0, 3)
    with ContentCache(path) as cache:
        cache.put_many("embedding", kept)
    changed = content_key("1")
    connection = sqlite3.connect(path)
    connection.execute("UPDATE rows SET value = x'00' WHERE key = ?", (changed,))
    connection.commit()
    connection.close()
    with ContentCache(path) as cache:
        assert set(cache.get_many(list(kept))) == set(kept) - {changed}
    assert "1 damaged rows" in caplog.text


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\0garbage"])
def test_a_foreign_file_is_set_aside_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    path = tmp_path / "cache.sqlite"
    path.write_bytes(content)
    with ContentCache(path) as cache:
        cache.put_many("embedding", values(0, 2))
        assert len(cache.get_many(list(values(0, 2)))) == 2
    (aside,) = tmp_path.glob("cache.sqlite.damaged-*")
    assert aside.read_bytes() == content
    assert "set aside" in caplog.text


def test_another_programs_database_is_set_aside_whole(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.execute("INSERT INTO theirs VALUES (7)")
    connection.commit()
    connection.close()
    with ContentCache(path) as cache:
        cache.put_many("embedding", values(0, 1))
        assert cache.get_many(list(values(0, 1))) == values(0, 1)
    (aside,) = tmp_path.glob("cache.sqlite.damaged-*")
    connection = sqlite3.connect(aside)
    assert connection.execute("SELECT x FROM theirs").fetchall() == [(7,)]
    connection.close()


def test_damage_in_the_middle_of_the_file_is_survived(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    kept = values(0, 2000)
    with ContentCache(path) as cache:
        cache.put_many("embedding", kept)
    content = bytearray(path.read_bytes())
    content[4096 : len(content) // 2] = b"\xff" * (len(content) // 2 - 4096)
    path.write_bytes(content)
    with ContentCache(path) as cache:
        found = cache.get_many(list(kept))
        assert all(kept[key] == value for key, value in found.items())
        assert len(found) < len(kept)
        cache.put_many("embedding", kept)
        assert cache.get_many(list(kept)) == kept


def test_an_unusable_place_means_no_cache_and_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    with ContentCache(tmp_path / "file" / "cache.sqlite") as cache:
        cache.put_many("embedding", values(0, 1))
        assert cache.get_many(list(values(0, 1))) == {}
    assert "going on without it" in caplog.text


def test_a_full_disk_means_no_cache_and_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ContentCache(tmp_path / "cache.sqlite") as cache:
        cache.put_many("embedding", values(0, 1))
        # SQLite's own page limit raises the error that a full disk raises.
        cache._open().execute("PRAGMA max_page_count = 6")
        cache.put_many("embedding", {content_key("large"): bytes(200_000)})
        assert cache.get_many(list(values(0, 1))) == {}
    assert "full; going on without it" in caplog.text.replace(")", "")
    with ContentCache(tmp_path / "cache.sqlite") as cache:
        assert cache.get_many(list(values(0, 1))) == values(0, 1)


def _write(path: Path, first: int) -> None:
    with ContentCache(path) as cache:
        for start in range(first, first + 500, 50):
            cache.put_many("embedding", values(start, 50))


@pytest.mark.slow
def test_processes_write_at_the_same_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "cache.sqlite"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_write, args=(path, first)) for first in (0, 250, 500)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    with ContentCache(path) as cache:
        assert cache.get_many(list(values(0, 1000))) == values(0, 1000)
    assert caplog.records == []


def test_opening_waits_for_another_process_that_is_making_the_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "cache.sqlite"
    other = sqlite3.connect(path, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.3, other.rollback)
    release.start()
    with ContentCache(path) as cache:
        cache.put_many("embedding", values(0, 1))
        assert cache.get_many(list(values(0, 1))) == values(0, 1)
    release.join()
    other.close()
    assert caplog.records == []


def test_info_makes_no_file_and_clear_removes_all(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    path = tmp_path / "cache.sqlite"
    cache = ContentCache(path)
    assert cache.info().num_rows == {} and cache.info().num_bytes == 0
    assert not path.exists()
    cache.put_many("embedding", values(0, 5))
    cache.clear()
    assert list(tmp_path.iterdir()) == []
    assert cache.get_many(list(values(0, 5))) == {}
    cache.close()


def test_clear_says_what_it_could_not_remove(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = ContentCache(tmp_path / "cache.sqlite")
    cache.put_many("embedding", values(0, 5))

    def refuse(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(OutputError, match=r"cache.sqlite cannot be removed \(Permission denied\)"):
        cache.clear()
