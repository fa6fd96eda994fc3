"""The examples, run against the real daemon and the simulator. Called by `run`, which sees to what is needed.

    python3 check.py TRESORPAYD NODE

Each check ends at a deadline. Whatever fails is told with what the example printed, and the exit status is 1.
"""

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path

import relays

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
DEADLINE = 120  # seconds for anything that should happen; generous, since the machine may be busy
LOOK_EVERY = 0.05


class World:
    """A simulated TresorPay whose taxpayers pay when told to, and the daemon on a new outbox."""

    def __init__(self, program, folder):
        self.program, self.folder, self.outbox = program, folder, folder / "outbox.db"
        clean = {name: value for name, value in os.environ.items()
                 if not name.upper().startswith("TRESORPAYD_") and not name.upper().endswith("_PROXY")}
        simulator = [program, "simulator", "--json", "--listen", "127.0.0.1:0", "--pay-share", "0", "--latency", "5ms"]
        self.simulator = subprocess.Popen(simulator, stdout=subprocess.PIPE, text=True, env=clean)
        addresses = json.loads(self.simulator.stdout.readline())
        self.control = addresses["base_url"].split("/api/")[0] + "/_simulator"
        self.env = dict(
            clean, TRESORPAYD__ENVIRONMENT="custom", TRESORPAYD__API__BASE_URL=addresses["base_url"],
            TRESORPAYD__AUTH__TOKEN_URL=addresses["token_url"], TRESORPAYD__AUTH__CLIENT_ID="demo-client",
            TRESORPAYD__AUTH__CLIENT_SECRET="demo-secret", TRESORPAYD__NOTICE__CODE_CLIENT="APP-DEMO",
            TRESORPAYD__NOTICE__CODE_STRUCTURE="STR-DEMO", TRESORPAYD__DATABASE__URL=f"sqlite://{self.outbox}",
            TRESORPAYD__POLL__SCHEDULE="* * * * * *", TRESORPAYD__POLL__FIRST_DELAY="1s",
            TRESORPAYD__API__REQUESTS_PER_SECOND="0", PATH=f"{Path(program).parent}:{os.environ['PATH']}",
        )
        subprocess.run([program, "migrate"], env=self.env, check=True, stdout=subprocess.DEVNULL)
        self.log = open(folder / "daemon.log", "w", encoding="utf-8")
        self.daemon = subprocess.Popen([program, "run"], env=self.env, stderr=self.log)

    def stop(self):
        for process in (self.daemon, self.simulator):
            process.kill()
            process.wait()

    def ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.control + path, data, {"Content-Type": "application/json"}, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=DEADLINE) as answer:
            return json.load(answer)

    def notices(self):
        """TresorPay's side: the notices of each client reference."""
        ledger = {}
        for notice in self.ask("GET", "/ledger")["notices"]:
            ledger.setdefault(notice["client_reference"], []).append(notice)
        return ledger

    def read(self, sql, *values):
        db = sqlite3.connect(f"file:{self.outbox}?mode=rw", uri=True, timeout=10)
        try:
            return db.execute(sql, values).fetchall()
        finally:
            db.close()

    def status(self, reference):
        rows = self.read("SELECT status FROM outbox WHERE reference = ?", reference)
        return rows[0][0] if rows else None


def wait_for(what, condition):
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"after {DEADLINE} s still not: {what}"
        time.sleep(LOOK_EVERY)


