import Alignment
import Comparison
import Diagnosis
import Dumps
import Foundation

@testable import Reporting

/// Reports made by hand: a model of `layers` layers with four stages, wrong from a given layer on.
enum Samples {
  static let stages = ["Attention", "o_proj", "MoE", "Block"]

  static func measures(
    relL2: Double, cos: Double? = nil, alpha: Double = 1, nonfinite: (Int, Int) = (0, 0), tokens: [Double] = []
  ) -> Measures {
    let worst = tokens.indices.max { tokens[$0] < tokens[$1] }
    return Measures(
      cos: cos ?? 1 - relL2 * relL2 / 2, maxAbs: relL2 * 4, rel: relL2 * 2, relL2: relL2, alpha: alpha,
      residual: relL2, normRatio: alpha, sglangRel: relL2 * relL2 / 2, byteEqual: relL2 == 0 ? 1 : 0.25,
      nonfiniteReference: nonfinite.0, nonfiniteTarget: nonfinite.1, elementCount: 131_072,
      worstToken: worst.map { TokenMeasure(index: $0, cos: 0.2, relL2: tokens[$0]) }, tokenRelL2: tokens,
      worstCoordinate: [17, 3], meanAbs: relL2 / 8, unequalElements: relL2 == 0 ? 0 : 98_304)
  }

  static func row(
    layer: Int?, stage: String, tensor: String = "hidden", slot: Int? = nil, verdict: Verdict = .pass,
    measures: Measures?, floor: Double? = 1e-3, jump: Double? = nil, why: String? = nil,
    flags: [String: String] = [:]
  ) -> ComparisonReport.Row {
    ComparisonReport.Row(
      layer: layer, stage: stage, tensor: tensor, slot: slot,
      call: .init(reference: 4, target: 4, rule: .auto, why: "the only call with 64 tokens on every rank"),
      shard: ShardPlan(
        kind: .concat, axis: 1, ranks: 8, residual: 0.001, margin: 0.97, why: "shapes: 8 × 64 columns"),
      dtype: .bfloat16, shape: [64, 512], measures: measures, floor: floor, jump: jump, verdict: verdict, why: why,
      profileFlags: flags)
  }

  /// A comparison of 4 stages × `layers`, plus an embedding and a final norm; wrong at and after `broken`'s MoE.
  static func comparison(
    layers: Int, broken: Int?, reference: String = "world_size=1", target: String = "world_size=8"
  ) -> ComparisonReport {
    var rows = [row(layer: nil, stage: "Embedding", measures: measures(relL2: 0))]
    for layer in 0..<layers {
      for (index, stage) in stages.enumerated() {
        let noise = 1.2e-4 * pow(1.06, Double(layer)) * Double(index + 2)
        let isWrong = broken.map { layer > $0 || (layer == $0 && index >= 2) } ?? false
        let isFirst = layer == broken && index == 2
        let error = isWrong ? min(0.35 + 0.05 * Double(layer - (broken ?? 0)), 1.4) : noise
        let tokens = (0..<64).map { token in
          isWrong ? error * (token == 17 ? 1.9 : 0.4 + 0.5 * Double(token * 7 % 11) / 11) : noise
        }
        rows.append(
          row(
            layer: layer, stage: stage, verdict: isWrong ? .fail : .pass,
            measures: measures(relL2: error, alpha: isFirst ? 8 : 1, tokens: tokens),
            floor: 1e-3 * pow(1.06, Double(layer)), jump: isFirst ? 412 : isWrong ? 1.1 : nil,
            why: isFirst ? "rel_l2 is 412 times the stages before it" : nil,
            flags: isWrong ? ["atom": "✗✗"] : ["atom": "✓"]))
      }
    }
    rows.append(
      row(layer: nil, stage: "FinalNorm", verdict: broken == nil ? .pass : .fail, measures: measures(relL2: 0.02)))
    let finding = Finding(
      cause: "double-reduce", layer: broken, stage: "MoE", ranks: Array(0..<8), tokens: [], confidence: .certain,
      evidence: ["alpha": 8, "residual": 0, "world_size": 8],
      summary: "The MoE output is exactly world_size times the reference on every rank: it is reduced twice.",
      next: "Read the code after the experts' combine: one of the two all-reduce calls must go.")
    return ComparisonReport(
      verdict: broken == nil ? .pass : .fail, reference: .init(path: "runs/a", worldSize: 1, label: reference),
      target: .init(path: "runs/b", worldSize: 8, label: target),
      coverage: .init(
        expected: rows.count, compared: rows.count, unmatched: [], unreadable: [], otherCalls: 12),
      rows: rows, firstDivergence: broken.map { .init(layer: $0, stage: "MoE") },
      findings: broken == nil ? [] : [finding],
      notes: ["Noise floor measured from 2 repeats of the reference cell."])
  }

