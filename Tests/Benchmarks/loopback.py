"""A loopback sshd of the script's own, a delaying proxy, and timed processes: shared by gather.py, overhead.py, fanout.py."""

import asyncio
import contextlib
import getpass
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time


class Run:
    """One process: wall seconds, CPU seconds of it and its children, standard output."""

    def __init__(self, command, accepted=(0,), **options):
        before = os.times()
        started = time.perf_counter()
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        self.wall = time.perf_counter() - started
        after = os.times()
        self.cpu = after.children_user + after.children_system - before.children_user - before.children_system
        self.output = done.stdout.decode(errors="replace")
        if done.returncode not in accepted:
            sys.exit(f"{list(map(str, command))} ended with {done.returncode}: {done.stderr[-2000:].decode(errors='replace')}")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server:
    """sshd with default limits on one port of every 127.x address, its keys, and a client configuration."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder) / "sshd"
        self.folder.mkdir(parents=True)
        self.port = free_port()
        for key in ("host_key", "client_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / key], check=True)
        shutil.copy(self.folder / "client_key.pub", self.folder / "authorized_keys")
        home = self.folder / "home"
        home.mkdir()
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", exist_ok=True)
        (self.folder / "sshd_config").write_text(
            f"ListenAddress 0.0.0.0\nPort {self.port}\nHostKey {self.folder}/host_key\nPidFile {self.folder}/pid\n"
            f"AuthorizedKeysFile {self.folder}/authorized_keys\nUsePAM no\nStrictModes no\nPermitRootLogin yes\n"
            f"PasswordAuthentication no\nKbdInteractiveAuthentication no\nPrintMotd no\nSetEnv HOME={home}\n"
            "Subsystem sftp internal-sftp\n")
        self.config = self.folder / "ssh_config"
        self.known_hosts = self.folder / "known_hosts"
        self.known_hosts.touch()
        sshd = next(p for p in ("/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd") if os.access(p, os.X_OK))
        subprocess.run([sshd, "-f", self.folder / "sshd_config", "-E", self.folder / "log"], check=True)
        for _ in range(400):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                break
            time.sleep(0.025)
        else:
            sys.exit((self.folder / "log").read_text())

    def host(self, alias, address="127.0.0.1", port=None, lines=()):
        """Adds a host to the client's configuration and known hosts."""
        port = port or self.port
        key = (self.folder / "host_key.pub").read_text()
        with self.known_hosts.open("a") as file:
            file.write(f"[{address}]:{port} {key}")
        with self.config.open("a") as file:
            file.write("\n  ".join([
                f"Host {alias}", f"HostName {address}", f"Port {port}", f"User {getpass.getuser()}",
                f"IdentityFile {self.folder}/client_key", "IdentitiesOnly yes",
                f"UserKnownHostsFile {self.known_hosts}", "GlobalKnownHostsFile /dev/null",
                "StrictHostKeyChecking yes", *lines]) + "\n")
        return alias

    def cpu(self):
        """CPU seconds of all sessions that ended; waits a moment for those that are ending."""
        pid = (self.folder / "pid").read_text().strip()
        for _ in range(80):
            if not pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().strip():
                break
            time.sleep(0.025)
        # After the name, which may hold spaces: fields 16 and 17 are the ended children's ticks.
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((self.folder / "pid").read_text()), 15)


class DelayingProxy:
    """A TCP proxy whose bytes arrive `one_way` seconds after they were sent, however many they are."""

    def __init__(self, port, one_way):
        self.target, self.one_way = port, one_way
        self.port = free_port()
        ready = threading.Event()
        self.loop = asyncio.new_event_loop()

        def run():
            asyncio.set_event_loop(self.loop)
            self.loop.run_until_complete(asyncio.start_server(self.serve, "127.0.0.1", self.port, limit=1 << 22))
            ready.set()
            self.loop.run_forever()

        threading.Thread(target=run, daemon=True).start()
        ready.wait()

    async def serve(self, reader, writer):
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self.target, limit=1 << 22)
        for side in (writer, other_writer):
            side.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.gather(self.pump(reader, other_writer), self.pump(other_reader, writer))

    async def pump(self, reader, writer):
        queue = asyncio.Queue()

        async def send():
            while (item := await queue.get()) is not None:
                due, data = item
                await asyncio.sleep(max(0, due - self.loop.time()))
                if not data:
                    break
                writer.write(data)
                await writer.drain()
            with contextlib.suppress(Exception):
                writer.write_eof()

        sender = asyncio.ensure_future(send())
        with contextlib.suppress(ConnectionError):
            while True:
                data = await reader.read(1 << 18)
                queue.put_nowait((self.loop.time() + self.one_way, data))
                if not data:
                    break
        with contextlib.suppress(ConnectionError):
            await sender


def in_turns(rounds, contenders, before=lambda: None):
    """Runs each contender once a round; gives their runs by name. The first contender changes with each round."""
    names = list(contenders)
    runs = {name: [] for name in names}
    for round in range(rounds):
        for index in range(len(names)):
            name = names[(index + round) % len(names)]
            before()
            runs[name].append(contenders[name]())
            print(f"  {name if isinstance(name, str) else name[0]}: {runs[name][-1].wall:.2f} s", file=sys.stderr)
    return runs


def median(runs):
    return statistics.median(run.wall for run in runs)
