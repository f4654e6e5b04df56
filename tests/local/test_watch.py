"""What a foreground `up` says of what supervisord writes."""

from pathlib import Path

from app.local.watch import News

EXIT = "2026-11-23 07:23:54,201 WARN exited: web (terminated by SIGKILL; not expected)\n"
CLEAN = "2026-11-23 07:23:54,201 INFO exited: beat (exit status 0; expected)\n"
SPAWN = "2026-11-23 07:23:55,205 INFO spawned: 'web' with pid 9476\n"
UP = "2026-11-23 07:23:57,279 INFO success: web entered RUNNING state, process has stayed up for > than 2 seconds\n"


def test_says_what_stopped_and_runs_again(tmp_path: Path) -> None:
    log = tmp_path / "supervisor.log"
    log.write_text(UP + EXIT)
    news = News(log, log.stat().st_size)
    assert news.read() == []
    with log.open("a") as file:
        file.write(EXIT + SPAWN)
    assert news.read() == ["web stopped (terminated by SIGKILL); starting it again (see logs/web.log)"]
    with log.open("a") as file:
        file.write(UP + CLEAN + UP)
    assert news.read() == ["web runs again", "beat stopped (exit status 0); starting it again (see logs/beat.log)"]


def test_goes_on_when_the_log_is_turned_over(tmp_path: Path) -> None:
    log = tmp_path / "supervisor.log"
    log.write_text(UP * 10)
    news = News(log, log.stat().st_size)
    log.write_text(EXIT)
    assert len(news.read()) == 1
