import Foundation
import TestSupport
import Testing

/// Nights of one job: what is remembered of them, and what a bad one is held against.
@Suite(.timeLimit(.minutes(5))) struct HistoryTests {
  /// One sweep; its report.
  private func night(_ sweep: BookedSweep, status: Int32 = 0) async throws -> [String: Any] {
    let outcome = try await sweep.rollcall("run", "job.yaml", "--json")
    #expect(outcome.status == status, "\(outcome.errorOutput) \(outcome.output.suffix(1500))")
    return try outcome.json()
  }

  /// Makes the dumps of world size 2 wrong from layer 1 on.
  private func breakTarget(_ sweep: BookedSweep) throws {
    for layer in 1..<3 {
      for rank in 0..<2 {
        let path = sweep.scratch.path("source/2/layer0\(layer)_Block_rank\(rank).npy")
        var bytes = try Data(contentsOf: URL(fileURLWithPath: path))
        // The exponent of the last number: it is doubled or halved.
        bytes[bytes.count - 2] ^= 0x80
        try bytes.write(to: URL(fileURLWithPath: path))
      }
    }
  }

  @Test func aBadNightIsHeldAgainstTheNightsBeforeAndTheGoldenOne() async throws {
    var form = BookedSweep.Form()
    form.hosts = ["alpha"]
    try await BookedSweep.with(form) { sweep in
      let none = try await sweep.rollcall("history", "booked")
      #expect(none.status == 64)
      var ids: [String] = []
      for _ in 0..<5 { ids.append(try #require(try await night(sweep)["id"] as? String)) }
      let set = try await sweep.rollcall("golden", "set", ids[1], "--why", "the release", "--who", "ann", "--json")
      #expect(set.status == 0, "\(set.errorOutput)")
      let shown = try await sweep.rollcall("golden", "show", "booked", "--json").json()
      let golden = try #require((shown["golden"] as? [[String: Any]])?.first)
      #expect(golden["sweep"] as? String == ids[1])
      #expect(golden["who"] as? String == "ann")
      #expect(golden["why"] as? String == "the release")

      try breakTarget(sweep)
      let bad = try await night(sweep, status: 1)
      let badID = try #require(bad["id"] as? String)
      let notes = try #require(bad["notes"] as? [String])
      for (name, id) in [("the sweep before it", ids[4]), ("the golden baseline", ids[1])] {
        let note = try #require(notes.first { $0.hasPrefix("against \(name) (\(id))") }, "\(notes)")
        #expect(note.contains("world_size=2 has changed from layer 1 Block on"), "\(note)")
        #expect(note.contains("world_size=1 is byte for byte the same"), "\(note)")
      }

      let history = try await sweep.rollcall("history", "booked", "--json").json()
      let nights = try #require(history["nights"] as? [[String: Any]])
      #expect(nights.compactMap { $0["sweep"] as? String } == ids + [badID])
      #expect(nights.compactMap { $0["verdict"] as? String } == Array(repeating: "pass", count: 5) + ["fail"])
      #expect(nights.map { $0["golden"] as? Bool == true } == [false, true, false, false, false, false])
      let worst = try #require((nights.last?["pairs"] as? [[String: Any]])?.first)
      #expect((worst["worst"] as? Double ?? 0) > 0.01)
      let steps = try #require(history["steps"] as? [[String: Any]])
      #expect(Set(steps.compactMap { $0["layer"] as? Int }) == [1, 2])
      #expect(steps.allSatisfy { $0["sweep"] as? String == badID && $0["stage"] as? String == "Block" })
      #expect(steps.allSatisfy { $0["before"] as? Double == 0 })
      // Of each layer how many nights failed.
      let layers = try await sweep.rollcall("history", "booked", "--layers")
      for (layer, failed) in [(0, 0), (1, 1), (2, 1)] {
        #expect(layers.output.contains(try Regex("layer \(layer) .* \(failed)\n")), "\(layers.output)")
      }
      let text = try await sweep.rollcall("history", "booked", "--layer", "0")
      #expect(text.output.contains("No step."), "\(text.output)")

      // A baseline that did not pass is not set by mistake.
      let refused = try await sweep.rollcall("golden", "set", badID, "--why", "oops")
      #expect(refused.status == 64)
      #expect(refused.errorOutput.contains("--force"))
    }
  }

  @Test func theGoldenSweepAndTheLastPassAreReferences() async throws {
    var form = BookedSweep.Form()
    form.hosts = ["alpha"]
    try await BookedSweep.with(form) { sweep in
      let job = try #require(sweep.scratch.text("job.yaml"))
      let first = try #require(try await night(sweep)["id"] as? String)
      try sweep.scratch.write(
        "job.yaml", job.replacing("reference: {world_size: 1}", with: "reference: golden"))
      let without = try await night(sweep, status: 2)
      let notes = try #require(without["notes"] as? [String])
      #expect(notes.contains { $0.contains("no golden baseline is set for booked") }, "\(notes)")

      _ = try await sweep.rollcall("golden", "set", first, "--why", "first")
      let good = try await night(sweep)
      let pairs = try #require(good["pairs"] as? [[String: Any]])
      #expect(pairs.count == 2)
      #expect(
        pairs.allSatisfy { ($0["reference_cell"] as? String)?.hasPrefix(first + "/") == true }, "\(pairs.first ?? [:])")

      try breakTarget(sweep)
      let bad = try await night(sweep, status: 1)
      let verdicts = try #require(bad["cells"] as? [[String: Any]]).compactMap { $0["verdict"] as? String }
      #expect(verdicts == ["pass", "fail"])

      try sweep.scratch.write(
        "job.yaml", job.replacing("reference: {world_size: 1}", with: "reference: {last_pass: booked}"))
      let again = try await night(sweep, status: 1)
      let against = try #require(again["pairs"] as? [[String: Any]]).compactMap { $0["reference_cell"] as? String }
      let goodID = try #require(good["id"] as? String)
      #expect(against.allSatisfy { $0.hasPrefix(goodID + "/") }, "\(against)")
    }
  }
}
