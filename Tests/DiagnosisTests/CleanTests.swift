import Comparison
import Coordination
import Diagnosis
import Dumps
import Foundation
import Reporting
import Testing

/// No false alarm: runs without a fault, of three models, compared in every way.
@Suite("Clean runs")
struct CleanTests {
  /// What two runs are compared by: which stages were dumped.
  private enum Dumped: CaseIterable {
    case everything
    case coarse
    case block

    func classes(_ model: Workload.Model) -> Set<String>? {
      switch self {
      case .everything: nil
      case .coarse: model.coarse
      case .block: model.block
      }
    }
  }

  private static let sizes = [1, 2, 4, 8]

  /// Runs of one model that are alike in everything that an honest engine may not change.
  private struct Alike {
    var model: Workload.Model
    /// Arguments of the runs; the first is the reference of the others at the same and other world sizes.
    var variants: [String]
    var sizes = CleanTests.sizes
    /// Whether the first variant is run once more at each size.
    var isRepeated = false

    /// Every two world sizes of the first variant; every other variant, and the repeats, at each world size against the
    /// first at 1.
    var pairs: [(reference: Workload.Run, target: Workload.Run)] {
      guard let first = variants.first else { return [] }
      let runs = sizes.map { model.run(first, ranks: $0) }
      var others = variants.dropFirst().flatMap { variant in sizes.map { model.run(variant, ranks: $0) } }
      if isRepeated {
        others += runs.map { run in
          var run = run
          run.repetition = 1
          return run
        }
      }
      let ofSizes = runs.indices.flatMap { place in
        runs[(place + 1)...].map { (reference: runs[place], target: $0) }
      }
      return ofSizes + others.map { (reference: runs[0], target: $0) }
    }
  }

  private static let groups: [Alike] = [
    Alike(model: .sample, variants: ["", "--backend split", "--allreduce one-shot"], isRepeated: true),
    Alike(model: .sample, variants: ["--seed 1"]),
    Alike(model: .sample, variants: ["--seed 2 --prompts ragged", "--seed 2 --prompts ragged --backend split"]),
    Alike(model: .sample, variants: ["--dtype f32", "--dtype f32 --backend split"]),
    Alike(model: .sample, variants: ["--dtype f32 --seed 3"], isRepeated: true),
    Alike(model: .deep, variants: ["", "--backend split"]),
    Alike(model: .deep, variants: ["--dtype f32"], sizes: [1, 2, 8]),
    Alike(model: .llama, variants: ["", "--attention sdpa"]),
    Alike(model: .llama, variants: ["--seed 1"]),
    Alike(model: .llama, variants: ["--dtype f32", "--dtype f32 --attention sdpa"]),
  ]

  /// One prompt in all slots. The ranks' partials are added in rank order: from four ranks on the library's all-reduce
  /// adds in an order that depends on the place in the buffer, and slots truly differ.
  private static let slotRuns: [Workload.Run] = ["", " --dtype f32"].flatMap { type in
    [Workload.Model.sample, .deep].flatMap { model in
      sizes.map { model.run("--prompts same --allreduce one-shot\(type)", ranks: $0) }
    }
  }

  @Test("world sizes 1, 2, 4 and 8, types, seeds, backends, repeats, slots, all stages, a few and one: no alarm")
  func clean() async throws {
    let hasLlama = await Workload.hasTransformers()
    if !hasLlama { print("transformers is not there: the Llama's clean runs are left out") }
    let groups = Self.groups.filter { hasLlama || $0.model != .llama }
    let runs = try await Workload.shared.dumps(
      groups.flatMap(\.pairs).flatMap { [$0.reference, $0.target] })
    var counts: [Workload.Model: Int] = [:]
    for group in groups {
      for (reference, target) in group.pairs {
        let sides = (try #require(runs[reference]), try #require(runs[target]))
        for dumped in Dumped.allCases {
          let report = try await compareKept(sides.0, sides.1, only: dumped.classes(group.model))
          counts[group.model, default: 0] += 1
          let name = "\(group.model.rawValue), \(reference.arguments) and \(target.arguments), \(dumped)"
          #expect(
            report.verdict == .pass, "\(name): \(report.rows.filter { $0.verdict != .pass }.map { $0.why ?? "" })")
          #expect(report.findings.isEmpty, "\(name): \(report.findings.map(\.summary))")
        }
      }
    }
    let total = counts.values.reduce(0, +)
    print(
      "clean comparisons: \(total) (\(counts.map { "\($0.key.rawValue) \($0.value)" }.sorted().joined(separator: ", ")))"
    )
    #expect(total >= 200)
  }

  @Test("one prompt in every slot of a batch, byte by byte: no alarm")
  func slots() async throws {
    let slots = try await Workload.shared.dumps(Self.slotRuns)
    for run in Self.slotRuns {
      let set = try await Workload.shared.set(try #require(slots[run]))
      let report = try await DumpComparer.compareSlots(set: set, slots: 4)
      let name = "\(run.model.rawValue), slots of \(run.arguments)"
      #expect(report.verdict == .pass, "\(name): \(report.notes)")
      #expect(report.findings.isEmpty, "\(name): \(report.findings.map(\.summary))")
      #expect(Set(report.rows.compactMap(\.slot)) == [1, 2, 3], "\(name)")
    }
  }
}
