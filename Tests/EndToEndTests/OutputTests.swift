import Foundation
import TestSupport
import Testing

/// What a command prints or writes arrives, or the command says that it did not.
@Suite(.timeLimit(.minutes(3))) struct OutputTests {
  private func with(_ body: (RollcallBinary, Scratch) async throws -> Void) async throws {
    try await Scratch.with { scratch in
      try scratch.write(
        "fleet.yaml",
        "hosts: [{name: here, local: true, workdir: \(scratch.path)/work, lease_dir: \(scratch.path)/leases}]")
      try scratch.write("job.yaml", "name: print\nrun: {command: echo hello}\n")
      try await body(
        RollcallBinary(
          store: scratch.path("store"), directory: scratch.path,
          environment: ["ROLLCALL_FLEET": scratch.path("fleet.yaml")]), scratch)
    }
  }

  /// A line of the shell in which `$rollcall` is the binary.
  private func shell(_ rollcall: RollcallBinary, _ line: String) async throws -> ToolResult {
    try await runTool(
      "sh", ["-c", line], environment: rollcall.variables.merging(["rollcall": try RollcallBinary.path]) { $1 },
      directory: rollcall.directory, mustSucceed: false)
  }

  @Test func aFullStandardOutputIsAnError() async throws {
    try await with { rollcall, scratch in
      try await runPython(
        """
        import numpy, sys
        for side in "ab":
            numpy.save("%s/%s.npy" % (sys.argv[1], side), numpy.ones(4, numpy.float32))
        """, [scratch.path])
      // Commands that print much, little, one document, and leave with a code of their own.
      let lines = [
        "run job.yaml", "status", "status last --json", "report last", "logs", "plan job.yaml",
        "inspect a.npy --json", "schema a.npy b.npy", "history print", "explain run",
      ]
      for line in lines {
        let full = try await shell(rollcall, "\"$rollcall\" \(line) > /dev/full")
        #expect(full.status == 69, "\(line): \(full.errorOutput)")
        #expect(
          full.errorOutput.contains("Cannot write standard output: No space left on device"),
          "\(line): \(full.errorOutput)")
      }
      // What it was to do it has done.
      let sweep = try await rollcall("status", "last", "--json").json()["sweeps"] as? [[String: Any]]
      #expect(sweep?.first?["state"] as? String == "done")
      // Who does not read on wants no more.
      let cut = try await shell(rollcall, "{ \"$rollcall\" report last --json; echo $? >&2; } | true")
      #expect(!cut.errorOutput.contains("Cannot write"), "\(cut.errorOutput)")
    }
  }

  @Test func aClosedStandardStreamIsTakenByNothingElse() async throws {
    try await with { rollcall, scratch in
      try scratch.write(
        "job.yaml", "name: print\nrun: {command: \"until [ -e \(scratch.path)/go ]; do sleep 0.1; done\"}\n")
      let line = """
        "$rollcall" run job.yaml <&- >&- 2>&- &
        until [ -e store/coordinator.lock ] && grep -q sweep store/coordinator.lock; do sleep 0.1; done
        for descriptor in 0 1 2; do readlink /proc/$!/fd/$descriptor; done
        touch go
        wait $! || echo status $?
        """
      let closed = try await shell(rollcall, line)
      #expect(closed.output == "/dev/null\n/dev/null\n/dev/null\nstatus 69\n", "\(closed.output) \(closed.errorOutput)")
      let told = try await shell(rollcall, "\"$rollcall\" status >&-")
      #expect(told.errorOutput.contains("Cannot write standard output: Bad file descriptor"), "\(told.errorOutput)")
    }
  }

  @Test func whatIsNoFileIsNotReplacedByOne() async throws {
    try await with { rollcall, scratch in
      #expect(try await rollcall("run", "job.yaml").status == 2)
      // A pipe, a descriptor, a link to a file and one to nothing yet, a descriptor of a file that is added to.
      let result = try await shell(
        rollcall,
        """
        set -e
        mkfifo pipe; mkdir real; echo old > real/file; ln -s real/file link; ln -s real/new fresh; echo before > added
        report() { "$rollcall" report last --format json -o "$1" || [ $? = 2 ]; }
        cat pipe > read & report pipe; wait
        { report /dev/fd/5; } 5>&1 >/dev/null | cat > piped
        { report /dev/fd/6; } 6>>added
        report link; report fresh; report plain
        [ -p pipe ] && [ -L link ] && [ -L fresh ] && [ ! -e real/link ] && echo kept
        """)
      #expect(result.status == 0 && result.output.contains("kept"), "\(result.output) \(result.errorOutput)")
      let plain = try #require(scratch.text("plain"))
      #expect(plain.contains("rollcall.sweep/1"))
      for name in ["read", "piped", "real/file", "real/new"] { #expect(scratch.text(name) == plain, "\(name)") }
      #expect(scratch.text("added") == "before\n" + plain)
      let refused = try await rollcall("report", "last", "--format", "json", "-o", "real")
      #expect(refused.status == 69 && refused.errorOutput.contains("Is a directory"), "\(refused.errorOutput)")
    }
  }

  @Test func aLogOfWhichTheBeginningWasNotGatheredIsSaidToBeCut() async throws {
    try await with { rollcall, scratch in
      try scratch.write(
        "job.yaml",
        """
        name: long
        matrix: {bytes: [1000, 5000000]}
        run: {command: "echo begin; yes | head -c ${{ bytes }}; echo end"}
        """)
      _ = try await rollcall("run", "job.yaml")
      let cut = try await rollcall("logs", "5000000")
      #expect(cut.output.utf8.count == 4 << 20 && cut.output.hasSuffix("end\n"))
      #expect(cut.errorOutput.contains("only the last 4 MiB of its stdout.log"), "\(cut.errorOutput)")
      #expect(cut.errorOutput.contains(scratch.path("work") + "/attempts/"), "\(cut.errorOutput)")
      let whole = try await rollcall("logs", "bytes=1000")
      #expect(whole.output.hasPrefix("begin\n") && whole.errorOutput.isEmpty, "\(whole.errorOutput)")
      let streams = try #require(try await rollcall("logs", "--json").json()["streams"] as? [[String: Any]])
      #expect(streams.map { $0["truncated"] as? Bool } == [false, true])
    }
  }
}
