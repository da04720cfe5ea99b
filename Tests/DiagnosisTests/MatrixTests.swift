import Alignment
import Comparison
import Coordination
import Diagnosis
import Dumps
import Foundation
import Reporting
import Testing

/// Every cause that a forward pass or its files can have, planted in the workload and named from its dumps.
@Suite("Planted bugs")
struct MatrixTests {
  /// What was planted, and what the first finding named: `planted` → `named` → how often.
  struct Confusion {
    var cells: [String: [String: Int]] = [:]
    var total: Int { cells.values.reduce(0) { $0 + $1.values.reduce(0, +) } }
    var right: Int { cells.reduce(0) { $0 + ($1.value[$1.key] ?? 0) } }

    mutating func add(planted: String, named: String?) {
      cells[planted, default: [:]][named ?? "nothing", default: 0] += 1
    }

    mutating func add(_ other: Confusion) {
      for (planted, names) in other.cells { cells[planted, default: [:]].merge(names, uniquingKeysWith: +) }
    }

    /// One line for each planted cause: how many, how many named right, and what the others were named.
    var table: String {
      let lines = cells.sorted { $0.key < $1.key }.map { planted, names in
        let wrong = names.filter { $0.key != planted }.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }
        return
          "| \(planted) | \(names.values.reduce(0, +)) | \(names[planted] ?? 0) | \(wrong.joined(separator: ", ")) |"
      }
      return (["| planted | runs | named | first finding otherwise |", "|---|---|---|---|"] + lines).joined(
        separator: "\n")
    }
  }

  private func reports(
    _ planted: PlantedBug, _ runs: [Workload.Run: String], only classes: Set<String>? = nil
  ) async throws -> [ComparisonReport] {
    let reference = try #require(runs[planted.reference])
    var reports: [(worldSize: Int, report: ComparisonReport)] = []
    for size in planted.sizes {
      let target = try #require(runs[planted.run(ranks: size)])
      let report = try await compareKept(reference, target, only: classes)
      reports.append((size, report))
    }
    return DumpComparer.refine(reports).map(\.report)
  }

  @Test("every planted cause is named, in three models, with all stages dumped and with a few")
  func matrix() async throws {
    let confusion = try await inAllModels(PlantedBug.sample + PlantedBug.deep + PlantedBug.llama)
    print(confusion.table)
    print("first finding right: \(confusion.right) of \(confusion.total)")
    #expect(Double(confusion.right) >= 0.95 * Double(confusion.total))
  }

  /// Whether what takes minutes runs.
  private static let isLong = ProcessInfo.processInfo.environment["ROLLCALL_TEST_LONG"] == "1"

  @Test(
    "causes at other seeds, layers and stages are named", .enabled(if: isLong, "ROLLCALL_TEST_LONG=1 runs it"))
  func second() async throws {
    let confusion = try await inAllModels(PlantedBug.second)
    print("second list: first finding right: \(confusion.right) of \(confusion.total)")
    #expect(Double(confusion.right) >= 0.95 * Double(confusion.total))
  }

  /// Drawn by chance, so that nobody fits a rule to them; `ROLLCALL_TEST_DRAW` is the seed of a fresh draw.
  @Test("causes drawn by chance are named", .enabled(if: isLong, "ROLLCALL_TEST_LONG=1 runs it"))
  func drawn() async throws {
    let seed = ProcessInfo.processInfo.environment["ROLLCALL_TEST_DRAW"].flatMap(UInt64.init) ?? 1
    let confusion = try await inAllModels(PlantedBug.drawn(seed: seed))
    print(confusion.table)
    print("draw \(seed): first finding right: \(confusion.right) of \(confusion.total)")
    #expect(Double(confusion.right) >= 0.95 * Double(confusion.total))
  }

  private func inAllModels(_ planted: [PlantedBug]) async throws -> Confusion {
    let hasLlama = await Workload.hasTransformers()
    if !hasLlama { print("transformers is not there: the Llama's faults are not planted") }
    var confusion = Confusion()
    for model in Workload.Model.allCases where hasLlama || model != .llama {
      let own = try await named(planted.filter { $0.model == model })
      print("\(model.rawValue): first finding right: \(own.right) of \(own.total)")
      confusion.add(own)
    }
    return confusion
  }

  private func named(_ planted: [PlantedBug]) async throws -> Confusion {
    // A regular expression that a name must match, to look at a few.
    let only = try ProcessInfo.processInfo.environment["ROLLCALL_TEST_PLANTS"].map { try Regex($0) }
    let planted = planted.filter { planted in only.map { planted.name.contains($0) } ?? true }
    let runs = try await Workload.shared.dumps(
      planted.flatMap { planted in [planted.reference] + planted.sizes.map { planted.run(ranks: $0) } })
    var confusion = Confusion()
    for planted in planted {
      try await check(planted, runs, &confusion)
      if planted.isCoarseToo { try await checkCoarse(planted, runs) }
    }
    return confusion
  }

  private func check(
    _ planted: PlantedBug, _ runs: [Workload.Run: String], _ confusion: inout Confusion
  ) async throws {
    for report in try await reports(planted, runs) {
      let name = "\(planted.name) at \(report.target.worldSize)"
      // What two ranks divide evenly is no fault there.
      if planted.bug == "divisibility", report.target.worldSize == 2 {
        #expect(report.verdict == .pass, "\(name)")
        continue
      }
      #expect(report.verdict == planted.verdict, "\(name): \(report.findings.map(\.cause))")
      confusion.add(planted: planted.bug, named: report.findings.first?.cause)
      if report.findings.first?.cause != planted.bug { print("\(name): \(line(report))") }
      if let finding = report.findings.first(where: { $0.cause == planted.bug }), !planted.stage.isEmpty {
        #expect(finding.layer == planted.layer, "\(name)")
        #expect(finding.stage == planted.stage, "\(name)")
        #expect(!finding.summary.isEmpty && !finding.next.isEmpty)
      }
    }
  }

  private func checkCoarse(_ planted: PlantedBug, _ runs: [Workload.Run: String]) async throws {
    for report in try await reports(planted, runs, only: planted.model.coarse) {
      let name = "\(planted.name) at \(report.target.worldSize), coarse"
      #expect(report.verdict == planted.verdict, "\(name)")
      #expect(report.findings.prefix(3).contains { $0.cause == planted.bug }, "\(name): \(line(report))")
    }
  }

  private func line(_ report: ComparisonReport) -> String {
    let place = report.firstDivergence.map { "\($0.layer.map(String.init) ?? "–")/\($0.stage)" } ?? "–"
    let first = report.findings.prefix(3).map {
      "\($0.cause) (\($0.confidence.rawValue), \($0.layer.map(String.init) ?? "–")/\($0.stage ?? "–"))"
    }
    return "\(report.verdict.rawValue) \(place) \(first.joined(separator: ", "))"
  }

  @Test("with only the block dumped, the trend over world sizes still names what is counted once a rank")
  func blocksOnly() async throws {
    let doubled = PlantedBug(bug: "double-reduce", layer: 1)
    let averaged = PlantedBug(bug: "average-reduce", layer: 1)
    let runs = try await Workload.shared.dumps(
      [Workload.Model.sample.run("", ranks: 1)]
        + [doubled, averaged].flatMap { planted in planted.sizes.map { planted.run(ranks: $0) } })
    for planted in [doubled, averaged] {
      for report in try await reports(planted, runs, only: ["Block"]) {
        #expect(report.verdict == .fail)
        #expect(report.findings.first?.cause == planted.bug, "\(report.findings.map(\.cause))")
        #expect(report.findings.first?.stage == "Block")
      }
    }
  }

  @Test("experts that change at a near-tie are rounding; experts that change without one are a fault")
  func routing() async throws {
    let topK = "--routing topk --experts 8 --prompt-length 32"
    let variants = (1...3).map { "\(topK) --seed \($0)" }
    let wrong = Workload.Model.sample.run("\(topK) --seed 1 --bug expert-choice --layer 1", ranks: 2)
    let absent = Workload.Model.sample.run("\(topK) --seed 1 --bug rank-absent --layer 1", ranks: 2)
    let runs = try await Workload.shared.dumps(
      variants.flatMap { variant in [1, 2, 4].map { Workload.Model.sample.run(variant, ranks: $0) } } + [wrong, absent])
    var flips = 0
    for variant in variants {
      let reference = try #require(runs[Workload.Model.sample.run(variant, ranks: 1)])
      for size in [2, 4] {
        let report = try await compareKept(
          reference, try #require(runs[Workload.Model.sample.run(variant, ranks: size)]))
        #expect(report.verdict == .pass, "\(report.rows.filter { $0.verdict != .pass }.map { $0.why ?? "" })")
        #expect(report.findings.isEmpty)
        flips += report.notes.count { $0.contains("near-tie") }
        // Without the router nothing says that it was a tie: open, and no alarm.
        let blind = try await compareKept(
          reference, try #require(runs[Workload.Model.sample.run(variant, ranks: size)]),
          only: Workload.Model.sample.coarse)
        #expect(blind.verdict != .fail, "\(blind.rows.filter { $0.verdict == .fail }.map { $0.why ?? "" })")
      }
    }
    #expect(flips > 0, "the controls must hold a flip, or they show nothing")
    let reference = try #require(runs[Workload.Model.sample.run(variants[0], ranks: 1)])
    let bad = try await compareKept(reference, try #require(runs[wrong]))
    #expect(bad.verdict == .fail)
    #expect(bad.firstDivergence == .init(layer: 1, stage: "Router"))
    let other = try await compareKept(reference, try #require(runs[absent]))
    #expect(other.findings.first?.cause == "rank-absent")
  }

  @Test("a fault of one all-reduce strategy is told from one of the model")
  func strategy() async throws {
    let sizes = [2, 4]
    let strategies = ["nccl-like", "one-shot"]
    func cell(_ strategy: String, _ size: Int) -> Workload.Run {
      Workload.Model.sample.run("--bug strategy-dependent --layer 1 --allreduce \(strategy)", ranks: size)
    }
    let runs = try await Workload.shared.dumps(
      [Workload.Model.sample.run("", ranks: 1)] + sizes.flatMap { size in strategies.map { cell($0, size) } })
    let reference = try #require(runs[Workload.Model.sample.run("", ranks: 1)])
    var reports: [(worldSize: Int, values: [String: String], report: ComparisonReport)] = []
    for size in sizes {
      for strategy in strategies {
        let report = try await compareKept(reference, try #require(runs[cell(strategy, size)]))
        reports.append((size, ["allreduce": strategy], report))
      }
    }
    for (cell, report) in zip(reports, DumpComparer.refine(axes: reports)) {
      if cell.values["allreduce"] == "one-shot" {
        #expect(report.verdict == .fail)
        #expect(report.findings.first?.cause == "strategy-dependent")
        #expect(report.findings.first?.confidence == .certain)
        #expect(report.findings.first?.layer == 1)
      } else {
        #expect(report.verdict == .pass)
        #expect(report.findings.isEmpty)
      }
    }
  }
}
