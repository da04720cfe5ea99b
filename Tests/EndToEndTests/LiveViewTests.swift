import Foundation
import TestSupport
import Testing

/// What a person sees on a terminal while a sweep runs; `script` of util-linux is the terminal.
@Suite struct LiveViewTests {
  /// Runs one verb on a terminal of its own, which also writes everything to `file`.
  private func onTerminal(
    _ rollcall: RollcallBinary, _ verb: String, columns: Int = 160, file: String
  ) async throws -> Int {
    try await runTool(
      "script", ["-qefc", "stty rows 40 cols \(columns); exec \"$ROLLCALL_BINARY\" \(verb)", file],
      environment: rollcall.variables.merging(["ROLLCALL_BINARY": try RollcallBinary.path, "SHELL": "/bin/sh"]) { $1 },
      directory: rollcall.directory, timeout: .seconds(300), mustSucceed: false
    ).status
  }

  private func wait(for scratch: Scratch, _ file: String, _ isThere: (String) -> Bool) async throws -> Bool {
    for _ in 0..<2400 {
      if let text = scratch.text(file), isThere(text) { return true }
      try await Task.sleep(for: .milliseconds(50))
    }
    return false
  }

  @Test(.timeLimit(.minutes(5))) func runAndWatchShowCellsHostsBytesAndTimeLeft() async throws {
    try await Scratch.with { scratch in
      try scratch.write(
        "fleet.yaml",
        """
        hosts: [{name: here, local: true, gpus: 1, workdir: \(scratch.path)/work, lease_dir: \(scratch.path)/leases}]
        """)
      try scratch.write(
        "job.yaml",
        """
        name: two
        matrix: {part: [a, b]}
        run:
          command: "head -c 3000000 /dev/zero > $ROLLCALL_DUMP_DIR/layer00_Block_rank0.pt; \
        if [ ${{ part }} = b ]; then until [ -e \(scratch.path)/go ]; do sleep 0.1; done; fi"
          gpus: 1
        """)
      let rollcall = RollcallBinary(
        store: scratch.path("store"), directory: scratch.path,
        environment: ["ROLLCALL_FLEET": scratch.path("fleet.yaml")])
      async let ran = onTerminal(rollcall, "run job.yaml", file: scratch.path("ran"))
      /// A drawing: of one that has gathered, while the other one runs.
      func isHalfway(_ text: String) -> Bool {
        ["1 running", "1 succeeded", "2.9 MiB gathered", "about ", " left", "[#] 1/1  part=b", "CELL", "HOST"]
          .allSatisfy(text.contains)
      }
      let isDrawn = try await wait(for: scratch, "ran", isHalfway)
      #expect(isDrawn, "\(scratch.text("ran") ?? "nothing")")
      async let watched = onTerminal(rollcall, "status last --watch", file: scratch.path("watched"))
      let isWatched = try await wait(for: scratch, "watched", isHalfway)
      #expect(isWatched, "\(scratch.text("watched") ?? "nothing")")
      try scratch.write("go", "")
      _ = try await (ran, watched)

      // The table is drawn over itself, and gone at the end; `status` leaves the last state.
      let shown = try #require(scratch.text("ran"))
      let last = try #require(shown.components(separatedBy: "\u{1B}[J").last)
      #expect(shown.contains("A\u{1B}[J"))
      #expect(!last.contains("CELL") && last.contains("two-"))
      let end = try #require(scratch.text("watched")?.components(separatedBy: "\u{1B}[2J").last)
      #expect(end.contains("part=b  succeeded") && end.contains("[.] 0/1"))
    }
  }

  /// What is wider than the terminal takes two of its lines, and is not drawn over.
  @Test(.timeLimit(.minutes(3)), arguments: [2, 20]) func nothingIsWiderThanASmallTerminal(columns: Int) async throws {
    try await Scratch.with { scratch in
      try scratch.write(
        "fleet.yaml",
        "hosts: [{name: here, local: true, workdir: \(scratch.path)/work, lease_dir: \(scratch.path)/leases}]")
      try scratch.write("job.yaml", "name: print\nrun: {command: sleep 1}\n")
      let rollcall = RollcallBinary(
        store: scratch.path("store"), directory: scratch.path,
        environment: ["ROLLCALL_FLEET": scratch.path("fleet.yaml")])
      let status = try await onTerminal(
        rollcall, "run job.yaml > /dev/null", columns: columns, file: scratch.path("ran"))
      #expect(status == 2)
      let shown = try #require(scratch.text("ran"))
      let drawings = shown.components(separatedBy: "A\u{1B}[J").dropFirst().dropLast()
      let lines = drawings.flatMap { $0.components(separatedBy: "\u{1B}[")[0].split(separator: "\r\n") }
      #expect(!lines.isEmpty && lines.allSatisfy { $0.count < columns }, "\(lines)")
    }
  }

  /// A host that sends a part of a file and then stops: what has come is told.
  @Test(.timeLimit(.minutes(5))) func theBytesOfARunningGatherAreTold() async throws {
    try await Scratch.with { scratch in
      try scratch.write(
        "fleet.yaml",
        """
        hosts: [{name: here, local: true, gpus: 0, workdir: \(scratch.path)/work, lease_dir: \(scratch.path)/leases}]
        """)
      try scratch.write(
        "job.yaml",
        """
        name: slow
        run: {command: "head -c 3000000 /dev/zero > $ROLLCALL_DUMP_DIR/layer00_Block_rank0.pt", gpus: 0}
        dumps: {layout: atom}
        """)
      // What sends the files.
      try scratch.write(
        "bin/cat",
        """
        #!/bin/sh
        PATH=${PATH#*:}
        [ "$1" = -- ] || exec cat "$@"
        cat "$@" | {
          head -c 1000000
          until [ -e \(scratch.path)/go ]; do sleep 0.1; done
          cat
        }

        """, permissions: 0o755)
      let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
      let rollcall = RollcallBinary(
        store: scratch.path("store"), directory: scratch.path,
        environment: ["ROLLCALL_FLEET": scratch.path("fleet.yaml"), "PATH": scratch.path("bin") + ":" + path])
      async let ran = rollcall("run", "job.yaml")
      var told: [[String: Any]] = []
      for _ in 0..<1200 where told.isEmpty {
        try await Task.sleep(for: .milliseconds(100))
        let status = try await rollcall("status", "last", "--json")
        guard status.status == 0 else { continue }
        let sweep = (try status.json()["sweeps"] as? [[String: Any]])?.first
        told = (sweep?["gathering"] as? [[String: Any]] ?? []).filter { ($0["bytes"] as? Int ?? 0) > 0 }
      }
      let gather = try #require(told.first)
      let bytes = try #require(gather["bytes"] as? Int)
      #expect(bytes <= 1_000_000 && gather["total"] as? Int == 3_000_000 && gather["run"] as? String == "run")
      let table = try await rollcall("status", "last")
      #expect(table.output.contains("gathering ") && table.output.contains(" of 2.9 MiB, "), "\(table.output)")
      try scratch.write("go", "")
      _ = try await ran
      let end = try await rollcall("status", "last")
      #expect(!end.output.contains("gathering "), "\(end.output)")
    }
  }
}
