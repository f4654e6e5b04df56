"""What a process is made of is not looked through again and again."""

import subprocess
import sys


def test_what_is_there_is_left_alone() -> None:
    lines = "import gc; from app import garbage; garbage.spare(); assert gc.get_freeze_count() > 1000; assert gc.isenabled()"
    subprocess.run([sys.executable, "-c", lines], check=True)
