import Ledger
import Planning

/// What is said of runs whose GPUs somebody else used, too: their times tell nothing, and what fails may be his doing.
enum Contention {
  /// One sentence a run.
  ///
  /// - Parameter attempts: By run; the last one's files were compared.
  static func notes(_ plan: Plan, _ runs: [RunRecord], _ attempts: [String: [AttemptRecord]]) -> [String] {
    let labels = Dictionary(plan.cells.map { ($0.id, $0.label) }) { first, _ in first }
    return runs.compactMap { run in
      let last = attempts[run.name]?.filter { $0.number == attempts[run.name]?.last?.number } ?? []
      let hosts = last.filter { $0.reason == "contended" }.map(\.host)
      guard !hosts.isEmpty else { return nil }
      return "contended: somebody else used the GPUs of \(run.name) (\(labels[run.cell] ?? run.cell)) on "
        + "\(hosts.joined(separator: ", ")) while it ran"
    }
  }
}
