import Foundation
import TestSupport
import Testing

/// A host whose key has changed since the last sweep.
@Suite(.timeLimit(.minutes(3))) struct UntrustedHostTests {
  @Test func aSweepThatFindsNoHostSaysHowItGoesOn() async throws {
    try await Scratch.with { scratch in
      try await LoopbackSSHD.withFleet(["alpha"], in: scratch, keys: "cpu_slots: 1") { servers in
        try scratch.write("job.yaml", "name: keys\nrun: {command: echo done}\n")
        let rollcall = RollcallBinary(
          store: scratch.path("store"), directory: scratch.path,
          environment: ["ROLLCALL_FLEET": scratch.path("fleet.yaml")])
        #expect(try await rollcall("run", "job.yaml").status == 2)
        try servers[0].writeKnownHosts(key: "stranger_key")
        let refused = try await rollcall("run", "job.yaml")
        #expect(refused.status == 69 && refused.errorOutput.contains("another host key"), "\(refused.errorOutput)")
        let words = refused.errorOutput.components(separatedBy: "rollcall resume ")
        let sweep = try #require(words.last?.components(separatedBy: "\n").first)
        try servers[0].writeKnownHosts(key: "host_key")
        let resumed = try await rollcall("resume", sweep)
        #expect(resumed.status == 2 && resumed.output.contains(sweep), "\(resumed.output) \(resumed.errorOutput)")
      }
    }
  }
}