  /// A comparison that lacks rank 5, has a broken file and values that are not finite.
  static func inconclusive(target: String = "world_size=8") -> ComparisonReport {
    var report = comparison(layers: 6, broken: nil, target: target)
    report.verdict = .inconclusive
    report.rows[9].measures = measures(relL2: .nan, cos: .nan, alpha: .infinity, nonfinite: (0, 3))
    report.rows[9].verdict = .inconclusive
    report.rows[9].why = "3 values of the target are not finite"
    report.rows[10].measures = nil
    report.rows[10].verdict = .inconclusive
    report.rows[10].why = "shapes differ: [64, 512] and [64, 448]"
    report.coverage.expected += 2
    report.coverage.unmatched = ["layer 5 MoE hidden: rank 5 of 8 is missing"]
    report.coverage.unreadable = [.init(file: "rank5/layer05_MoE_rank5.pt", why: "cut short at byte 4096")]
    report.findings = [
      Finding(
        cause: "incomplete-ranks", layer: 5, stage: "MoE", ranks: [5], tokens: [17], confidence: .likely,
        evidence: ["ranks": 7, "ratio": .nan], summary: "Rank 5 wrote no file for layer 5 MoE.",
        next: "Look at rank 5's log, then run the cell again.")
    ]
    report.notes = ["Rank 5 is missing, so the target could not be joined."]
    return report
  }

  static let start = 1_774_746_000.25

  static func attempt(
    _ id: String, host: String = "h200-a", state: String = "succeeded", offset: Double = 0, number: Int = 1
  ) -> SweepReport.Attempt {
    SweepReport.Attempt(
      id: id, number: number, host: host, state: state, exitCode: state == "succeeded" ? 0 : 1,
      started: start + offset, ended: start + offset + 94.5,
      fingerprint: [
        "gpu": "NVIDIA H200", "driver": host == "h200-a" ? "570.86" : "575.12", "torch": "2.13.0+cu130",
        "commit": "9f3c2ab",
      ],
      why: state == "succeeded" ? nil : "the command ended with code 1",
      logTail: state == "succeeded"
        ? nil : "Traceback (most recent call last):\n  File \"serve.py\", line 88\nRuntimeError: NCCL <timeout> & more")
  }

  static func cell(
    _ size: String, _ backend: String, verdict: Verdict?, state: String = "succeeded", host: String = "h200-a"
  ) -> SweepReport.Cell {
    let id = "ws\(size)-\(backend)"
    let run = SweepReport.Run(
      id: "run-\(id)", repetition: 1, state: state,
      attempts: [attempt("att-\(id)", host: host, state: state, offset: Double(size.utf8.count * 30))],
      fileCount: 192, byteCount: 527_000_000, missing: state == "succeeded" ? [] : ["rank 5: no file"])
    return SweepReport.Cell(
      id: id, values: [.init(axis: "world_size", value: size), .init(axis: "backend", value: backend)], runs: [run],
      verdict: verdict, isReference: size == "1")
  }

  static func pair(_ size: String, _ backend: String, _ comparison: ComparisonReport) -> SweepReport.Pair {
    SweepReport.Pair(
      referenceCell: "ws1-\(backend)", targetCell: "ws\(size)-\(backend)", kind: "reference", comparison: comparison)
  }

  static func sweep(_ verdict: Verdict) -> SweepReport {
    let pass = { (size: String) in comparison(layers: 16, broken: nil, target: "world_size=\(size)") }
    let eight: ComparisonReport =
      switch verdict {
      case .pass: pass("8")
      case .fail: comparison(layers: 16, broken: 3)
      case .inconclusive: inconclusive()
      }
    let sentence =
      switch verdict {
      case .pass: "Tensor parallelism does not change the model: every pair agrees within the noise floor."
      case .fail: "world_size=8 is wrong from layer 3 MoE on, with either backend: its output is reduced twice."
      case .inconclusive: "world_size=8 could not be judged: rank 5 left no file for layer 5 MoE."
      }
    let state = verdict == .inconclusive ? "failed" : "succeeded"
    return SweepReport(
      id: "2026-03-29-tp-sweep-1", job: "tp-sweep", verdict: verdict, hasFailedRuns: verdict == .inconclusive,
      sentence: sentence, started: start, ended: start + 431.75, axes: ["world_size", "backend"],
      cells: [
        cell("1", "eager", verdict: nil), cell("1", "compile", verdict: nil), cell("2", "eager", verdict: .pass),
        cell("2", "compile", verdict: .pass), cell("8", "eager", verdict: verdict, state: state, host: "h200-b"),
        cell("8", "compile", verdict: verdict),
      ],
      pairs: [
        pair("2", "eager", pass("2")), pair("2", "compile", pass("2")), pair("8", "eager", eight),
        pair("8", "compile", eight),
      ],
      firstAxisValue: verdict == .fail ? .init(axis: "world_size", value: "8") : nil,
      notes: ["Every cell ran on hosts with the same GPU."])
  }

  /// `pairs` pairs of `rows` rows each, all failing where asked.
  static func large(pairs: Int, layers: Int, broken: Int?) -> SweepReport {
    var report = sweep(broken == nil ? .pass : .fail)
    let one = pair("8", "eager", comparison(layers: layers, broken: broken, target: "cell"))
    report.pairs = Array(repeating: one, count: pairs)
    return report
  }
}
