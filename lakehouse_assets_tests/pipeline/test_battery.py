"""Runs that are killed at any moment, and whose n-th call to the disk fails: the next run ends as if nothing had been.

Where they hit is random, from a seed that is printed, so that every run of the battery tries other places.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from lakehouse_assets_tests.pipeline.conftest import NewWorld
from lakehouse_assets_tests.pipeline.world import World, against_oracle, line, order_csv, rates_csv

FIRST = date(2026, 9, 1)
TRIES = 20
SEED = int(os.environ.get("BATTERY_SEED", random.SystemRandom().randrange(10**6)))

FAILING_CALLS = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static long count;

static ssize_t (*put)(int, const void *, size_t, off64_t);

/* Whether this call, on a file below the folder BELOW, is the one of its kind that is to fail. Counts it. */
static int fails(const char *path, const char *call) {
    static int counted = -1;
    const char *below = getenv("BELOW"), *kind = getenv("CALL"), *at = getenv("AT");
    if (!below || !kind || !at || !path || strcmp(kind, call) || strncmp(path, below, strlen(below))) return 0;
    long number = __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST);
    if (counted < 0) counted = open(getenv("COUNTED"), O_CREAT | O_WRONLY, 0600);
    if (!put) put = dlsym(RTLD_NEXT, "pwrite64");
    char text[32];
    put(counted, text, snprintf(text, sizeof text, "%-20ld\n", number), 0);
    if (number != atol(at)) return 0;
    FILE *said = fopen(getenv("SAID"), "a");
    if (said) { fprintf(said, "%s %s\n", call, path); fclose(said); }
    errno = EIO;
    return 1;
}
static int fd_fails(int fd, const char *call) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return fails(path, call);
}
#define REAL(name) ((__typeof__(name) *)dlsym(RTLD_NEXT, #name))
int fsync(int fd) { return fd_fails(fd, "fsync") ? -1 : REAL(fsync)(fd); }
int fdatasync(int fd) { return fd_fails(fd, "fsync") ? -1 : REAL(fdatasync)(fd); }
ssize_t write(int fd, const void *b, size_t n) { return fd_fails(fd, "write") ? -1 : REAL(write)(fd, b, n); }
ssize_t writev(int fd, const struct iovec *v, int n) { return fd_fails(fd, "write") ? -1 : REAL(writev)(fd, v, n); }
ssize_t pwrite64(int fd, const void *b, size_t n, off64_t at) {
    return fd_fails(fd, "write") ? -1 : REAL(pwrite64)(fd, b, n, at);
}
int rename(const char *from, const char *to) { return fails(to, "rename") ? -1 : REAL(rename)(from, to); }
int link(const char *from, const char *to) { return fails(to, "rename") ? -1 : REAL(link)(from, to); }
int linkat(int f, const char *from, int t, const char *to, int flags) {
    return fails(to, "rename") ? -1 : REAL(linkat)(f, from, t, to, flags);
}
"""
"""A library loaded before the C library: no file system can be asked to fail one call."""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if not compiler or sys.platform != "linux":
        pytest.skip("no C compiler, or not Linux: nothing else makes a single call fail")
    folder = tmp_path_factory.mktemp("calls")
    (folder / "calls.c").write_text(FAILING_CALLS)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / "calls.so", folder / "calls.c", "-ldl"], check=True)
    return folder / "calls.so"


def days() -> Iterator[date]:
    day = FIRST
    while True:
        yield day
        day += timedelta(days=1)


def land(world: World, day: date, rng: random.Random) -> None:
    """A day's drops; and often a correction of an earlier one."""
    world.drop(f"fx/rates_{day}.csv", rates_csv({day.isoformat(): "0.85"}))
    number = 500_000 + 10 * (day - FIRST).days
    world.drop(f"orders/orders_{day}.csv", order_csv([line(number + i, day.isoformat()) for i in range(3)]))
    earlier = FIRST + timedelta(days=rng.randrange((day - FIRST).days + 1))
    if earlier < day and rng.random() < 0.5:
        number = 500_000 + 10 * (earlier - FIRST).days
        lines = [line(number + i, earlier.isoformat(), quantity=str(rng.randint(1, 9))) for i in range(3)]
        world.drop(f"orders/orders_{earlier}.csv", order_csv(lines))


def assert_finished(world: World, where: str) -> None:
    """The next run ends well, everything is as the oracle has it, and the account is equal."""
    done = world.command("run")
    assert done.returncode == 0, f"{where}: {done.stdout}{done.stderr}"
    world.load()
    assert not against_oracle(world), where
    assert world.command("verify").returncode == 0, where


@pytest.mark.parametrize("kills", [1, pytest.param(100, marks=[pytest.mark.heavy, pytest.mark.timeout(3600)])])
def test_a_run_killed_at_any_moment_is_finished_by_the_next(make_world: NewWorld, kills: int) -> None:
    """Power fails where it likes, and not where a test has a name for the place."""
    rng, world, landing = random.Random(SEED), make_world(), days()
    land(world, next(landing), rng)
    began = time.monotonic()
    assert world.command("run").returncode == 0
    lasts = time.monotonic() - began
    for number in range(1, kills + 1):
        if rng.random() < 0.7:
            land(world, next(landing), rng)
        run = subprocess.Popen(
            world.command_line("run"),
            env=world.process_environment(),
            cwd=world.root,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            run.wait(rng.uniform(0, lasts))
        except subprocess.TimeoutExpired:
            run.send_signal(signal.SIGKILL)
            run.wait()
        if number % 10 == 0 or number == kills:
            assert_finished(world, f"seed {SEED}, kill {number}")


@pytest.mark.heavy
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_a_run_whose_nth_call_fails_says_so_and_is_finished_by_the_next(
    make_world: NewWorld, library: Path, tmp_path: Path, call: str
) -> None:
    """A disk with a bad block fails one call of thousands: what it was for must not be taken for done."""
    rng, world, landing = random.Random(SEED), make_world(), days()
    counted, said = tmp_path / "counted", tmp_path / "said"
    preload = {"LD_PRELOAD": str(library), "BELOW": str(world.root), "CALL": call, "COUNTED": str(counted)}
    land(world, next(landing), rng)
    assert world.command("run", **preload, AT="0", SAID=str(said)).returncode == 0
    number = int(counted.read_text())
    assert number > TRIES, "the calls of a run are not seen"
    for _ in range(TRIES):
        land(world, next(landing), rng)
        at = rng.randint(1, number)
        said.unlink(missing_ok=True)
        done = world.command("run", **preload, AT=str(at), SAID=str(said))
        hit = said.read_text().strip() if said.exists() else "none"
        where = f"seed {SEED}, {call} {at} of {number} ({hit})"
        assert "Traceback" not in done.stderr, f"{where}: {done.stderr}"
        assert done.returncode in (0, 1), f"{where}: {done.stderr}"
        if done.returncode:
            assert done.stderr.strip().splitlines()[-1].startswith("Error: "), f"{where}: {done.stderr}"
        assert_finished(world, where)
