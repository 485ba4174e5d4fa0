"""Two who would do the same at the same time do it one after the other."""

import os
import subprocess
import sys
import time
from pathlib import Path

from local.locks import alone

_HOLDS = """
import sys, time
from pathlib import Path
from local.locks import alone
with alone(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_who_comes_second_waits_until_the_first_is_gone_however_it_went(tmp_path: Path) -> None:
    path = tmp_path / "made" / "lock"
    holder = subprocess.Popen([sys.executable, "-c", _HOLDS, str(path)], stdout=subprocess.PIPE, cwd=os.curdir)
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        killer = subprocess.Popen([sys.executable, "-c", f"import time, os; time.sleep(0.5); os.kill({holder.pid}, 9)"])
        began = time.monotonic()

        with alone(path):
            waited = time.monotonic() - began

        assert killer.wait(10) == 0
    assert 0.4 < waited < 20
