"""The face process: what its callers see when it dies, hangs, cannot start or is closed."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.drawn_face import face
from workers.face import (
    FaceClosed,
    FaceEngine,
    FaceModelError,
    FaceProcessDied,
    FaceTimeout,
)

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def model(models: Callable[[str], Path]) -> Path:
    return models("face_landmarker")


@pytest.fixture(scope="module")
def engine(model: Path) -> Iterator[FaceEngine]:
    with FaceEngine(model) as engine:
        yield engine


def test_killed_while_looking(
    model: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG), FaceEngine(model) as engine:
        engine.detect(face())
        assert caplog.messages == []  # mediapipe's own chatter is dropped
        pid = engine.pid
        assert pid is not None
        child = psutil.Process(pid)
        child.suspend()  # so that the call is certainly in flight
        errors: list[BaseException] = []
        caller = threading.Thread(target=_collect, args=(engine, errors))
        caller.start()
        time.sleep(0.2)
        assert caller.is_alive()
        child.kill()
        caller.join(10)
        assert [type(error) for error in errors] == [FaceProcessDied]
        assert f"face process {pid} died (killed by signal 9)" in str(errors[0])
        assert caplog.messages == [str(errors[0])]
        assert engine.restarts == 0
        assert len(engine.detect(face())) == 1
        assert engine.restarts == 1
        assert engine.pid != pid
        assert not psutil.pid_exists(pid)  # no zombie either
    assert capfd.readouterr().err == ""


def _collect(engine: FaceEngine, errors: list[BaseException]) -> None:
    try:
        engine.detect(face())
    except FaceProcessDied as error:
        errors.append(error)


def test_hang(model: Path) -> None:
    with FaceEngine(model, timeout=2.0) as engine:
        pid = engine.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        large = np.zeros((720, 1280, 3), np.uint8)  # more than fits into the socket
        with pytest.raises(FaceTimeout, match=r"no answer within 2 s") as error:
            engine.detect(large)
        assert error.value.hint
        assert not psutil.pid_exists(pid)
        assert engine.detect(large) == ()
        assert engine.restarts == 1


def test_a_spare_takes_its_place(model: Path) -> None:
    with FaceEngine(model, spare=True) as engine:
        engine.detect(face())
        for _ in range(2):
            spare = engine._line._spare
            assert spare is not None
            waiting = spare.result(30).pid  # it is ready
            assert engine.pid is not None and waiting != engine.pid
            os.kill(engine.pid, signal.SIGKILL)
            with pytest.raises(FaceProcessDied):
                engine.detect(face())
            assert len(engine.detect(face())) == 1
            assert engine.pid == waiting
        assert engine.restarts == 2
    assert psutil.Process().children() == []


def test_failing_restarts_wait_longer_and_longer(model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "face_landmarker.task"
    copy.write_bytes(model.read_bytes())
    with FaceEngine(copy, max_backoff=0.5) as engine:
        copy.unlink()
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGKILL)
        with pytest.raises(FaceProcessDied):
            engine.detect(face())
        waits = []
        for _ in range(3):
            start = time.perf_counter()
            with pytest.raises(FaceModelError, match="no face model"):
                engine.detect(face())
            waits.append(time.perf_counter() - start)
        assert waits[0] < 0.5 <= min(waits[1:])
        copy.write_bytes(model.read_bytes())
        assert len(engine.detect(face())) == 1
        assert engine.restarts == 4


@pytest.mark.parametrize("size", [None, 0, 100_000])
def test_missing_and_broken_models(model: Path, tmp_path: Path, size: int | None) -> None:
    broken = tmp_path / "broken.task"
    if size is not None:
        broken.write_bytes(model.read_bytes()[:size])
    children = psutil.Process().children()
    with pytest.raises(FaceModelError, match=r"face model.*broken\.task") as error:
        FaceEngine(broken)
    assert "python -m stream.models fetch face_landmarker" in error.value.hint
    assert psutil.Process().children() == children


def test_many_callers_each_get_their_own_answer(engine: FaceEngine) -> None:
    sizes = [150 + 8 * i for i in range(8)]
    alone = [engine.detect(face(size))[0].features for size in sizes]
    answers: dict[int, list[np.ndarray]] = {size: [] for size in sizes}

    def call(size: int) -> None:
        for _ in range(3):
            answers[size].append(engine.detect(face(size))[0].features)

    callers = [threading.Thread(target=call, args=(size,)) for size in sizes]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    for size, expected in zip(sizes, alone, strict=True):
        assert len(answers[size]) == 3
        for answer in answers[size]:
            np.testing.assert_array_equal(answer, expected)


def test_first_come_first_served(engine: FaceEngine) -> None:
    image, served = face(), list[int]()

    def call(number: int) -> None:
        engine.detect(image)
        served.append(number)

    callers = [threading.Thread(target=call, args=(number,)) for number in range(5)]
    child = psutil.Process(engine.pid)
    child.suspend()
    for caller in callers:
        caller.start()
        time.sleep(0.05)
    child.resume()
    for caller in callers:
        caller.join()
    assert served == [0, 1, 2, 3, 4]


def test_close(model: Path) -> None:
    descriptors = _descriptors()
    threads = threading.active_count()
    engine = FaceEngine(model)
    pid = engine.pid
    assert pid is not None
    engine.detect(face())
    engine.close()
    engine.close()
    assert engine.pid is None
    assert not psutil.pid_exists(pid)
    assert _descriptors() == descriptors
    assert threading.active_count() == threads
    with pytest.raises(FaceClosed, match="closed"):
        engine.detect(face())


def _descriptors() -> int:
    return psutil.Process().num_fds()


def test_close_answers_the_call_in_work_and_refuses_those_in_line(model: Path) -> None:
    engine, image = FaceEngine(model), face()
    said: list[str] = []

    def call() -> None:
        try:
            said.append(f"{len(engine.detect(image))} face")
        except FaceClosed:
            said.append("closed")

    callers = [threading.Thread(target=call) for _ in range(4)]
    child = psutil.Process(engine.pid)
    child.suspend()
    for caller in callers:
        caller.start()
        time.sleep(0.05)
    closer = threading.Thread(target=engine.close)
    closer.start()
    time.sleep(0.2)
    child.resume()
    for thread in (closer, *callers):
        thread.join(10)
    assert sorted(said) == ["1 face", "closed", "closed", "closed"]


def test_child_goes_with_its_parent_also_from_a_hanging_call(model: Path) -> None:
    program = (
        "import sys, pathlib; from workers import face_engine; from tests.drawn_face import face\n"
        "face_engine._PROGRAM = 'import time; from workers import face_process as p;'"
        "  'p.Landmarker.detect = lambda self, image: time.sleep(60);' + face_engine._PROGRAM\n"
        "engine = face_engine.FaceEngine(pathlib.Path(sys.argv[1]))\n"
        "print(engine.pid, flush=True); engine.detect(face())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, model], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(0.5)
        assert psutil.pid_exists(pid)
        parent.kill()
    assert _ends(pid)


def _ends(pid: int) -> bool:
    """Whether an orphan ends within 5 s; nobody may be there to collect its status."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def test_forgotten_engine_ends_with_its_program(model: Path) -> None:
    program = (
        "import sys, pathlib; from workers.face import FaceEngine\n"
        "engine = FaceEngine(pathlib.Path(sys.argv[1])); print(engine.pid)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, model],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stderr == ""
    assert _ends(int(done.stdout))
