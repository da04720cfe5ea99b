import Foundation
import Gathering
import Ledger
import Planning
import Reporting
import Scheduling
import TestSupport
import Testing

@testable import Coordination

/// What a report says of a gang whose second host's share failed, upon which the others were stopped.
@Suite struct GangReportTests {
  @Test func theDetailIsOfTheShareThatTheSentenceNames() async throws {
    try await Scratch.with { scratch in
      let store = try ArtifactStore(root: scratch.path("store"))
      let ledger = try SweepLedger(store: scratch.path("store"))
      let plan = try Planner.plan(
        text: "name: gang\nrun: {command: \"true\", nodes: 3}", path: scratch.path("job.yaml"))
      let run = Naming.runs(of: plan, sweep: "s")[0]
      try ledger.create(
        sweep: "s", plan: plan, fleet: Fleet(hosts: [Fleet.Host(name: "a", address: .local)]), runs: [run], now: 1)
      for (node, host) in ["a", "b", "c"].enumerated() {
        var share = AttemptRecord(
          id: "try1-\(node)", sweep: "s", run: run.name, number: 1, host: host, token: "t", gpus: 0, now: 1)
        share.share = .init(node: node, nodeCount: 3, masterAddress: host, masterPort: 20_000)
        share.state = .gathered
        // The third host's clock is an hour ahead.
        share.started = 100 + (node == 2 ? 3600 : 0)
        share.ended = share.started.map { $0 + (node == 1 ? 2 : 4) }
        (share.exitCode, share.signal, share.reason) = node == 1 ? (3, nil, nil) : (143, 15, "gang")
        try ledger.apply([.begin(share), .attempt(share)])
        let logs = try store.attemptDirectory(sweep: "s", run: run.name, attempt: share.id)
        try FileManager.default.createDirectory(atPath: logs, withIntermediateDirectories: true)
        try Data("log of \(host)\n".utf8).write(to: URL(fileURLWithPath: logs + "/stderr.log"))
      }
      try ledger.apply([
        .run(sweep: "s", name: run.name, state: .failed, why: "its command ended with exit code 3, on b")
      ])

      let report = try await SweepComparison(ledger: ledger, artifacts: store).report(sweep: "s", now: 200)
      // Of a stored report the same is told.
      for report in [report, try SweepReport(json: report.json())] {
        let text = report.text()
        #expect(text.contains("attempt 1 on b, exit 3"), "\(text)")
        #expect(text.contains("log of b") && !text.contains("log of c"), "\(text)")
        #expect(report.markdown().contains("attempt 1 on b, exit 3"))
        // The longest of the three, and none of them twice.
        #expect(text.contains("4.0 s"), "\(text)")
      }
    }
  }
}
