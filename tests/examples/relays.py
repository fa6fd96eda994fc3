"""The relays of examples/relay/, killed at every line of theirs: at most once, and never lost."""

import glob
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RELAY = ROOT / "examples/relay"
KILL_AT = str(Path(__file__).with_name("kill_at.py"))
PYTHON = "/usr/bin/python3"
DEADLINE = 180
TAX_PAYER = json.dumps({"name": "Coulibaly", "firstName": "Fatoumata"})
ITEMS = json.dumps([{"name": "Vignette", "quantity": 2, "unitPrice": 6000, "codeNatureRecette": "71531"}])
PAY_SOON = {"pay_share": 1, "pay_after_ms": 300, "pay_after_max_ms": 600}
INSERT = "INSERT INTO tresorpay_outbox (reference, net_total, tax_payer, items, code_structure) VALUES (%s, %s, %s, %s, %s)"


def until(what, condition):
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"after {DEADLINE} s still not: {what}"
        time.sleep(0.1)


class Server:
    """A database server of our own, on a unix socket in a folder of its own, as a user that is not root."""

    def __init__(self, world):
        self.folder = world.folder / self.name
        self.folder.mkdir()
        if os.geteuid() == 0:
            shutil.chown(self.folder, self.user, self.user)
        self.process = self.serve()
        until(f"{self.name} answers", self.answers)

    def run(self, *command, **options):
        return subprocess.Popen([*self.become(), *command], stdout=subprocess.DEVNULL,
                                stderr=open(self.folder.parent / f"{self.name}.log", "a", encoding="utf-8"), **options)

    def done(self, *command):
        assert self.run(*command).wait() == 0, (self.folder.parent / f"{self.name}.log").read_text(encoding="utf-8")

    def become(self):
        """PostgreSQL and MariaDB refuse to run as root."""
        if os.geteuid() != 0:
            return []
        return ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups"]

    def answers(self):
        assert self.process.poll() is None, (self.folder.parent / f"{self.name}.log").read_text(encoding="utf-8")
        try:
            self.connect().close()
            return True
        except Exception:
            return False

    def sql(self, *statements):
        """Statements with their values, in one commit; the rows of the last."""
        connection = self.connect()
        cursor = connection.cursor()
        for sql, *values in statements:
            cursor.execute(sql, values)
        rows = cursor.fetchall() if cursor.description else []
        connection.commit()
        connection.close()
        return rows

    def create_tables(self, file):
        text = re.sub(r"--[^\n]*", "", (RELAY / file).read_text(encoding="utf-8"))
        self.sql(*((statement,) for statement in text.split(";") if statement.strip()))

    def stop(self):
        self.process.send_signal(signal.SIGINT if self.name == "postgresql" else signal.SIGTERM)
        self.process.wait(timeout=DEADLINE)


class PostgreSQL(Server):
    name, user, every = "postgresql", "postgres", 2

    def serve(self):
        programs = Path(sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1])
        data = self.folder / "data"
        self.done(programs / "initdb", "-D", data, "-U", "shop", "-A", "trust", "-E", "UTF8", "--no-sync")
        return self.run(programs / "postgres", "-D", data, "-k", self.folder, "-c", "listen_addresses=",
                        "-c", "fsync=off")

    def arguments(self):
        return ["postgresql", f"host={self.folder} dbname=postgres user=shop"]

    def connect(self):
        import psycopg2

        return psycopg2.connect(self.arguments()[1])


class MariaDB(Server):
    name, user, every = "mysql", "mysql", 3

    def serve(self):
        data, self.socket = self.folder / "data", self.folder / "socket"
        self.done("mariadb-install-db", "--no-defaults", f"--datadir={data}", f"--user={self.user}",
                  "--auth-root-authentication-method=normal", "--skip-test-db")
        options = f"[client]\nuser=root\ndatabase=shop\nsocket={self.socket}\n"
        (self.folder / "my.cnf").write_text(options, encoding="utf-8")
        return self.run("mariadbd", "--no-defaults", f"--datadir={data}", f"--socket={self.socket}",
                        "--skip-networking", f"--pid-file={self.folder}/pid")

    def arguments(self):
        return ["mysql", str(self.folder / "my.cnf")]

    def connect(self):
        import pymysql

        setup = pymysql.connect(unix_socket=str(self.socket), user="root")
        setup.cursor().execute("CREATE DATABASE IF NOT EXISTS shop")
        setup.close()
        return pymysql.connect(unix_socket=str(self.socket), user="root", database="shop", charset="utf8mb4")


