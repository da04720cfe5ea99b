import Foundation
import TestSupport
import Testing

/// A host that does not answer is shown as such to those who do not see what its driver says.
@Suite(.timeLimit(.minutes(4))) struct UnreachableTests {
  @Test func statusAndExplainSayThatAHostIsNotHeardOf() async throws {
    try await Scratch.with { scratch in
      try await LoopbackSSHD.withFleet(["alpha"], in: scratch, keys: "cpu_slots: 1") { servers in
        let server = servers[0]
        try scratch.write(
          "job.yaml",
          """
          name: silent
          run: {command: "touch \(scratch.path)/begun; until [ -e \(scratch.path)/go ]; do sleep 0.1; done"}
          """)
        let rollcall = RollcallBinary(
          store: scratch.path("store"), directory: scratch.path,
          environment: ["ROLLCALL_FLEET": scratch.path("fleet.yaml")])
        func host() async throws -> [String: Any] {
          let sweep = try await rollcall("status", "last", "--json").json()["sweeps"] as? [[String: Any]]
          return try #require((sweep?.first?["hosts"] as? [[String: Any]])?.first)
        }
        func until(_ holds: () async throws -> Bool) async throws {
          for _ in 0..<1200 {
            if try await holds() { return }
            try await Task.sleep(for: .milliseconds(100))
          }
          Issue.record("it did not come to that: \(try await rollcall("status", "last").output)")
        }
        async let running = rollcall("run", "job.yaml")
        do {
          try await until { scratch.text("begun") != nil }
          try await until { try await rollcall("explain", "run").output.contains("runs: attempt 1 on alpha") }
          #expect(try await host()["unreachable_s"] == nil)
          // One that hangs is shown long before it counts as unreachable.
          server.holdConnections(true)
          try await until { try await host()["unanswered_s"] as? Double ?? 0 > 0 }
          let hanging = try await rollcall("status", "last").output
          #expect(hanging.contains("no answer for 1") && !hanging.contains("unreachable"), "\(hanging)")
          server.holdConnections(false)
          try await until { try await host()["unanswered_s"] == nil }
          server.stop()
          try await until { try await host()["unreachable_s"] as? Double ?? 0 > 0 }
          #expect(try await rollcall("status", "last").output.contains("unreachable for "))
          let explained = try await rollcall("explain", "run").output
          #expect(explained.contains("attempt 1 on alpha; it is unreachable for "), "\(explained)")
          #expect(explained.contains("for how long): no connection to "), "\(explained)")
          #expect(explained.contains("alpha does not answer: no connection to "), "\(explained)")
          #expect(try await rollcall("status", "last").output.contains("or more: no connection to "))
          try await server.start()
          try await until { try await host()["unreachable_s"] == nil }
          #expect(try await rollcall("explain", "run").output.contains("alpha answers"))
        } catch {
          Issue.record(error)
          try? await server.start()
        }
        try scratch.write("go", "")
        #expect(try await running.status == 2)
      }
    }
  }

  @Test func whatWasGivenUpAtASilentHostHoldsItsGPUsThereInTheTable() async throws {
    try await Scratch.with { scratch in
      try await LoopbackSSHD.withFleet(["alpha", "beta"], in: scratch, keys: "gpus: 1") { servers in
        let fleet = try #require(scratch.text("fleet.yaml"))
        try scratch.write("fleet.yaml", "lost_after: 2s\nanswer_within: 2s\n" + fleet)
        try scratch.write(
          "job.yaml",
          """
          name: silent
          run:
            command: "cd \(scratch.path); echo ${{ host }} >> begun; until [ -e go ]; do sleep 0.1; done"
            gpus: 1
          """)
        let rollcall = RollcallBinary(
          store: scratch.path("store"), directory: scratch.path,
          environment: ["ROLLCALL_FLEET": scratch.path("fleet.yaml")])
        func hosts() async throws -> [[String: Any]] {
          let sweep = try await rollcall("status", "last", "--json").json()["sweeps"] as? [[String: Any]]
          return try #require(sweep?.first?["hosts"] as? [[String: Any]])
        }
        async let running = rollcall("run", "job.yaml")
        while scratch.text("begun") == nil { try await Task.sleep(for: .milliseconds(50)) }
        let silent = try #require(scratch.text("begun")).trimmingCharacters(in: .newlines)
        let server = try #require(servers.first { $0.alias == silent })
        server.stop()
        while scratch.text("begun")?.split(separator: "\n").count != 2 { try await Task.sleep(for: .milliseconds(50)) }
        #expect(try await hosts().allSatisfy { $0["gpus_held"] as? Int == 1 })
        let told = try await rollcall("status", "last").output
        #expect(told.contains(/\n\S+ +\[#\] 1\/1 +given up, but may still run there: run\n/), "\(told)")
        try await server.start()
        while try await hosts().contains(where: { !($0["given_up"] as? [String] ?? []).isEmpty }) {
          try await Task.sleep(for: .milliseconds(50))
        }
        try scratch.write("go", "")
        _ = try await running
      }
    }
  }
}