class Language:
    """One language's example."""

    def __init__(self, world, name, *command):
        self.world, self.name, self.command = world, name, command

    def start(self, *arguments, database=None):
        command = [*self.command, str(database or self.world.outbox), *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def end(self, process, status, *told):
        output, _ = process.communicate(timeout=DEADLINE)
        assert process.returncode == status, f"{self.name}: exit {process.returncode}, not {status}:\n{output}"
        for words in told:
            assert words in output, f"{self.name} did not say {words!r}:\n{output}"

    def check(self):
        paid, rejected, canceled = (f"{self.name}-{what}" for what in ("PAID", "REJECTED", "CANCELED"))
        world = self.world
        # A bill, a payment, and the feed that tells of it.
        bill, follow = self.start("bill", paid), self.start("follow", paid)
        wait_for(f"{paid} EMITTED", lambda: bill.poll() is not None or world.status(paid) == "EMITTED")
        if bill.poll() is not None:
            self.end(bill, 0, "it ended before it was paid")
        world.ask("POST", f"/pay/{paid}?provider=WAVE")
        self.end(bill, 0, "EMITTED", "PAID")
        self.end(follow, 0, f"deliver {paid} 12000 WAVE")
        self.end(self.start("bill", paid), 0, "PAID")
        self.end(self.start("follow", paid), 0)
        # A refusal, its correction, and the payment.
        self.end(self.start("bill", rejected, "NO-SUCH-STRUCTURE"), 1, "REJECTED", "STRUCTURE_NOT_FOUND")
        self.end(self.start("correct", rejected, "STR-DEMO"), 0, "done")
        wait_for(f"{rejected} EMITTED", lambda: world.status(rejected) == "EMITTED")
        self.end(self.start("correct", rejected, "STR-DEMO"), 1, "not REJECTED")
        # A cancel, which whoever waits for the payment sees, and one that comes too late.
        bill = self.start("bill", canceled)
        wait_for(f"{canceled} EMITTED", lambda: world.status(canceled) == "EMITTED")
        self.end(self.start("cancel", canceled), 0, "done")
        self.end(bill, 1, "CANCELED")
        self.end(self.start("cancel", paid), 1, "refused")
        # Nothing is made where there is nothing.
        nowhere = world.folder / f"{self.name}-nowhere" / "no.db"
        nowhere.parent.mkdir()
        self.end(self.start("bill", "NOWHERE", database=nowhere), 1 if self.name != "PHP" else 255,
                 "unable to open database")
        assert not list(nowhere.parent.iterdir()), f"{self.name} made a file"
        ledger = world.notices()
        for reference, status in ((paid, "PAID"), (rejected, "EMITTED"), (canceled, "CANCELED")):
            statuses = [notice["status"] for notice in ledger[reference]]
            assert statuses == [status], f"{reference} at TresorPay: {statuses}"
        delivered = world.read("SELECT count(*) FROM shop_delivery WHERE reference = ?", paid)[0][0]
        assert delivered == 1, f"{self.name}: {delivered} deliveries"


def languages(world, node, classes):
    subprocess.run(["javac", "-d", classes, EXAMPLES / "java/Outbox.java"], check=True)
    return [
        Language(world(), "PYTHON", "/usr/bin/python3", str(EXAMPLES / "python/outbox.py")),
        Language(world(), "PHP", "php", str(EXAMPLES / "php/outbox.php")),
        Language(world(), "NODE", node, "--no-warnings", str(EXAMPLES / "node/outbox.mjs")),
        Language(world(), "JAVA", "java", "-cp", f"/usr/share/java/sqlite-jdbc.jar:{classes}", "Outbox"),
        Language(world(), "SHELL", "sh", str(EXAMPLES / "shell/outbox.sh")),
    ]


FAILED = []


def in_parallel(checks):
    def one(name, check):
        begun = time.monotonic()
        try:
            check()
            print(f"ok   {name} ({time.monotonic() - begun:.1f} s)", flush=True)
        except BaseException:
            FAILED.append(name)
            print(f"FAIL {name}\n{traceback.format_exc()}", flush=True)

    threads = [threading.Thread(target=one, args=pair) for pair in checks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextmanager
def new_world(program):
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # the database servers run as another user
        world = World(program, Path(folder))
        try:
            yield world
        finally:
            world.stop()
            if FAILED:
                print((Path(folder) / "daemon.log").read_text(encoding="utf-8")[-4000:])


def main(program, node):
    # Each has an outbox of its own, since each plays the same shop.
    with tempfile.TemporaryDirectory() as classes, ExitStack() as worlds:
        in_parallel([(one.name.lower(), one.check) for one in languages(
            lambda: worlds.enter_context(new_world(program)), node, classes)])
    with new_world(program) as world, new_world(program) as other:
        in_parallel([
            ("relay from PostgreSQL", lambda: relays.from_database(world, relays.PostgreSQL)),
            ("relay from MariaDB", lambda: relays.from_database(world, relays.MariaDB)),
            ("relay over ssh", lambda: relays.over_ssh(other)),
        ])
    return 1 if FAILED else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
