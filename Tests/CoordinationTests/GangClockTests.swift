import Comparison
import Diagnosis
import Foundation
import Gathering
import Ledger
import Planning
import Reporting
import Scheduling
import TestSupport
import Testing
import Transports

@testable import Coordination

/// A gang of two hosts, of which the clock of the second is an hour behind: each host's dumps are held against its own
/// start.
@Suite(.timeLimit(.minutes(2))) struct GangClockTests {
  private static let start = 1_700_000_000.0
  private static let behind = 3600.0

  /// - Parameters:
  ///   - written: seconds after its host's start at which each rank's file was written, by that host's clock.
  ///   - isStartKnown: of each share.
  private func report(
    written: [Double], isStartKnown: [Bool] = [true, true], _ body: (SweepReport) throws -> Void
  ) async throws {
    try await Scratch.with { scratch in
      let store = try ArtifactStore(root: scratch.path("store"))
      let ledger = try SweepLedger(store: scratch.path("store"))
      let plan = try Planner.plan(
        text: """
          name: gang
          matrix: {world_size: [1, 2]}
          run: {command: "true"}
          dumps: {layout: npy, select: warm-up}
          compare: {reference: {world_size: 1}}
          """, path: scratch.path("job.yaml"))
      let runs = Naming.runs(of: plan, sweep: "s")
      try ledger.create(
        sweep: "s", plan: plan, fleet: Fleet(hosts: [Fleet.Host(name: "a", address: .local)]), runs: runs, now: 1)
      let alone = attempt("alone", runs[0], node: nil, start: Self.start)
      let shares = [0, 1].map { node in
        attempt(
          "share\(node)", runs[1], node: node,
          start: isStartKnown[node] ? Self.start - Double(node) * Self.behind : nil)
      }
      try ledger.apply([alone].map(LedgerWrite.begin) + shares.map(LedgerWrite.begin))
      try ledger.apply(runs.map { .run(sweep: "s", name: $0.name, state: .succeeded, why: nil) })

      let directory = try await dump(scratch, "alone", rank: 0, at: Self.start + 5)
      _ = try await Gatherer().gather(
        attemptDirectory: directory, transport: LocalTransport(), store: store, sweep: "s", run: runs[0].name)
      for node in [0, 1] {
        let time = Self.start - Double(node) * Self.behind + written[node]
        let directory = try await dump(scratch, "share\(node)", rank: node, at: time)
        try await Gatherer().fetchShare(
          attemptDirectory: directory, transport: LocalTransport(), store: store, sweep: "s", run: runs[1].name)
      }
      _ = try store.layOut(shares: shares.map(\.id), sweep: "s", run: runs[1].name)
      for (run, count) in zip(runs, [1, 2]) {
        try ledger.apply([.files(sweep: "s", run: run.name, count: count, bytes: 1, missing: [])])
      }
      try body(try await SweepComparison(ledger: ledger, artifacts: store).report(sweep: "s", now: Self.start + 60))
    }
  }

  private func attempt(_ id: String, _ run: RunRecord, node: Int?, start: Double?) -> AttemptRecord {
    var attempt = AttemptRecord(
      id: id, sweep: "s", run: run.name, number: 1, host: node == 1 ? "b" : "a", token: "t", gpus: 1, now: Self.start)
    attempt.share = node.map {
      AttemptRecord.Share(node: $0, nodeCount: 2, masterAddress: "a", masterPort: 29500)
    }
    attempt.state = .gathered
    attempt.exitCode = 0
    attempt.started = start
    attempt.ended = start.map { $0 + 10 }
    return attempt
  }

  private func dump(_ scratch: Scratch, _ id: String, rank: Int, at time: Double) async throws -> String {
    let dumps = try scratch.directory("attempts/\(id)/dumps")
    try await runPython(
      """
      import numpy, sys
      numpy.save(sys.argv[1], numpy.random.default_rng(1).random((4, 8)))
      """, ["\(dumps)/layer00_Block_rank\(rank).npy"])
    try FileManager.default.setAttributes(
      [.modificationDate: Date(timeIntervalSince1970: time)], ofItemAtPath: "\(dumps)/layer00_Block_rank\(rank).npy")
    return scratch.path("attempts/\(id)")
  }

  @Test func freshDumpsOfBothHostsPass() async throws {
    try await report(written: [5, 5]) { report in
      #expect(report.verdict == .pass, "\(report.notes) \(report.pairs.map(\.comparison.notes))")
    }
  }

  /// By the other host's clock each of them would be fresh, or nearly so.
  @Test(arguments: [0, 1])
  func aStaleDumpOfEitherHostIsNoPass(rank: Int) async throws {
    try await report(written: [0, 1].map { $0 == rank ? -1800 : 5 }) { report in
      #expect(report.verdict == .inconclusive)
      let findings = report.pairs.flatMap(\.comparison.findings).filter { $0.cause == "stale-dump" }
      #expect(findings.map(\.ranks) == [[rank]], "\(findings)")
    }
  }

  @Test func aHostWhoseStartNobodyKnowsIsNoPassAndIsNamed() async throws {
    try await report(written: [5, 5], isStartKnown: [true, false]) { report in
      #expect(report.verdict == .inconclusive)
      #expect(report.notes.contains { $0.contains("share1 began on b") }, "\(report.notes)")
    }
  }
}
