import Foundation
import Ledger

/// What is read as JSON.
extension Routes {
  func document(_ path: [String], _ question: Question, _ now: Double) async throws -> Reply {
    let name = path.joined(separator: "/")
    switch (path[1], path.count) {
    case ("schedules", 2):
      return .json(
        try await feed.page(name) { try Documents.text(try ScheduleListing(try ledger.schedules(), ledger, now: now)) })
    case ("sweeps", 2): return .json(try await feed.page(name) { try Documents.text(sweeps()) })
    case ("sweeps", 3):
      return .json(
        try await feed.page(name) { try Documents.text(Documents.SweepState(try view(try record(path[2]), now))) })
    case ("sweeps", 4) where path[3] == "report":
      guard let report = try ledger.report(of: try record(path[2]).id) else { return .notFound }
      return .json(report)
    case ("sweeps", 6) where path[3] == "runs" && path[5] == "log":
      let view = try view(try record(path[2]), now)
      let (attempt, _) = attempt(try run(path[4], in: view), view, question)
      guard let attempt, let piece = try await hooks.log(attempt, stream(question), nil) else { return .notFound }
      return .plain(String(decoding: piece.bytes, as: UTF8.self))
    case ("history", 3):
      return .json(
        try await feed.page(name) {
          try Documents.text(try JobHistory(ledger, job: path[2], nights: HistoryPage.nights))
        })
    case ("hosts", 2):
      return .json(
        try await feed.page(name) { try Documents.text(Documents.Hosts(try HostView.all(ledger, store: store))) })
    default: return .notFound
    }
  }

  private func sweeps() throws -> Documents.Sweeps {
    let sweeps = try ledger.sweeps(limit: 1000)
    let counts = try ledger.runCounts(of: sweeps.map(\.id))
    let isCoordinated = watch.isHeld
    return Documents.Sweeps(
      sweeps: sweeps.map { sweep in
        Documents.Sweep(sweep, counts: Documents.counts(counts[sweep.id] ?? [:]), isCoordinated: isCoordinated)
      })
  }
}
