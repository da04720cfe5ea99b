import Alignment
import Comparison
import Coordination
import Diagnosis
import Dumps
import Foundation
import Reporting
import TestSupport
import Testing

/// Slots of a batch against the same prompt alone: gaps on either side are no PASS.
@Suite(.timeLimit(.minutes(2))) struct AloneSlotTests {
  private func report(
    _ scratch: Scratch, aloneWorldSize: Int? = nil, _ damage: (Scratch) throws -> Void
  ) async throws -> ComparisonReport {
    try await runPython(
      """
      import numpy, sys
      prompt = numpy.random.default_rng(1).random((4, 8))
      numpy.save(sys.argv[1] + "/layer00_Block_rank0.npy", numpy.concatenate([prompt, prompt]))
      numpy.save(sys.argv[2] + "/layer00_Block_rank0.npy", prompt)
      """, [try scratch.directory("batch"), try scratch.directory("alone")])
    try damage(scratch)
    func side(_ name: String, worldSize: Int? = nil) throws -> ComparisonSide {
      ComparisonSide(
        set: try DumpSetLoader.load(directory: scratch.path(name), layout: .npy), worldSize: worldSize)
    }
    return try await DumpComparer.compareSlots(
      set: try side("batch").set, slots: 2, selection: .warmUp,
      single: (try side("alone", worldSize: aloneWorldSize), slot: 0))
  }

  @Test func wholeSidesThatAgreePass() async throws {
    try await Scratch.with { scratch in
      let report = try await report(scratch) { _ in }
      #expect(report.verdict == .pass, "\(report.notes) \(report.coverage)")
    }
  }

  @Test func aRankThatTheRunAloneLacksIsNoPass() async throws {
    try await Scratch.with { scratch in
      let report = try await report(scratch, aloneWorldSize: 2) { _ in }
      #expect(report.verdict == .inconclusive)
      #expect(report.findings.contains { $0.cause == "incomplete-ranks" && $0.ranks == [1] }, "\(report.findings)")
    }
  }

  @Test(arguments: [
    ("alone", "layer01_Block_rank0.npy"), ("alone", "layer01-Block.npy"), ("batch", "layer01-Block.npy"),
  ])
  func aFileThatNobodyCouldReadIsNoPass(_ side: String, _ file: String) async throws {
    try await Scratch.with { scratch in
      let report = try await report(scratch) { try $0.write("\(side)/\(file)", "no array") }
      #expect(report.verdict == .inconclusive, "\(report.notes)")
    }
  }
}
