import Foundation
import Glibc
import TestSupport
import Testing

@testable import Launching

/// What goes wrong around a supervisor keeps it from none of its duties.
@Suite(.timeLimit(.minutes(3)))
struct SupervisorTroubleTests {
  private func order(_ id: String, _ command: String, limit: Int = 600) -> SupervisorOrder {
    SupervisorOrder(
      id: id, token: "t", limit: limit, command: command, specification: Array("{}".utf8), jobCommit: "",
      environment: [], files: [])
  }

  /// Starts a supervisor; the body has its process, and the end of the socket that a coordinator would have.
  ///
  /// - Parameter prefix: Words of a program that starts it.
  private func withSupervisor(
    _ scratch: Scratch, prefix: [String] = [], _ body: (_ process: Int32, _ coordinator: Int32) async throws -> Void
  ) async throws {
    var ends: [Int32] = [-1, -1]
    try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends) == 0)
    let program = prefix + (try supervisorProgram)
    let process = Process()
    process.executableURL = URL(fileURLWithPath: program[0])
    process.arguments = program.dropFirst() + [scratch.path("w")]
    process.standardInput = FileHandle(fileDescriptor: ends[1])
    try process.run()
    close(ends[1])
    do {
      try await body(process.processIdentifier, ends[0])
    } catch {
      close(ends[0])
      throw error
    }
    close(ends[0])
  }

  private func say(_ bytes: some Collection<UInt8>, to descriptor: Int32) throws {
    try #require(LocalFile.write(Array(bytes), to: descriptor))
  }

  /// What comes back, up to its end.
  private func answer(from descriptor: Int32) throws -> String {
    var text = ""
    while !text.hasSuffix("end\n") {
      var buffer = [UInt8](repeating: 0, count: 4096)
      let count = recv(descriptor, &buffer, buffer.count, 0)
      try #require(count > 0)
      text += String(decoding: buffer.prefix(count), as: UTF8.self)
    }
    return text
  }

  /// As one is that is stopped (SIGSTOP) while it sends.
  @Test func `a coordinator that says half a word holds up no run`() async throws {
    try await Scratch.with { scratch in
      try await withSupervisor(scratch) { _, coordinator in
        let first = try #require(
          SupervisorOrder.message([order("late", "sleep 300", limit: 1), order("ends", "exit 3")]))
        let second = try #require(SupervisorOrder.message([order("next", "exit 4")]))
        try say(first + second.prefix(second.count / 2), to: coordinator)
        #expect(try answer(from: coordinator) == "late started\nends started\nend\n")
        try await until { scratch.text("w/attempts/late/exit.json")?.contains("\"timeout\"") == true }
        try await until { scratch.text("w/attempts/ends/exit.json")?.contains("\"code\":3") == true }
        try say(second.dropFirst(second.count / 2), to: coordinator)
        #expect(try answer(from: coordinator) == "next started\nend\n")
        try await until { scratch.text("w/attempts/next/exit.json")?.contains("\"code\":4") == true }
      }
    }
  }

  @Test func `a supervisor that the machine tells to end calls no run cancelled, nor failed`() async throws {
    try await Scratch.with { scratch in
      try await withSupervisor(scratch) { process, coordinator in
        func record(_ id: String) -> String { scratch.text("w/attempts/\(id)/exit.json") ?? "" }
        func tell(_ orders: [SupervisorOrder]) throws -> String {
          try say(try #require(SupervisorOrder.message(orders)), to: coordinator)
          return try answer(from: coordinator)
        }
        let long = "trap 'exit 1' TERM; echo $$; while :; do sleep 0.05; done"
        _ = try tell([order("ended", "true"), order("stopped", "sleep 300"), order("a", long), order("b", "sleep 300")])
        try await until { !record("ended").isEmpty }
        // Told to stop what has just ended, and what has not: the others go on.
        try scratch.write("w/attempts/ended/cancel", "cancelled\n")
        kill(process, SIGTERM)
        _ = try tell([order("c", "sleep 300")])
        try scratch.write("w/attempts/stopped/cancel", "superseded\n")
        kill(process, SIGTERM)
        try await until { record("stopped").contains("\"superseded\"") }
        for id in ["ended", "stopped"] {
          try FileManager.default.removeItem(atPath: scratch.path("w/attempts/\(id)/cancel"))
        }
        // As a shutdown does: to all.
        var leader: Int32?
        try await until {
          leader = Int32((scratch.text("w/attempts/a/stdout.log") ?? "").trimmingCharacters(in: .newlines))
          return leader != nil
        }
        kill(process, SIGTERM)
        kill(try #require(leader), SIGTERM)
        for id in ["a", "b", "c"] {
          try await until { !record(id).isEmpty }
          #expect(record(id).contains("\"reason\":\"terminated\""), "\(record(id))")
        }
      }
    }
  }

  /// While what has left it lives, and in numbers of their own, which are set back.
  @Test(.enabled(if: geteuid() == 0, "numbers of processes can be set back by root only"))
  func `a session becomes another's while what has left it is ended`() async throws {
    try await Scratch.with { scratch in
      let numbers = ["/usr/bin/unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
      try await withSupervisor(scratch, prefix: numbers) { process, coordinator in
        defer { kill(process, SIGKILL) }
        let command = """
          setsid sh -c 'trap "" TERM; : >up; while :; do sleep 0.2; done' &
          until [ -e up ]; do sleep 0.05; done
          echo $$
          exit 4
          """
        try say(try #require(SupervisorOrder.message([order("a", command)])), to: coordinator)
        #expect(try answer(from: coordinator) == "a started\nend\n")
        try await until { scratch.text("w/attempts/a/stdout.log")?.hasSuffix("\n") == true }
        let number = try #require(scratch.text("w/attempts/a/stdout.log")).trimmingCharacters(in: .newlines)
        let children = try String(contentsOfFile: "/proc/\(process)/task/\(process)/children", encoding: .utf8)
        let inside = children.trimmingCharacters(in: .whitespacesAndNewlines)
        let taken = try await runTool(
          "nsenter",
          [
            "--pid", "--mount", "--target", inside, "sh", "-c",
            """
            # Its own process is gone first.
            while [ -e /proc/$1 ]; do sleep 0.01; done
            while [ ! -e /proc/$1 ]; do
              echo $(($1 - 1)) >/proc/sys/kernel/ns_last_pid
              setsid sleep 300 >/dev/null 2>&1 &
              [ $! = "$1" ] || kill $!
            done
            until read -r _ _ _ _ _ session _ </proc/$1/stat && [ "$session" = "$1" ]; do :; done
            """, "sh", number,
          ], mustSucceed: false)
        try #require(taken.status == 0)
        try await until { scratch.text("w/attempts/a/exit.json")?.contains("\"code\":4") == true }
        #expect(
          try await runTool(
            "nsenter", ["--pid", "--mount", "--target", inside, "sh", "-c", "kill -0 $1", "sh", number],
            mustSucceed: false
          ).status == 0)
      }
    }
  }

  /// Without a descriptor to spare it sees no process; that is no word that none lives.
  @Test func `a supervisor that cannot look about leaves nothing alive`() async throws {
    try await Scratch.with { scratch in
      try await withSupervisor(scratch) { process, coordinator in
        let command =
          "echo $$ >&2; setsid sleep 300 & echo $!; until [ -e '\(scratch.path("go"))' ]; do sleep 0.05; done"
        try say(try #require(SupervisorOrder.message([order("a", command)])), to: coordinator)
        #expect(try answer(from: coordinator) == "a started\nend\n")
        func number(_ name: String) -> Int32? {
          Int32((scratch.text("w/attempts/a/\(name).log") ?? "").trimmingCharacters(in: .newlines))
        }
        try await until { number("stdout") != nil && number("stderr") != nil }
        let left = KnownProcess(try #require(number("stdout")))
        let leader = KnownProcess(try #require(number("stderr")))
        try await runTool("prlimit", ["--pid", "\(process)", "--nofile=3:"])
        try scratch.write("go", "")
        try await until { !leader.isRunning }
        // It has looked by then; if it has not, nothing is shown, and nothing is wrong.
        try await Task.sleep(for: .milliseconds(300))
        try await runTool("prlimit", ["--pid", "\(process)", "--nofile=1024:"])
        try await until { scratch.text("w/attempts/a/exit.json") != nil }
        #expect(!left.isRunning)
        if left.isRunning { kill(left.pid, SIGKILL) }
      }
    }
  }
}
