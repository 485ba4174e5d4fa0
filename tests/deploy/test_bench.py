"""Cold start of what is packaged: beside the hello function's, less what a function that does nothing takes."""

from pathlib import Path

import pytest
from rich.console import Console

from local import bench_cold
from local.deploy import bench
from local.deploy.bench import HELLO, NOTHING, Measured
from tests.deploy.conftest import needs_time


def test_the_ratio_leaves_out_what_every_function_takes() -> None:
    measured = {
        NOTHING: Measured([0.1], [0.05], [0.001]),
        HELLO: Measured([0.9, 9.0, 0.8], [0.45], [0.001]),
        "webhook": Measured([0.3, 0.3, 8.0], [0.15], [0.001]),
        "charge-booking": Measured([0.5], [0.35], [0.001]),
    }
    assert bench.ratio(measured, "webhook") == pytest.approx(0.25)
    assert bench.ratio(measured, "webhook", "cpu_seconds") == pytest.approx(0.25)
    assert bench.worst(measured) == pytest.approx(0.5)


def test_the_packaged_webhook_answers_first_within_its_limit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By processor time, because other tests run beside this one; `make bench-cold` goes by the clock."""
    measured = bench.measure(["webhook"], 5, tmp_path)
    found = bench.ratio(measured, "webhook", "cpu_seconds")
    assert 0.05 < found <= bench.LIMIT
    bench.show(Console(width=150), measured)
    assert "webhook" in capsys.readouterr().out


@needs_time
def test_the_exit_status_tells_that_the_limit_is_exceeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "LIMIT", 0.001)
    monkeypatch.setattr(bench_cold, "LIMITED", ("webhook",))
    assert bench_cold.main(["--only", "packaged", "--runs", "1"]) == 1