def from_database(world, kind):
    server = kind(world)
    try:
        check_from_database(world, server)
    finally:
        server.stop()


def check_from_database(world, server):
    name = server.name
    server.create_tables(f"{name}.sql")
    program = str(RELAY / "from_database.py")
    arguments = ["--name", name, *server.arguments(), str(world.outbox)]
    world.ask("PUT", "/settings", PAY_SOON)

    # 1. Killed before each of its lines in turn, with a new notice and a new command each time. What it left is then
    # carried by a look that nobody disturbs.
    sys.path.insert(0, str(RELAY))
    import from_database

    remote, outbox = server.connect(), from_database.open_outbox(str(world.outbox))
    kills, at = 0, 1
    while True:
        reference = f"{name}-{at}"
        server.sql(
            (INSERT, reference, 12000, TAX_PAYER, ITEMS, None),
            ("INSERT INTO tresorpay_command (reference, action, requested_by) VALUES (%s, 'poll', %s)",
             reference, f"{name}/{at}"),
        )
        ran = subprocess.run([PYTHON, KILL_AT, str(at), program, "--once", *arguments], stderr=subprocess.PIPE, text=True)
        if ran.returncode == -signal.SIGKILL:
            kills += 1
        else:
            assert ran.returncode == 0, f"at line {at}: {ran.stderr}"
            break  # it has fewer lines than that
        while from_database.look(remote, outbox, name):
            pass
        at += server.every
    remote.close()
    outbox.close()
    assert kills > 20, f"only {kills} kills"

    # 2. Rows that the outbox refuses, rows that TresorPay refuses, and what another application has.
    theirs = f"{name}-theirs"
    subprocess.run([world.program, "add", "-"], env=world.env, check=True, stdout=subprocess.DEVNULL, text=True,
                   input=json.dumps({"reference": theirs, "net_total": 500, "tax_payer": {"name": "Diarra"},
                                     "items": [dict(json.loads(ITEMS)[0], quantity=1, unitPrice=500)]}))
    server.sql(
        (INSERT, f"{name}-bad", 7, TAX_PAYER, ITEMS, None),
        (INSERT, f"{name}-refused", 12000, TAX_PAYER, ITEMS, "NO-SUCH-STRUCTURE"),
        (INSERT, theirs, 12000, TAX_PAYER, ITEMS, None),
    )

    # 3. Killed at random while it runs as it would for years, until everything is carried both ways.
    chance, relay = random.Random(name), None

    def told(reference):
        return server.sql(("SELECT status, last_error FROM tresorpay_outbox WHERE reference = %s", reference))[0]

    def settled():
        nonlocal relay
        if relay is None or relay.poll() is not None:
            relay = subprocess.Popen([PYTHON, program, *arguments])
        time.sleep(chance.uniform(0.05, 0.8))
        if chance.random() < 0.3:
            relay.kill()
            relay.wait()
        left = server.sql(("SELECT (SELECT count(*) FROM tresorpay_outbox WHERE coalesce(status, '') NOT IN"
                           " ('PAID', 'REJECTED')) + (SELECT count(*) FROM tresorpay_command WHERE outcome IS NULL)",))
        return left[0][0] == 0

    try:
        until(f"{name}: everything is carried", settled)
        status, error = told(f"{name}-bad")
        assert status == "REJECTED" and "net_total must equal" in error, (status, error)
        assert "STRUCTURE_NOT_FOUND" in told(f"{name}-refused")[1], told(f"{name}-refused")
        assert "another application" in told(theirs)[1], told(theirs)

        # 4. Corrections, made over there.
        server.sql(
            ("UPDATE tresorpay_outbox SET net_total = 12000, relayed_at = NULL WHERE reference = %s", f"{name}-bad"),
            ("UPDATE tresorpay_outbox SET code_structure = NULL, relayed_at = NULL WHERE reference = %s",
             f"{name}-refused"),
        )
        corrected = (f"{name}-bad", f"{name}-refused")
        until(f"{name}: corrections are paid", lambda: settled() and all(told(one)[0] == "PAID" for one in corrected))
    finally:
        if relay:
            relay.kill()
            relay.wait()

    # 5. The audit: here, there and at TresorPay.
    there = server.sql(("SELECT reference, status, tresorpay_reference FROM tresorpay_outbox",))
    ledger, commands = world.notices(), {}
    for by, in world.read("SELECT requested_by FROM command WHERE requested_by LIKE ?", f"{name}/%"):
        commands[by] = commands.get(by, 0) + 1
    assert len(there) == len({reference for reference, *_ in there}) > kills
    for reference, status, number in there:
        if reference == theirs:
            continue
        assert status == "PAID", (reference, status)
        assert [(one["reference"], one["status"]) for one in ledger[reference]] == [(number, "PAID")], ledger[reference]
    wished = server.sql(("SELECT requested_by, outcome FROM tresorpay_command",))
    assert commands == {by: 1 for by, _ in wished}, "a command was carried twice, or never"
    assert all(outcome in ("done", "refused") for _, outcome in wished)
    print(f"     {name}: killed at {kills} lines, {len(there)} notices", flush=True)


