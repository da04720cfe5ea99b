import Ledger
import Planning
import Reporting

/// What the two sides of a comparison found on their hosts, and where that differs: an engine that computes something
/// else may only have met another torch, driver or commit.
enum EnvironmentDifferences {
  /// What a result may depend on, in the order of the notes.
  private static let keys: [(key: String, name: String)] = [
    ("commit", "commit"), ("job_commit", "commit of the job"), ("gpu", "GPUs"), ("gpu_driver", "GPU driver"),
    ("torch", "torch"), ("torch_commit", "commit of torch"), ("cuda", "CUDA"), ("hip", "HIP"), ("python", "Python"),
    ("kernel", "kernel"), ("cpu", "CPU"),
  ]

  /// One sentence for each thing that differs and each way in which it does, with the pairs that it concerns.
  ///
  /// - Parameters:
  ///   - runs: Of the whole sweep.
  ///   - attempts: By run; the last one's files were compared.
  static func notes(
    _ pairs: [SweepReport.Pair], _ plan: Plan, _ runs: [RunRecord], _ attempts: [String: [AttemptRecord]]
  ) -> [String] {
    let labels = Dictionary(plan.cells.map { ($0.id, $0.label) }) { first, _ in first }
    var facts: [String: [[String: String]]] = [:]
    for run in runs {
      if let last = attempts[run.name]?.last { facts[run.cell, default: []].append(last.facts) }
    }
    var notes: [String] = []
    for (key, name) in keys {
      var found: [String: [String]] = [:]
      var order: [String] = []
      for pair in pairs where pair.referenceCell != pair.targetCell {
        guard let reference = facts[pair.referenceCell], let target = facts[pair.targetCell] else { continue }
        let here = Self.values(key, reference)
        let there = Self.values(key, target)
        guard here != there else { continue }
        let way = "\(Self.words(here)) on the reference's side, \(Self.words(there)) on the other"
        if found[way] == nil { order.append(way) }
        let label = labels[pair.targetCell] ?? pair.targetCell
        if found[way]?.contains(label) != true { found[way, default: []].append(label) }
      }
      for way in order {
        let cells = found[way] ?? []
        let more = cells.count > 4 ? " and \(cells.count - 4) more" : ""
        notes.append("environment: \(name) differs: \(way) (\(cells.prefix(4).joined(separator: "; "))\(more))")
      }
    }
    return notes
  }

  /// GPUs differ by their model: how many there are is the world size's matter.
  private static func values(_ key: String, _ facts: [[String: String]]) -> Set<String> {
    var values: Set<String> = []
    for fact in facts {
      guard let value = fact[key] else { continue }
      if key == "gpu" {
        values.formUnion(value.split(separator: ",").map { $0.drop { $0 == " " } }.map(String.init))
      } else {
        values.insert(value)
      }
    }
    return values
  }

  private static func words(_ values: Set<String>) -> String {
    values.isEmpty ? "not recorded" : values.sorted().joined(separator: " and ")
  }
}
