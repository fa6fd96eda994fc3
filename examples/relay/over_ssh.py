#!/usr/bin/env python3
"""Bills and learns of payments from another host, over ssh, with nothing but tresorpayd's command line over there.

    python3 over_ssh.py send SPOOL -- ssh tresorpay@HOST             every SPOOL/*.json, and end
    python3 over_ssh.py follow CURSOR HANDLER -- ssh tresorpay@HOST  what happened since, and end

send: each file is a notice or an array of notices, as `tresorpayd add` reads it. Write it under another name and
rename it to NAME.json, so that it is whole. What arrived is moved to SPOOL/sent. A file whose answer was lost is sent
again, and `add` skips what is there already: nothing is lost and nothing is billed twice. A file that is refused
stays, and is told of, until somebody corrects it.

follow: each change of status is one line of JSON on HANDLER's standard input. The place in the feed is kept in CURSOR,
and goes on once HANDLER has ended with 0: so it sees every change, and after a crash one of them twice.

Run both from a timer, every few seconds or minutes. ssh with ControlMaster saves a handshake each time.
"""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

BATCH = 1000  # changes in one answer
PATIENCE = 120  # seconds for one ssh


def remote(ssh, command, text=""):
    """What the command over there did: its exit status (255: ssh itself failed) and its two outputs."""
    try:
        ran = subprocess.run([*ssh, command], input=text, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return 255, "", f"no answer within {PATIENCE} s"
    return ran.returncode, ran.stdout, ran.stderr.strip()


def send(spool, ssh):
    """Whether everything arrived."""
    sent = spool / "sent"
    sent.mkdir(exist_ok=True)
    well = True
    for file in sorted(spool.glob("*.json")):
        status, _, trouble = remote(ssh, "tresorpayd add -", file.read_text(encoding="utf-8"))
        if status == 0:
            os.replace(file, sent / file.name)
            continue
        print(f"{file}: {trouble}", file=sys.stderr)
        well = False
        if status != 1:
            break  # not about this file: nobody answers, or tresorpayd cannot work; next time
    return well


def follow(cursor, handler, ssh):
    """Whether the feed was read to its end."""
    last = json.loads(cursor.read_text()) if cursor.exists() else {"id": 0}
    while True:
        # The last one that was dealt with comes again, to see that it is the same: not so after a restore over there.
        since = max(last["id"] - 1, 0)
        status, output, trouble = remote(ssh, f"tresorpayd list --json --since {since} --limit {BATCH}")
        if status != 0:
            print(f"feed: {trouble}", file=sys.stderr)
            return False
        lines = output.splitlines()
        if last["id"] > 0:
            if not lines or place(json.loads(lines[0])) != last:
                print("feed: an old copy was restored over there; from the beginning", file=sys.stderr)
                last = {"id": 0}
                continue
            lines = lines[1:]
        for line in lines:
            if subprocess.run(handler, input=line + "\n", text=True).returncode != 0:
                print(f"feed: {handler[0]} failed at {line}", file=sys.stderr)
                return False
            last = place(json.loads(line))
            keep(cursor, json.dumps(last))
        if not lines:
            return True


def place(change):
    """What tells one change from every other, also from one with the same id in another copy."""
    return {key: change[key] for key in ("id", "at", "to_status")}


def keep(path, text):
    """Replaces the file at once and for good: after a power cut it is the old one or the new one."""
    new = path.with_name(path.name + ".new")
    with open(new, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def main(arguments):
    if "--" not in arguments:
        sys.exit(__doc__)
    at = arguments.index("--")
    what, ssh = arguments[:at], arguments[at + 1:]
    if not ssh or len(what) not in (2, 3) or what[0] != ("send", "follow")[len(what) - 2]:
        sys.exit(__doc__)
    path = Path(what[1]).absolute()
    # One at a time: a timer may start the next before the last has ended.
    lock = open(path / ".lock" if what[0] == "send" else path.with_name(path.name + ".lock"), "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return send(path, ssh) if what[0] == "send" else follow(path, [what[2]], ssh)


if __name__ == "__main__":
    sys.exit(0 if main(sys.argv[1:]) else 1)
