public import ArgumentParser
public import Dumps
import Reporting

/// `rollcall schema A B`: whether two sides hold the same tensors.
struct SchemaCommand: AsyncParsableCommand, HasJSONOutput {
  static let configuration = CommandConfiguration(
    commandName: "schema",
    abstract: "Compare names, shapes, types and bytes of two weight dumps, and name shuffles and wrong slices.",
    discussion: """
      Takes dump files, or directories of weight files, of safetensors (also with an index), of .npy and .npz, or of \
      torch.save. A leading "model." is not part of a name; keys that start with "_" are bookkeeping. Where one side \
      has one rank and the other several, their slices are looked for in the whole tensors.

      Exit code 0 where the weights are the same, 1 where names, shapes or types differ or a finding names a fault, \
      2 where something could not be read, a rank lacks what others of its side hold, or values differ and no finding \
      says why. --values ignore reads no \
      values; --values require fails where they differ, and takes a type that differs without loss.

      Example: rollcall schema reference/weights target/weights
      """)

  @Argument(help: "The trusted side: a dump file, or a directory of weight files.", completion: .file())
  var reference: String

  @Argument(help: "The side under test.", completion: .file())
  var target: String

  @Option(help: "What unequal values mean: \(SchemaReport.Values.allCases.map(\.rawValue).joined(separator: ", ")).")
  var values = SchemaReport.Values.report

  @Flag(help: "Print one JSON document.")
  var json = false

  var wantsJSON: Bool { json }

  func run() async throws {
    let progress = ByteProgress()
    let report = try SchemaReport.compare(reference: reference, target: target, values: values) {
      progress.show($0.what, done: $0.done, total: $0.total)
    }
    progress.end()
    Console.print(json ? try JSONText.of(report) : Plain.block(text(report)))
    switch report.verdict {
    case .pass: break
    case .fail: throw ExitCode(1)
    case .inconclusive: throw ExitCode(2)
    }
  }

  private func text(_ report: SchemaReport) -> String {
    var lines = report.onlyReference.map { "only in reference: \($0)" }
    lines += report.onlyTarget.map { "only in target:    \($0)" }
    lines += report.mismatched.map { "\($0.field) differs: \($0.name): \($0.reference) and \($0.target)" }
    lines += report.unequal.map { tensor in
      let share = tensor.unequal.isFinite ? ": \(Self.percent(tensor.unequal)) of them" : ""
      let cos = tensor.cos.isFinite ? ", cos \(tensor.cos)" : ""
      let nonfinite = tensor.nonfinite > 0 ? ", \(tensor.nonfinite) NaN or infinite" : ""
      return "values differ: \(tensor.name)\(share)\(cos)\(nonfinite)"
    }
    lines += shards(report)
    lines += report.unreadable.map { "unreadable: \($0.file): \($0.why)" }
    if !report.unrecognised.isEmpty {
      let some = report.unrecognised.prefix(3).joined(separator: ", ")
      lines.append("not looked at: \(some)\(report.unrecognised.count > 3 ? " and more" : "")")
    }
    for finding in report.findings {
      lines.append("\(finding.confidence.rawValue) \(finding.cause): \(finding.summary) \(finding.next)")
    }
    let equal = report.byteEqual.count
    lines.append(
      "\(report.verdict.rawValue.uppercased()): \(report.common.count) tensors on both sides, "
        + (values == .ignore ? "values not read" : "\(equal) of them equal byte by byte"))
    return lines.joined(separator: "\n")
  }

  /// How many tensors lie in each way.
  private func shards(_ report: SchemaReport) -> [String] {
    var counts: [String: Int] = [:]
    for shard in report.shards {
      let proof = shard.isProven ? "" : " by their shapes alone"
      counts["\(shard.kind) over \(shard.ranks) ranks\(proof)", default: 0] += 1
    }
    return counts.sorted { $0.key < $1.key }.map { "sliced: \($0.value) \($0.key)" }
  }

  private static func percent(_ share: Double) -> String {
    let tenths = (share * 1000).rounded(.up) / 10
    return "\(tenths) %"
  }
}

extension SchemaReport.Values: ExpressibleByArgument {}