FAKE_SSH = """#!/bin/sh
# ssh HOST COMMAND, as sshd would run it with a forced command; now and then the line is cut, before or after.
cut=$(od -An -N1 -tu1 /dev/urandom)
[ $((cut % 5)) -ne 0 ] || exit 255
SSH_ORIGINAL_COMMAND=$2 {gate} || exit $?
[ $((cut % 5)) -ne 1 ] || exit 255
"""


def over_ssh(world):
    folder = world.folder / "over ssh"
    spool, heard = folder / "spool", folder / "heard"
    spool.mkdir(parents=True)
    ssh, handler, cursor = folder / "ssh", folder / "handler", folder / "cursor"
    ssh.write_text(FAKE_SSH.format(gate=RELAY / "gate.sh"), encoding="utf-8")
    handler.write_text(f"#!/bin/sh\ncat >> '{heard}'\n", encoding="utf-8")
    ssh.chmod(0o755)
    handler.chmod(0o755)
    program, line = str(RELAY / "over_ssh.py"), ["--", str(ssh), "tresorpay@host"]
    references = [f"ssh-{number}" for number in range(20)]
    for reference in references:
        notice = {"reference": reference, "net_total": 12000, "tax_payer": json.loads(TAX_PAYER), "items": json.loads(ITEMS)}
        (spool / f"{reference}.json").write_text(json.dumps(notice), encoding="utf-8")

    world.ask("PUT", "/settings", PAY_SOON)

    kills = 0
    for at in range(1, 150, 5):
        for what in (["send", str(spool)], ["follow", str(cursor), str(handler)]):
            ran = subprocess.run([PYTHON, KILL_AT, str(at), program, *what, *line], env=world.env, stderr=subprocess.PIPE)
            kills += ran.returncode == -signal.SIGKILL
    assert kills > 15, kills

    def everything_is_told():
        for what in (["send", str(spool)], ["follow", str(cursor), str(handler)]):
            subprocess.run([PYTHON, program, *what, *line], env=world.env, stderr=subprocess.DEVNULL)
        changes = [json.loads(one) for one in heard.read_text(encoding="utf-8").splitlines()]
        paid = {change["reference"] for change in changes if change["to_status"] == "PAID"}
        return paid.issuperset(references) and not list(spool.glob("*.json"))

    until("everything is sent and told", everything_is_told)
    changes = [json.loads(one)["id"] for one in heard.read_text(encoding="utf-8").splitlines()]
    known = [row[0] for row in world.read("SELECT id FROM transition WHERE id <= ? ORDER BY id", max(changes))]
    assert sorted(set(changes)) == known, "a change was never told"
    ledger = world.notices()
    assert all(len(ledger[reference]) == 1 for reference in references)

    def refused(command):
        gate = subprocess.run([RELAY / "gate.sh"], env=dict(world.env, SSH_ORIGINAL_COMMAND=command), capture_output=True)
        return gate.returncode == 2 and not gate.stdout

    for command in ("", "sh", "tresorpayd cancel ssh-1", "tresorpayd add /etc/passwd",
                    "tresorpayd list --json --since 0; id --limit 1", "tresorpayd list --json --since $(id) --limit 1"):
        assert refused(command), f"the gate let through: {command}"

    # A refused file stays and is told of; the others pass it.
    (spool / "a.json").write_text('{"reference": "ssh-bad"}', encoding="utf-8")
    shutil.copy(spool / "sent/ssh-1.json", spool / "b.json")
    until("the good file is sent", lambda: subprocess.run(
        [PYTHON, program, "send", str(spool), *line], env=world.env, stderr=subprocess.DEVNULL).returncode == 1
        and not (spool / "b.json").exists())
    assert (spool / "a.json").exists()
    print(f"     over ssh: killed at {kills} lines, {len(references)} notices, {len(changes)} lines heard", flush=True)


if __name__ == "__main__":
    sys.exit("run tests/examples/run")
